package dog

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// A Stub is the way to an object, whether it is in memory or not: an
// [http.Handler] for its requests, and an argument of [Call]. Stubs are small
// values, safe for concurrent use. The zero Stub leads nowhere: what uses it
// returns a [UsageError].
type Stub[T any] struct {
	to target
}

// target is what a stub leads to: an *address or an *admission.
type target interface {
	identity() (id ID, name string)
	// serve answers a request that has been let in and for which no turn is
	// held.
	serve(w http.ResponseWriter, r *http.Request, from turn.Origin)
	namespace() *namespace
	// object returns the object, which it makes if need be; room comes before.
	object() (*object, error)
	// room waits, as long as ctx lasts, until the object may be made if there
	// is none. See sweeper.room.
	room(ctx context.Context) error
	// live returns the object if it is in memory, else nil.
	live() *object
	// retired is told that the object it returned has been retired. Without an
	// error there is, or will be, another.
	retired(o *object) error
	runtime() *Runtime
	release()
}

// ID returns the object's ID.
func (s Stub[T]) ID() ID {
	if s.to == nil {
		return ID{}
	}
	id, _ := s.to.identity()
	return id
}

// Name returns the object's name, "" when it has none.
func (s Stub[T]) Name() string {
	if s.to == nil {
		return ""
	}
	_, name := s.to.identity()
	return name
}

// WithUID returns the stub for requests of a uid, which says who asks: [UID] in
// Receive, and the UID of sockets. The rules for uids are those of
// [GroupStub.Identify]; a request for one that is against them is answered with
// 400. "" stands for nobody in particular. A replica's stub keeps the uid that
// it was identified for, and a gateway asks for itself.
func (s Stub[T]) WithUID(uid string) Stub[T] {
	a, ok := s.to.(*address)
	if !ok {
		return s
	}
	return Stub[T]{to: a.withUID(uid)}
}

// ServeHTTP hands the request to the object. A replica's stub takes a place for
// it (see [GroupStub.Identify]); a group's stub asks its [Gateway] or its
// [Receiver], an object's its Receiver.
//
// What cannot be handed over is answered as [WriteError] does. The request
// waits for the object's turn until its context is done. When the object fails
// with its answer half written, ServeHTTP panics with [http.ErrAbortHandler],
// as net/http wants it, so that the client sees that the answer is not whole. A
// panic of w or of r's body goes on when the handler has returned (see
// [Receiver]).
func (s Stub[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.to == nil {
		WriteError(w, notRunning("Stub.ServeHTTP"))
		return
	}
	s.to.runtime().admitted(w, r, s.to)
}

// Release gives the place back that [GroupStub.Identify] reserved, if no
// request has used it. Without it the reservation expires by itself.
func (s Stub[T]) Release() {
	if s.to != nil {
		s.to.release()
	}
}

// Abort resets the object from outside: see [Object.Abort]. It does not wait
// for the object's turn, so it is the way out of a handler or an OnStart that
// hangs: who waits for the start gets the [ResetError], who waits for the turn
// gets it from the next instance, and what hangs goes on unheard, its context
// cancelled. An object that is not in memory stays as it is. Error:
// [ErrPastGate] in a handler of another object, since Abort waits for nothing.
func (s Stub[T]) Abort(reason error) error {
	if s.to == nil {
		return notRunning("Stub.Abort")
	}
	if o := s.to.live(); o != nil {
		if err := o.heard(); err != nil {
			return err
		}
		o.abort(reason)
	}
	return nil
}

// address leads to an object by its ID, in memory or not.
type address struct {
	// fixed
	ns    *namespace
	id    ID
	name  string // "": the store knows it, if the object has one
	known bool   // that it has none
	uid   string // who asks
	// refusal says why nothing can be there.
	refusal error

	seen atomic.Pointer[object] // the object when last seen; it may have been retired since
}

// withUID returns the same address for requests of a uid.
func (a *address) withUID(uid string) *address {
	b := &address{ns: a.ns, id: a.id, name: a.name, known: a.known, uid: uid, refusal: a.refusal}
	b.seen.Store(a.seen.Load())
	return b
}

// check returns why requests cannot be sent there, or nil.
func (a *address) check() error {
	if a.refusal != nil || a.uid == "" {
		return a.refusal
	}
	return checkUID(a.uid)
}

func (a *address) identity() (id ID, name string) { return a.id, a.name }

func (a *address) release() {}

func (a *address) runtime() *Runtime { return a.ns.rt }

func (a *address) namespace() *namespace { return a.ns }

// object returns the object, which it makes when there is none.
func (a *address) object() (*object, error) {
	if o := a.seen.Load(); o != nil {
		return o, nil
	}
	if a.refusal != nil {
		return nil, a.refusal
	}
	o := a.ns.find(a.id)
	switch {
	case o != nil:
	case a.ns.kind == KindReplica:
		return nil, ErrReplicaGone
	default:
		name := a.name
		if name == "" && !a.known {
			id, _, err := store.Find(a.ns.rt.engine, a.id.base())
			if err != nil {
				return nil, err
			}
			name = id.Name
		}
		o = a.ns.object(a.id, name)
	}
	a.seen.Store(o)
	return o, nil
}

func (a *address) room(ctx context.Context) error {
	if a.seen.Load() != nil || a.ns.kind != KindObject || a.ns.find(a.id) != nil {
		return nil
	}
	return a.ns.rt.sweeper.room(ctx)
}

func (a *address) live() *object { return a.ns.find(a.id) }

func (a *address) retired(o *object) error {
	a.seen.CompareAndSwap(o, nil)
	return nil
}

// objectOf returns the object that to leads to, which it makes if need be.
func objectOf(ctx context.Context, to target) (*object, error) {
	if err := to.room(ctx); err != nil {
		return nil, err
	}
	return to.object()
}

// on calls f with the object that to leads to; again when that turns out to be
// retired.
func on(ctx context.Context, to target, f func(*object) error) error {
	for {
		o, err := objectOf(ctx, to)
		if err != nil {
			return err
		}
		if err = f(o); !errors.Is(err, errRetired) {
			return err
		}
		if err := to.retired(o); err != nil {
			return err
		}
	}
}
