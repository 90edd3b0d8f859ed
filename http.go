package dog

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"sync"

	"github.com/godurable/dog/internal/answer"
	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/turn"
)

// inbound has the details of a request that reached an object.
type inbound struct {
	slot   slot
	client context.Context // done when the client is gone
	remote string          // the client's address
	answer *answer.Answer  // nil for a gateway
	event  *turn.Event     // in which Receive runs; nil until then

	stopping context.Context // the runtime's
	asked    sync.Once       // sets the fields below
	leaves   context.Context // done when the client is gone or Shutdown begins
	forget   context.CancelFunc
}

type inboundKey struct{}

// inboundOf returns the request that Receive is handling. Events caused by a
// Receive inherit its context values, but not its request. For them inboundOf
// returns an empty one.
func inboundOf(ctx context.Context) *inbound {
	if a, ok := ctx.Value(inboundKey{}).(*inbound); ok && a.event != nil && a.event == turn.From(ctx) {
		return a
	}
	return &inbound{}
}

// inboundBehind returns the request whose handler waits for the event that ctx
// belongs to, because it caused the event directly or through other calls. It
// returns nil if there is no such request, or if nothing waits for the event,
// as with [Go].
func inboundBehind(ctx context.Context) *inbound {
	a, ok := ctx.Value(inboundKey{}).(*inbound)
	if !ok || a.event == nil {
		return nil
	}
	for e := turn.From(ctx); e != nil; e = e.Caller() {
		if e == a.event {
			return a
		}
	}
	return nil
}

// UID returns the uid on whose behalf the request in Receive was sent: the uid
// given to [Stub.WithUID] or [GroupStub.Identify], or returned by the group's
// [Gateway]. It returns "" if none was given, and in other handlers.
func UID(ctx context.Context) string { return inboundOf(ctx).slot.uid }

// IsUpgrade reports whether a request asks for a WebSocket. It is for a Receive
// that serves plain requests too.
func IsUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && conn.IsUpgrade(r.Header)
}

// ClientGone returns a channel that is closed when the client of the request in
// Receive is gone, or when [Runtime.Shutdown] begins. It is for long polls and
// streams. The request's own context does not end then, because a handler
// continues after its client is gone. Wait for the channel in [Await]. In other
// handlers, ClientGone returns nil, a channel that is never closed. See
// [Stopping] for Shutdown alone.
//
// If the request was made or passed on by another handler, with its context,
// the client is gone when that handler's event or context has ended. It is also
// gone when the client on whose behalf the handler works is gone, no matter how
// many objects and calls lie between.
func ClientGone(ctx context.Context) <-chan struct{} {
	if a := inboundOf(ctx); a.client != nil {
		return a.gone()
	}
	return nil
}

// gone returns ClientGone's channel. It is created on first use.
func (a *inbound) gone() <-chan struct{} {
	a.asked.Do(func() {
		var cancel context.CancelFunc
		a.leaves, cancel = context.WithCancel(a.client)
		stop := context.AfterFunc(a.stopping, cancel)
		a.forget = func() { stop(); cancel() }
	})
	return a.leaves.Done()
}

// over closes the channel and releases its resources.
func (a *inbound) over() {
	a.asked.Do(func() { a.leaves, a.forget = a.client, func() {} })
	a.forget()
}

// admitted enters the runtime with a request from outside and serves it. If the
// request comes from a handler, its turn is given up.
func (rt *Runtime) admitted(w http.ResponseWriter, r *http.Request, to target) {
	if err := rt.host.Enter(); err != nil {
		to.namespace().refuse(w, err)
		return
	}
	defer rt.host.Work.Leave()
	wait, err := object.Yield(r.Context(), nil)
	if err != nil {
		if errors.Is(err, ErrPastGate) { // the response does not include it
			rt.opts.Logger.Error("request refused", "error", err)
		}
		to.namespace().refuse(w, err)
		return
	}
	defer wait.Resume()
	if err := wait.Durable(r.Context()); err != nil {
		to.namespace().refuse(w, err)
		return
	}
	to.serve(w, r, turn.OriginOf(r.Context()))
}

