package dog

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/godurable/dog/internal/turn"
)

type visitKey struct{}

// serveHTTP answers a request that comes through a stub.
func (a *address) serveHTTP(w http.ResponseWriter, r *http.Request) {
	rt := a.ns.rt
	if err := rt.enter(); err != nil {
		WriteError(w, err)
		return
	}
	defer rt.leave()
	e, err := turn.Yield(r.Context())
	if err != nil {
		WriteError(w, err)
		return
	}
	defer e.Resume()
	switch {
	case a.admission != nil:
		a.admission.serveHTTP(w, r)
	case a.ns.kind != KindGroup:
		WriteError(w, ErrNotRunning)
	case a.ns.gateway:
		a.serveGateway(w, r)
	default:
		receive(a.event, w, r, nil)
	}
}

// event runs handle as an event of the group that a refers to.
func (a *address) event(wait context.Context, from turn.Origin, kind EventKind, handle func(ctx context.Context, v any) error) error {
	for {
		err := a.ns.object(a.id, a.name).event(wait, from, kind, handle)
		if !errors.Is(err, errRetired) {
			return err
		}
	}
}

// serveGateway asks the group who sends the request and hands it on.
func (a *address) serveGateway(w http.ResponseWriter, r *http.Request) {
	if a.ns.replicas() == nil {
		WriteError(w, ErrNotLinked)
		return
	}
	var requestID string
	var refused error
	err := a.event(r.Context(), turn.OriginOf(r.Context()), EventIdentify, func(ctx context.Context, v any) error {
		requestID, refused = v.(Gateway).Identify(r.WithContext(ctx))
		return nil
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
	defer admission.release()
	admission.serveHTTP(w, r)
}

// serveHTTP takes a place on the replica and hands the request to its Receive.
func (a *admission) serveHTTP(w http.ResponseWriter, r *http.Request) {
	v, err := a.visit()
	if err != nil {
		WriteError(w, err)
		return
	}
	defer v.end()
	receive(a.member.obj.event, w, r, v)
}

// receive runs Receive as an event of the object whose event function is given.
func receive(
	event func(context.Context, turn.Origin, EventKind, func(context.Context, any) error) error,
	w http.ResponseWriter, r *http.Request, v *visit,
) {
	from := turn.OriginOf(r.Context())
	if v != nil {
		from.Values = context.WithValue(from.Values, visitKey{}, v)
	}
	answer := &response{ResponseWriter: w}
	err := event(r.Context(), from, EventReceive, func(ctx context.Context, object any) error {
		receiver, ok := object.(Receiver)
		if !ok {
			http.NotFound(answer, r)
			return nil
		}
		receiver.Receive(answer, r.WithContext(ctx))
		return nil
	})
	switch {
	case err == nil, answer.hijacked:
	case answer.started || err == http.ErrAbortHandler:
		// Nothing can turn a half answer into an error; net/http breaks the connection off, so that the client sees that it is not
		// whole.
		panic(http.ErrAbortHandler)
	default:
		WriteError(w, err)
	}
}

// response notes how far an answer has come. [http.ResponseController] finds the rest of the writer's methods with Unwrap.
type response struct {
	http.ResponseWriter
	started  bool
	hijacked bool
}

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	w.started = w.started || status >= 200 || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(p)
}

// Flush makes the answer usable for streams written the customary way; it does nothing where the writer cannot flush.
func (w *response) Flush() {
	w.started = true
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = err == nil
	return c, rw, err
}
