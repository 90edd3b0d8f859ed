package dog

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/turn"
)

// arrival is what a request that reached an object brought along.
type arrival struct {
	visit  visit
	client context.Context // done when the client has gone
	remote string          // the client's address
	answer *response       // nil for a gateway
	event  *turn.Event     // in which Receive runs; nil until it does

	stopping context.Context // the runtime's
	asked    sync.Once       // sets the fields below
	leaves   context.Context // done when the client has gone or Shutdown begins
	forget   context.CancelFunc
}

type arrivalKey struct{}

// arrivalOf returns what the request brought along to Receive. The events that
// a Receive brings about see its values, but have no part in that.
func arrivalOf(ctx context.Context) *arrival {
	if a, ok := ctx.Value(arrivalKey{}).(*arrival); ok && a.event != nil && a.event == turn.From(ctx) {
		return a
	}
	return &arrival{}
}

// arrivalBehind returns the request that somebody waits for with the event that
// ctx belongs to: it brought the event about, or made the calls that did. It
// returns nil when there is none, or when nobody waits, as with [Go].
func arrivalBehind(ctx context.Context) *arrival {
	a, ok := ctx.Value(arrivalKey{}).(*arrival)
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

// UID returns for whom the request came that Receive got: what was given to
// [Stub.WithUID] or [GroupStub.Identify], or what the group's [Gateway]
// returned; "" if nobody said, and in other handlers.
func UID(ctx context.Context) string { return arrivalOf(ctx).visit.uid }

// IsUpgrade reports whether a request asks for a WebSocket, for a Receive that
// serves plain requests too.
func IsUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && conn.IsUpgrade(r.Header)
}

// ClientGone returns a channel that is closed when the client of the request
// that Receive got has gone, or when [Runtime.Shutdown] begins, for long polls
// and streams: the request's own context does not end then, because a handler
// goes on when its client goes away. It is nil, and so never closed, in other
// handlers. Wait for it in [Await]. See [Stopping] for Shutdown alone.
//
// The client of a request that another handler makes or hands on, with its
// context, has gone when that handler's event or context has ended, and when
// the client has gone for whom the handler works, however many objects and
// calls lie between.
func ClientGone(ctx context.Context) <-chan struct{} {
	if a := arrivalOf(ctx); a.client != nil {
		return a.gone()
	}
	return nil
}

// gone is ClientGone's channel. It is made when it is asked for.
func (a *arrival) gone() <-chan struct{} {
	a.asked.Do(func() {
		var cancel context.CancelFunc
		a.leaves, cancel = context.WithCancel(a.client)
		stop := context.AfterFunc(a.stopping, cancel)
		a.forget = func() { stop(); cancel() }
	})
	return a.leaves.Done()
}

// over gives back what the channel costs, and ends it.
func (a *arrival) over() {
	a.asked.Do(func() { a.leaves, a.forget = a.client, func() {} })
	a.forget()
}

// admitted lets a request from outside in and serves it, with the turn given up
// if it comes from a handler.
func (rt *Runtime) admitted(w http.ResponseWriter, r *http.Request, to target) {
	if err := rt.enter(); err != nil {
		WriteError(w, err)
		return
	}
	defer rt.leave()
	wait, err := giveUp(r.Context(), nil)
	if err != nil {
		if errors.Is(err, ErrPastGate) { // which the answer does not say
			rt.opts.Logger.Error("request refused", "error", err)
		}
		WriteError(w, err)
		return
	}
	defer wait.Resume()
	if err := wait.durable(r.Context()); err != nil {
		WriteError(w, err)
		return
	}
	to.serve(w, r, turn.OriginOf(r.Context()))
}

// serve answers a request to an object that is addressed by its ID.
func (a *address) serve(w http.ResponseWriter, r *http.Request, from turn.Origin) {
	switch {
	case a.ns.kind == KindReplica:
		WriteError(w, ErrReplicaGone)
	case a.ns.gateway && a.refusal == nil:
		a.serveGateway(w, r, from)
	default:
		if err := a.check(); err != nil {
			a.refusedUID(err)
			WriteError(w, err)
			return
		}
		receive(a, w, r, from, func(v *visit) error {
			v.uid = a.uid
			v.open.Store(true)
			return nil
		}, nil)
	}
}

