package dog

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/answer"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// A Stub refers to an object, whether or not the object is in memory. It is an
// [http.Handler] for the object's requests, and an argument of [Call]. Stubs
// are small values, safe for concurrent use. The zero Stub refers to no object:
// calls that use it return a [UsageError].
type Stub[T any] struct {
	to target
}

// target is the destination of a stub: an *address or a *reservation.
type target interface {
	identity() (id ID, name string)
	// serve answers a request that has been admitted and for which no turn is
	// held.
	serve(w http.ResponseWriter, r *http.Request, from turn.Origin)
	namespace() *namespace
	// object returns the object, creating it if needed. room must be called
	// first.
	object() (*objectState, error)
	// room waits until the object may be created, if there is none, or until
	// ctx ends. See object.Class.Room.
	room(ctx context.Context) error
	// live returns the object if it is in memory, otherwise nil. It returns an
	// error if there can be no object.
	live() (*objectState, error)
	// retired reports to the target that the object it returned has been
	// retired. If it returns no error, there is, or will be, another object.
	retired(o *objectState) error
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

// Name returns the object's name, or "" if it has none.
func (s Stub[T]) Name() string {
	if s.to == nil {
		return ""
	}
	_, name := s.to.identity()
	return name
}

// WithUID returns a stub for requests of a uid. The uid is returned by [UID] in
// Receive, and is the UID of sockets. The rules for uids are those of
// [GroupStub.Identify]. A request for an invalid uid gets a 400 response. ""
// stands for an anonymous requester. A replica's stub keeps the uid for which
// it was identified, and a gateway identifies the uid itself.
func (s Stub[T]) WithUID(uid string) Stub[T] {
	a, ok := s.to.(*address)
	if !ok {
		return s
	}
	return Stub[T]{to: a.withUID(uid)}
}

// ServeHTTP passes the request to the object. A replica's stub takes a place
// for it (see [GroupStub.Identify]). A group's stub calls its [Gateway] or its
// [Receiver], an object's stub its Receiver.
//
// If the request cannot be passed on, the response is that of [WriteError]. The
// request waits for the object's turn until its context is done. If the object
// fails after part of the response has been written, ServeHTTP panics with
// [http.ErrAbortHandler], as net/http requires, so that the client sees that
// the response is incomplete. A panic of w or of r's body continues when the
// handler has returned (see [Receiver]).
func (s Stub[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.to == nil {
		WriteError(w, notRunning("Stub.ServeHTTP"))
		return
	}
	s.to.runtime().admitted(w, r, s.to)
}

// Release gives back the place that [GroupStub.Identify] reserved, if no
// request has used it. Without Release, the reservation expires.
func (s Stub[T]) Release() {
	if s.to != nil {
		s.to.release()
	}
}

// Abort resets the object from outside: see [Object.Abort]. It does not wait
// for the object's turn, so it can end a handler or an OnStart that hangs.
// Callers that wait for the start get the [ResetError]. Events that wait for
// the turn run when the object has started again. A handler that hangs
// continues with its context cancelled, and its output is dropped. An object
// that is not in memory is not affected.
//
// Abort does not wait for durability. So it returns [ErrPastGate] in a handler
// of another object that has writes which are not durable, if
// [Options].CheckTurns is set: without it, the caller of Abort is not known. It
// returns [ErrInvalidName] for a name that no object can have, and
// [ErrShutdown] when Shutdown is complete.
func (s Stub[T]) Abort(reason error) error {
	if s.to == nil {
		return notRunning("Stub.Abort")
	}
	select {
	case <-s.to.runtime().ended:
		return ErrShutdown
	default: // also during Shutdown, which a handler that hangs delays
	}
	o, err := s.to.live()
	if o == nil || err != nil {
		return err
	}
	if err := o.CheckGate(); err != nil {
		return err
	}
	o.Abort(abortedBy(reason))
	return nil
}

// RoundTrip implements [http.RoundTripper]. A client with a stub as its
// transport sends all its requests to one object, whatever their host:
//
//	client := &http.Client{Transport: cart}
//
// In a handler, with the handler's context in the request, RoundTrip gives up
// the turn. The request is sent when the earlier writes of the handler's object
// are durable. A response of [Stub.ServeHTTP] itself, such as 503 from an
// overloaded object, is returned as a response. RoundTrip returns when the
// object's handler has returned or flushes. After that, the body streams: about
// a megabyte of it is buffered for the reader, and beyond that the handler
// waits for room.
//
// The caller must read the body to its end or close it. Reading waits without
// giving up the turn, so a handler should read a long body in [Await]. Closing
// it early closes the object's [ClientGone] channel, as does the end of the
// request's context. There is no connection to hijack, so [Object.Connect]
// refuses these requests.
//
// A response of more than a megabyte is broken off when the object has waited
// for its reader, while holding its turn, for ten seconds in all (see
// [Receiver]). Reading the body then fails. A response that is written in
// [Await] waits as long as the request's context lasts. If a handler's event
// ends before it has read the body, the response is broken off as soon as the
// object would have to wait for its reader. A handler that reads the body
// outside Await waits with its turn: a call by which the object comes to need
// that turn fails with [ErrDeadlock].
//
// Both sides see the request and the response as net/http would have
// transferred them. Names of header fields and trailers are in canonical form,
// and values have no space around them. Of the fields that the object sets,
// those with invalid names are dropped, and line breaks in values become
// spaces. There is no Date.
//
// The object sees the RemoteAddr of the request. If that is empty, it sees the
// address of the client on whose behalf the calling handler works, and
// otherwise 127.0.0.1:0. It does not see the request's [httptrace.ClientTrace],
// which gets informational responses.
//
// RoundTrip returns the errors of the caller's side: a [UsageError] for the
// zero Stub, [ErrOutsideTurn], [ErrInTransaction], [ErrReset] if the caller's
// earlier writes could not be made durable, the cause of the end of the
// request's context, and the error of the request's own body. Errors of the
// object, such as [ErrOverloaded] or [ErrDeadlock], are responses with the
// status of [HTTPStatus]. RoundTrip also fails if the request or the response
// cannot be sent, for example because its header has control characters. If the
// object breaks off the response, or the response is shorter than its
// Content-Length, the error wraps [io.ErrUnexpectedEOF].
func (s Stub[T]) RoundTrip(r *http.Request) (*http.Response, error) {
	body := answer.NewOutbound(
		r, func(value any, stack []byte) error { return &PanicError{Value: value, Stack: stack} },
	)
	response, err := roundTrip(s.to, r, body)
	if err != nil {
		_ = body.Close() // the caller gets err
		return nil, err
	}
	return response, nil
}

func roundTrip(to target, r *http.Request, body *answer.Outbound) (*http.Response, error) {
	ctx := r.Context()
	if to == nil {
		return nil, notRunning("Stub.RoundTrip")
	}
	if err := answer.CheckRequest(r); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	rt := to.runtime()
	leave, err := rt.host.EnterFrom(ctx)
	if err != nil {
		_ = body.Close() // it is not sent
		return answer.Record(&rt.answers, r, func(w http.ResponseWriter) { WriteError(w, err) })
	}
	defer leave()
	wait, err := object.Yield(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer wait.Resume()
	if err := wait.Durable(ctx); err != nil {
		return nil, err
	}
	from := turn.OriginOf(ctx)
	defer from.Call.Over()
	from.Values = answer.Untraced(ctx, from.Values)
	remote := ""
	if a := inboundBehind(ctx); a != nil {
		remote = a.remote
	}
	return answer.RoundTrip(&rt.answers, r, body, remote, from.Call, func(w http.ResponseWriter, in *http.Request) {
		to.serve(w, in, from)
	})
}

// address is the target that refers to an object by its ID, in memory or not.
type address struct {
	// fixed
	ns    *namespace
	id    ID
	name  string // "": the store has it, if there is one
	known bool   // the object is known to have no name
	uid   string // of the requester
	// refusal is the reason why no object can exist there.
	refusal error

	seen atomic.Pointer[objectState] // the object when last seen; it may have been retired since
}

// withUID returns the same address for requests of a uid.
func (a *address) withUID(uid string) *address {
	b := &address{ns: a.ns, id: a.id, name: a.name, known: a.known, uid: uid, refusal: a.refusal}
	b.seen.Store(a.seen.Load())
	return b
}

// check returns an error if requests cannot be sent to the address.
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

// object returns the object, creating it if there is none.
func (a *address) object() (*objectState, error) {
	if o := a.seen.Load(); o != nil {
		return o, nil
	}
	if a.refusal != nil {
		return nil, a.refusal
	}
	o := a.ns.holder(a.id)
	switch {
	case o != nil:
	case a.ns.kind == KindReplica:
		return nil, ErrReplicaGone
	default:
		name := a.name
		if name == "" && !a.known {
			id, _, err := store.Find(a.ns.rt.host.Engine, object.ID(a.id).Base())
			if err != nil {
				return nil, err
			}
			name = id.Name
		}
		o = stateOf(a.ns.Object(object.ID(a.id), name))
	}
	a.seen.Store(o)
	return o, nil
}

func (a *address) room(ctx context.Context) error {
	if a.seen.Load() != nil || a.ns.kind != KindObject || a.ns.holder(a.id) != nil {
		return nil
	}
	return a.ns.Room(ctx)
}

func (a *address) live() (*objectState, error) {
	if a.refusal != nil {
		return nil, a.refusal
	}
	return a.ns.holder(a.id), nil
}

func (a *address) retired(o *objectState) error {
	a.seen.CompareAndSwap(o, nil)
	return nil
}

// objectOf returns the object that to refers to, creating it if needed.
func objectOf(ctx context.Context, to target) (*objectState, error) {
	if err := to.room(ctx); err != nil {
		return nil, err
	}
	return to.object()
}

// on calls f with the object that to refers to. It repeats this if the object
// turns out to be retired.
func on(ctx context.Context, to target, f func(*objectState) error) error {
	for {
		o, err := objectOf(ctx, to)
		if err != nil {
			return err
		}
		if err = f(o); !errors.Is(err, object.ErrRetired) {
			return err
		}
		if err := to.retired(o); err != nil {
			return err
		}
	}
}

// reach runs a method of the object that to refers to.
func reach(ctx context.Context, from *turn.Origin, to target, method string, run object.Work) error {
	from.Limit = to.runtime().opts.MaxWaiting
	for {
		o, err := objectOf(ctx, to)
		if err != nil {
			return err
		}
		err = o.Call(ctx, from, method, run)
		switch ended := turn.EndOf(ctx); {
		case ended != nil:
			return ended
		case err == nil, !errors.Is(err, object.ErrRetired):
			return err
		}
		if err := to.retired(o); err != nil {
			return err
		}
	}
}

func init() {
	hook.Event = inspectEvent
	hook.MakeStore = func(open func(*slog.Logger) (store.Engine, error)) any { return &opener{open} }
	hook.SetWallClock = func(rt any, now func() time.Time) { rt.(*Runtime).host.WallClock = now }
	hook.OpenStore = func(s any, log *slog.Logger) (store.Engine, error) { return s.(Store).openEngine(log) }
}

// leadsTo returns the target of a stub, of any type.
func (s Stub[T]) leadsTo() target { return s.to }

// inspectEvent implements [hook.Event].
func inspectEvent(ctx context.Context, stub any, f func(ctx context.Context, v any) error) error {
	to := stub.(interface{ leadsTo() target }).leadsTo()
	if to == nil {
		return notRunning("dogtest.Run")
	}
	if err := to.runtime().host.Enter(); err != nil {
		return err
	}
	defer to.runtime().host.Work.Leave()
	from := turn.Inside(nil, ctx)
	return reach(ctx, &from, to, "Run", f)
}