// serve serves a request to an object that is addressed by its ID.
func (a *address) serve(w http.ResponseWriter, r *http.Request, from turn.Origin) {
	switch {
	case a.ns.gateway && a.refusal == nil:
		a.serveGateway(w, r, from)
	case !a.ns.upgrades(w, r, a.log):
	case a.ns.kind == KindReplica:
		a.ns.refuse(w, ErrReplicaGone)
	default:
		if err := a.check(); err != nil {
			a.refused(err)
			a.ns.refuse(w, err)
			return
		}
		receive(a, w, r, from, func(s *slot) error {
			s.uid = a.uid
			s.open.Store(true)
			return nil
		}, nil)
	}
}

// serveGateway asks the group's Gateway for the uid of the request, and then
// serves the request.
func (a *address) serveGateway(w http.ResponseWriter, r *http.Request, from turn.Origin) {
	guard := new(answer.Guard)
	body, err := answer.NewInbound(r, guard)
	if err != nil {
		a.ns.refuseBody(w, err)
		return
	}
	defer body.Clean(a.ns.rt.opts.Logger)
	from.Limit = a.ns.rt.opts.MaxWaiting
	var uid string
	var refused error // what Identify returned
	err = on(r.Context(), a, func(o *objectState) error {
		var outcome <-chan error
		refused = nil
		err := o.Deliver(r.Context(), &from, object.EventIdentify, func(ctx context.Context, v any) error {
			in := r.WithContext(ctx)
			body.Attach(in)
			defer body.Keep()
			defer func() { outcome = o.Gate.Outcome() }()
			uid, refused = v.(Gateway).Identify(in)
			return refused
		})
		if outcome != nil {
			err = o.AwaitOutcome(r.Context(), outcome, err)
		}
		return err
	})
	rethrow(guard, a)
	if err != nil {
		reason := reasonFor(err) // before the client gets another error
		if isSame(err, refused) {
			err = a.turnedAway(err)
		}
		a.ns.refuseFor(w, err, reason)
		return
	}
	if !a.ns.replicas.upgrades(w, r, a.log) {
		return
	}
	reserved, err := a.identify(r.Context(), uid)
	if err != nil {
		if errors.Is(err, ErrGroupFull) {
			a.warn("request refused: the group is full. Raise MaxReplicas or Limit (GroupOptions)", err)
		}
		a.ns.refuse(w, err)
		return
	}
	reserved.answer(w, body.Rest(), from, guard)
}

// refused logs that a request with an invalid name or uid was refused.
func (a *address) refused(err error) {
	if a.refusal != nil {
		a.warn("request refused: the name of the object is invalid. "+
			"Check names that clients choose before Named, New or Parse", err)
		return
	}
	a.warn(
		"request refused: its uid is invalid. Pass the uid of the client: GroupStub.Identify, Stub.WithUID, a Gateway",
		err,
	)
}

// turnedAway logs that the group's Gateway has refused a request with err, and
// returns the error that the client gets.
func (a *address) turnedAway(err error) error {
	status := HTTPStatus(err)
	if _, chosen := errors.AsType[*StatusError](err); !chosen && status == http.StatusInternalServerError {
		a.warn("request refused by the gateway, with 403 since its error has no status. "+
			"Return a StatusError to choose the response", err)
		return &StatusError{Status: http.StatusForbidden, Err: err}
	}
	level := slog.LevelDebug // the program's own answer, such as 401 for each anonymous visitor
	if status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	a.log().Log(context.Background(), level, "request refused by the gateway", "error", err)
	return err
}

// warn logs why a request was refused, and the remedy, once a minute.
func (a *address) warn(message string, err error) {
	a.ns.rt.refusals.Warn(a.log(), a.ns.Name, message, err)
}

func (a *address) log() *slog.Logger {
	return a.ns.rt.opts.Logger.With("namespace", a.ns.Name, "object", a.id.String())
}

// serve takes a place on the replica and passes the request to it.
func (r *reservation) serve(w http.ResponseWriter, req *http.Request, from turn.Origin) {
	if !r.namespace().upgrades(w, req, r.replica.obj.Log) {
		r.release()
		return
	}
	r.answer(w, req, from, nil)
}

// answer is serve for a request whose body is guarded already. guard is nil for
// none.
func (r *reservation) answer(w http.ResponseWriter, req *http.Request, from turn.Origin, guard *answer.Guard) {
	receive(r, w, req, from, r.take, guard)
}

