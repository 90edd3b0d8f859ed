package dog

import (
	"context"
	"reflect"

	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/turn"
)

// Call runs a method of an object, group or replica as an event of it, and
// returns the method's results:
//
//	total, err := dog.Call(ctx, counters.Named("a"), (*Counter).Add, 3)
//
// method is a method expression of T, for an exported method. [Call0],
// [CallErr] and [CallErr0] are the same for methods without an argument,
// without a result, and without either. A call does not take a place on a
// replica.
//
// The method's context has the values of ctx. It ends when ctx ends, and when
// the object does. A handler's own context is not passed on in this way: a call
// continues when the caller's object is reset. Only what bounds the handler
// itself, such as the context of its own caller, bounds the method too. A
// context that a handler derives from its own, with an end of its own, ends
// with the object as well. Call waits for the turn of the object until ctx
// ends. The method runs in the goroutine of the caller, so once it has started,
// Call returns only after the method has returned. If ctx has ended by then,
// the effects of the method stay, and the error is the cause of ctx's end.
//
// In one process, the method gets the same Go value as argument that the caller
// has passed, and the caller gets the same value that the method has returned.
// Both sides share the data that these values point to. On a cluster, which
// this package does not support yet, argument and result are copied: encoded
// (as by [JSON]) on one machine and decoded on the other. To be ready for that:
//
//   - After passing or returning a value, do not change the data that it points
//     to, such as the elements of a slice or a map. Do not use shared data to
//     pass anything back.
//   - Use types that can be encoded: structs with exported fields, and no
//     channels, functions or interfaces.
//   - Pass the name or the [ID] of an object instead of a Stub, a Socket, or a
//     pointer to the object.
//
// In a handler Call gives up the turn. The call starts when the earlier writes
// of the caller's object are durable, and the result is returned when the
// earlier writes of the callee are. Calls of one goroutine run in the order in
// which they are made.
//
// When the error is not nil, the result is the zero value. The error is that of
// the method or one of these:
//
//   - [ErrReset] when the object was reset during the call, for example by a
//     panic of the method, or could not make its writes durable
//   - [ErrOverloaded] when Options.MaxWaiting events wait for the object, or
//     there is no room for another object (Options.MaxObjects)
//   - [ErrDeadlock], [ErrOutsideTurn], [ErrInTransaction], [ErrShutdown],
//     [ErrReplicaGone], [ErrInvalidName], and read errors of the store
//   - a [UsageError] for a zero stub or a function that is not an exported
//     method
//   - the cause of ctx's end
func Call[T, A, R any](
	ctx context.Context, to Stub[T], method func(*T, context.Context, A) (R, error), arg A,
) (R, error) {
	var result, none R
	err := call(ctx, to.to, reflect.ValueOf(method).Pointer(), func(ctx context.Context, v any) (err error) {
		result, err = method(v.(*T), ctx, arg)
		return err
	})
	if err != nil {
		return none, err
	}
	return result, nil
}

// Call0 is [Call] for a method without an argument.
func Call0[T, R any](ctx context.Context, to Stub[T], method func(*T, context.Context) (R, error)) (R, error) {
	var result, none R
	err := call(ctx, to.to, reflect.ValueOf(method).Pointer(), func(ctx context.Context, v any) (err error) {
		result, err = method(v.(*T), ctx)
		return err
	})
	if err != nil {
		return none, err
	}
	return result, nil
}

// CallErr is [Call] for a method without a result.
func CallErr[T, A any](ctx context.Context, to Stub[T], method func(*T, context.Context, A) error, arg A) error {
	return call(ctx, to.to, reflect.ValueOf(method).Pointer(), func(ctx context.Context, v any) error {
		return method(v.(*T), ctx, arg)
	})
}

// CallErr0 is [Call] for a method without an argument and without a result.
func CallErr0[T any](ctx context.Context, to Stub[T], method func(*T, context.Context) error) error {
	return call(ctx, to.to, reflect.ValueOf(method).Pointer(), func(ctx context.Context, v any) error {
		return method(v.(*T), ctx)
	})
}

// call is Call for the method with the code pointer pc. run runs the method.
func call(ctx context.Context, to target, pc uintptr, run object.Work) error {
	if to == nil {
		return notRunning("Call")
	}
	ns := to.namespace()
	method, err := ns.methodAt(pc)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if caller := turn.From(ctx); caller != nil {
		return callFrom(ctx, caller, to, method, run)
	}
	if err := object.PastGate(nil, nil); err != nil {
		return err
	}
	if err := ns.rt.host.Enter(); err != nil {
		return err
	}
	defer ns.rt.host.Work.Leave()
	from := turn.Inside(nil, ctx)
	return reach(ctx, &from, to, method, run)
}

// callFrom is call in a handler. caller is the handler's event.
func callFrom(ctx context.Context, caller *turn.Event, to target, method string, run object.Work) error {
	leave, err := to.runtime().host.EnterFrom(ctx)
	if err != nil {
		return err
	}
	defer leave()
	wait, err := object.Yield(ctx, nil)
	if err != nil {
		return err
	}
	defer wait.Resume()
	if err := wait.Durable(ctx); err != nil {
		return err
	}
	from := turn.Inside(caller, ctx)
	return reach(ctx, &from, to, method, run)
}

// methodAt returns the name of the method with this code pointer in the
// namespace's type.
func (ns *namespace) methodAt(pc uintptr) (name string, err error) {
	if name, ok := ns.methods[pc]; ok {
		return name, nil
	}
	return "", misuse("Call", "the function is not an exported method of %s", ns.typ)
}

// methodsOf returns the names of the exported methods of a type by their code
// pointers.
func methodsOf(typ reflect.Type) map[uintptr]string {
	names := make(map[uintptr]string, typ.NumMethod())
	for m := range typ.Methods() {
		names[m.Func.Pointer()] = m.Name
	}
	return names
}