// serveGateway asks the group who sends the request and hands it on.
func (a *address) serveGateway(w http.ResponseWriter, r *http.Request, from turn.Origin) {
	alien := new(foreign)
	body, err := newInboundBody(r, alien)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		return
	}
	defer body.clean(a.ns.rt.opts.Logger)
	var uid string
	var refused error
	err = on(r.Context(), a, func(o *object) error {
		var outcome <-chan error
		err := o.event(r.Context(), from, EventIdentify, func(ctx context.Context, v any) error {
			in := r.WithContext(ctx)
			body.attach(in)
			defer body.keep()
			defer func() { outcome = o.gate.Outcome() }()
			uid, refused = v.(Gateway).Identify(in)
			return nil
		})
		if outcome != nil {
			err = o.told(r.Context(), outcome, err)
		}
		return err
	})
	alien.rethrow(a)
	switch {
	case err != nil:
		WriteError(w, err)
		return
	case refused != nil:
		a.ns.rt.opts.Logger.Info("request refused by the gateway", "namespace", a.ns.name, "object", a.id.String(), "error", refused)
		if HTTPStatus(refused) == http.StatusInternalServerError { // it carries none
			refused = &StatusError{Status: http.StatusForbidden, Err: refused}
		}
		WriteError(w, refused)
		return
	}
	admission, err := a.identify(r.Context(), uid)
	if err != nil {
		WriteError(w, err)
		return
	}
	admission.answer(w, body.rest(), from, alien)
}

// serve takes a place on the replica and hands the request to it.
func (a *admission) serve(w http.ResponseWriter, r *http.Request, from turn.Origin) {
	a.answer(w, r, from, nil)
}

// answer is serve for a request whose body alien guards already, nil for none.
func (a *admission) answer(w http.ResponseWriter, r *http.Request, from turn.Origin, alien *foreign) {
	receive(a, w, r, from, a.visit, alien)
}

// receive runs Receive as an event of an object, in memory or not. enter fills
// in the visit. alien guards what belongs to the request; nil: nobody does yet.
func receive(
	to target, w http.ResponseWriter, r *http.Request, from turn.Origin, enter func(*visit) error, alien *foreign,
) {
	a := &arrival{}
	if err := enter(&a.visit); err != nil {
		WriteError(w, err)
		return
	}
	defer a.visit.end()
	rt := to.runtime()
	answer := newResponse(rt, w, alien)
	alien = answer.alien
	body, err := newInboundBody(r, alien)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		return
	}
	values := from.Values
	if values == nil {
		values = context.Background()
	}
	client, release := clientOf(r.Context())
	defer release()
	a.client, a.answer, a.remote, a.stopping = client, answer, r.RemoteAddr, rt.stopping
	defer a.over()
	from.Values = context.WithValue(values, arrivalKey{}, a)
	from.Limit = rt.opts.MaxWaiting
	var refused error // what Receive returned
	err = on(r.Context(), to, func(o *object) error {
		refused = nil
		err := o.event(r.Context(), from, EventReceive, func(ctx context.Context, value any) error {
			a.event = turn.From(ctx)
			answer.event, answer.gate = a.event, o.gate
			defer func() { answer.outcome = o.gate.Outcome() }() // of what has been stored up to here, and no later
			in := r.WithContext(ctx)
			body.attach(in)
			defer body.keep()
			w := answer.writer(r)
			if refused = o.ns.receive(value, w, in); refused != nil && refused != http.ErrAbortHandler && !answer.begun() {
				WriteError(w, refused)
			}
			return refused
		})
		if refused != nil && refused != http.ErrAbortHandler && errors.Is(err, refused) {
			o.report(EventReceive, refused)
			return nil // the client has its answer
		}
		return err
	})
	defer body.clean(rt.opts.Logger)
	started, err := answer.finish(client, err)
	alien.rethrow(to)
	switch {
	case err == nil:
	case started || err == http.ErrAbortHandler:
		// Nothing can turn a half answer into an error; net/http breaks the
		// connection off, so that the client sees that it is not whole.
		panic(http.ErrAbortHandler)
	default:
		WriteError(w, err)
	}
}

// receive hands a request to Receive, or to what stands in for it.
func (ns *namespace) receive(value any, w http.ResponseWriter, r *http.Request) error {
	if receiver, ok := value.(Receiver); ok {
		return receiver.Receive(w, r)
	}
	if ns.connects {
		_, err := ns.coreOf(value).connect(w, r, nil)
		return err
	}
	http.NotFound(w, r)
	return nil
}

// clientOf returns a context that is done when a request with this context has
// lost its client. For a request that a handler makes or hands on, that is also
// when the handler's event has ended, or when the client has gone whose request
// brought that event about, through whatever calls. release must follow.
func clientOf(ctx context.Context) (client context.Context, release func()) {
	e := turn.From(ctx)
	if e == nil {
		return ctx, func() {}
	}
	client, cancel := context.WithCancelCause(ctx)
	forget := e.OnEnd(func() { cancel(errCallerEnded) })
	stop := func() bool { return true }
	if a := arrivalBehind(ctx); a != nil {
		stop = context.AfterFunc(a.client, func() { cancel(context.Cause(a.client)) })
	}
	return client, func() {
		forget()
		stop()
		cancel(nil)
	}
}

var errCallerEnded = errors.New("dog: the handler for which it was done has ended")