// receive runs Receive as an event of an object, which need not be in memory.
// enter fills in the slot. guard guards the code that belongs to the request.
// It is nil if there is no guard yet.
func receive(
	to target, w http.ResponseWriter, r *http.Request, from turn.Origin, enter func(*slot) error, guard *answer.Guard,
) {
	a := &inbound{}
	if err := enter(&a.slot); err != nil {
		to.namespace().refuse(w, err)
		return
	}
	defer a.slot.end()
	rt := to.runtime()
	response := answer.New(&rt.answers, w, guard)
	defer response.Drop()
	guard = response.Guard()
	body, err := answer.NewInbound(r, guard)
	if err != nil {
		to.namespace().refuseBody(w, err)
		return
	}
	values := from.Values
	if values == nil {
		values = context.Background()
	}
	client, release := clientOf(r.Context())
	defer release()
	a.client, a.answer, a.remote, a.stopping = client, response, r.RemoteAddr, rt.stopping
	defer a.over()
	from.Values = context.WithValue(values, inboundKey{}, a)
	from.Limit = rt.opts.MaxWaiting
	var refused error // what Receive returned
	answered := false // and was sent as the response
	err = on(r.Context(), to, func(o *objectState) error {
		refused, answered = nil, false
		err := o.Deliver(r.Context(), &from, object.EventReceive, func(ctx context.Context, value any) error {
			a.event = turn.From(ctx)
			response.Begin(a.event, o.Gate)
			defer response.Returned()
			in := r.WithContext(ctx)
			body.Attach(in)
			defer body.Keep()
			w := response.Writer(r)
			if refused = o.ns.receive(value, w, in); refused != nil && refused != http.ErrAbortHandler &&
				!response.Begun() {
				WriteError(w, refused)
				answered = true
			}
			return refused
		})
		if refused != nil && refused != http.ErrAbortHandler && isSame(err, refused) {
			o.report(EventReceive, refused)
			return nil // the client has its response
		}
		return err
	})
	defer body.Clean(rt.opts.Logger)
	started, err := response.Finish(client, err)
	rethrow(guard, to)
	switch {
	case err == nil && answered:
		to.namespace().countRefusal(HTTPStatus(refused), reasonFor(refused))
	case err == nil:
	case started || err == http.ErrAbortHandler:
		// A response that was sent in part cannot be turned into an error.
		// net/http aborts the connection, so the client sees that the response
		// is incomplete.
		panic(http.ErrAbortHandler)
	default:
		to.namespace().refuse(w, err)
	}
}

// receive passes a request to Receive, or to its default.
func (ns *namespace) receive(value any, w http.ResponseWriter, r *http.Request) error {
	if receiver, ok := value.(Receiver); ok {
		return receiver.Receive(w, r)
	}
	if ns.connects {
		_, err := ns.coreOf(value).connect(w, r, nil)
		return err
	}
	ns.countRefusal(http.StatusNotFound, RefusedRequest)
	http.NotFound(w, r)
	return nil
}

// clientOf returns a context that is done when the client of a request with
// this context is gone. If a handler made or passed on the request, the context
// is also done when the handler's event has ended, or when the client whose
// request caused that event, directly or through other calls, is gone. The
// caller must call release.
func clientOf(ctx context.Context) (client context.Context, release func()) {
	e := turn.From(ctx)
	if e == nil {
		return ctx, func() {}
	}
	client, cancel := context.WithCancelCause(ctx)
	forget := e.OnEnd(func() { cancel(answer.ErrCallerEnded) })
	stop := func() bool { return true }
	if a := inboundBehind(ctx); a != nil {
		stop = context.AfterFunc(a.client, func() { cancel(context.Cause(a.client)) })
	}
	return client, func() {
		forget()
		stop()
		cancel(nil)
	}
}

// rethrow repeats the first panic that guard has seen, if any, for the code
// that made the request. It must be called outside of all turns.
func rethrow(guard *answer.Guard, to target) {
	value, stack := guard.Panic()
	if value == nil {
		return
	}
	if value != http.ErrAbortHandler {
		id, _ := to.identity()
		to.runtime().opts.Logger.Error("the request's own ResponseWriter or body panicked",
			"namespace", to.namespace().Name, "object", id.String(), "panic", value, "stack", string(stack))
	}
	panic(value)
}

// isSame reports whether two errors are the same value. Values that Go cannot
// compare, which only a program's own types have, are taken for the same if
// their types are.
func isSame(a, b error) bool {
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	return a == nil || !reflect.ValueOf(a).Comparable() || !reflect.ValueOf(b).Comparable() || a == b
}
