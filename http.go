package dog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/godurable/dog/internal/turn"
)

// arrival is what a request that reached an object brought along.
type arrival struct {
	visit  *visit // nil for a group
	client context.Context
	event  *turn.Event // in which Receive runs; nil until it does

	stopping context.Context // the runtime's
	asked    sync.Once       // sets the fields below
	leaves   context.Context // done when the client has gone or Shutdown begins
	forget   context.CancelFunc
}

type arrivalKey struct{}

// arrivalOf returns what the request brought along to Receive. The events that a Receive brings about see its values, but have no
// part in that.
func arrivalOf(ctx context.Context) *arrival {
	if a, ok := ctx.Value(arrivalKey{}).(*arrival); ok && a.event != nil && a.event == turn.From(ctx) {
		return a
	}
	return &arrival{}
}

// RequestID returns the request id for which the request that Receive got was identified; "" in other handlers.
func RequestID(ctx context.Context) string {
	if v := arrivalOf(ctx).visit; v != nil {
		return v.requestID
	}
	return ""
}

// ClientGone returns a channel that is closed when the client of the request
// that Receive got has gone, or when [Runtime.Shutdown] begins, for long polls
// and streams: the request's own context does not end then, because a handler
// goes on when its client goes away. It is nil, and so never closed, in other
// handlers. Wait for it in [Await]. See [Stopping] for Shutdown alone.
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

// admitted lets a request from outside in and serves it, with the turn given up if it comes from a handler.
func (rt *Runtime) admitted(w http.ResponseWriter, r *http.Request, to target) {
	if err := rt.enter(); err != nil {
		WriteError(w, err)
		return
	}
	defer rt.leave()
	wait, err := giveUp(r.Context(), nil)
	if err != nil {
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

// serve answers a request to a named object.
func (a *address) serve(w http.ResponseWriter, r *http.Request, from turn.Origin) {
	switch {
	case a.ns.kind == KindReplica:
		WriteError(w, ErrReplicaGone)
	case a.ns.gateway:
		a.serveGateway(w, r, from)
	default:
		receive(a, w, r, from, nil)
	}
}

// serveGateway asks the group who sends the request and hands it on.
func (a *address) serveGateway(w http.ResponseWriter, r *http.Request, from turn.Origin) {
	if a.ns.replicas() == nil {
		WriteError(w, ErrNotLinked)
		return
	}
	var requestID string
	var refused error
	err := on(r.Context(), a, func(o *object) error {
		var outcome <-chan error
		err := o.event(r.Context(), from, EventIdentify, func(ctx context.Context, v any) error {
			requestID, refused = v.(Gateway).Identify(r.WithContext(ctx))
			outcome = o.gate.Outcome()
			return nil
		})
		if outcome != nil {
			err = o.told(r.Context(), outcome, err)
		}
		return err
	})
	switch {
	case err != nil:
		WriteError(w, err)
		return
	case refused != nil && !errors.Is(refused, ErrInvalidRequestID):
		a.ns.rt.opts.Logger.Info("request refused by the gateway", "namespace", a.ns.name, "object", a.id.String(), "error", refused)
		http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		return
	case refused != nil:
		WriteError(w, refused)
		return
	}
	admission, err := a.identify(r.Context(), requestID)
	if err != nil {
		WriteError(w, err)
		return
	}
	admission.serve(w, r, from)
}

// serve takes a place on the replica and hands the request to its Receive.
func (a *admission) serve(w http.ResponseWriter, r *http.Request, from turn.Origin) {
	v, err := a.visit()
	if err != nil {
		WriteError(w, err)
		return
	}
	defer v.end()
	receive(a, w, r, from, v)
}

// receive runs Receive as an event of an object, in memory or not. v is nil unless it is a replica.
func receive(to target, w http.ResponseWriter, r *http.Request, from turn.Origin, v *visit) {
	rt := to.runtime()
	r, err := withBody(r)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		return
	}
	values := from.Values
	if values == nil {
		values = context.Background()
	}
	a := &arrival{visit: v, client: r.Context(), stopping: rt.stopping}
	defer a.over()
	from.Values = context.WithValue(values, arrivalKey{}, a)
	from.Limit = rt.opts.MaxWaiting
	answer := newResponse(rt, w)
	err = on(r.Context(), to, func(o *object) error {
		return o.event(r.Context(), from, EventReceive, func(ctx context.Context, value any) error {
			receiver, ok := value.(Receiver)
			if !ok {
				http.NotFound(answer, r)
				return nil
			}
			a.event = turn.From(ctx)
			answer.gate = o.gate
			defer func() { answer.outcome = o.gate.Outcome() }() // of what has been stored up to here, and no later
			receiver.Receive(answer, r.WithContext(ctx))
			return nil
		})
	})
	started, err := answer.finish(err)
	switch {
	case err == nil:
	case started || err == http.ErrAbortHandler:
		// Nothing can turn a half answer into an error; net/http breaks the connection off, so that the client sees that it is not
		// whole.
		panic(http.ErrAbortHandler)
	default:
		WriteError(w, err)
	}
}

// maxBody bounds the bodies that are read before Receive begins.
const maxBody = 64 << 10

// withBody returns the request with its body in memory, if that is short: a client that sends it slowly must not keep the turn.
func withBody(r *http.Request) (*http.Request, error) {
	if r.Body == nil || r.ContentLength <= 0 || r.ContentLength > maxBody {
		return r, nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, err
	}
	r = r.WithContext(r.Context()) // the caller's request stays as it is
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r, nil
}
