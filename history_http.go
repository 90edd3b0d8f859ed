package dog

import (
	"errors"
	"net/http"
	"time"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/stream"
	"github.com/godurable/dog/internal/tail"
	"github.com/godurable/dog/internal/wire"
)

// ServeHTTP serves the messages by the read protocol of Durable Streams, for
// which there are clients in many languages. A browser needs no client:
//
//	new EventSource("/history?offset=now&live=sse").addEventListener("data", show)
//
// The parameters of the query are:
//   - offset: a [Position], for the messages after it, -1 for all that are
//     kept, or now for new ones only. Default: -1.
//   - live: long-poll to wait up to 25 seconds if there are no messages, sse
//     for a minute of server-sent events. Either needs an offset. Default: the
//     response has the messages that are there.
//   - cursor: the Stream-Cursor of the response before.
//
// A response has up to 64 KiB of messages, or a single larger one, as a JSON
// array: a message that is a JSON text as it stands, other text as a JSON
// string, binary as {"$base64":"…"}. Stream-Next-Offset is the offset for the
// next request. Stream-Up-To-Date: true means that no messages follow so far.
//
// As events, each array is a "data" event. A "control" event follows, which has
// the next offset as its id. An EventSource that loses its connection sends it
// as Last-Event-ID, which takes the place of the offset, and continues where it
// was.
//
// The status is 200, or
//   - 204 if a long poll ends without messages,
//   - 304 if the client's If-None-Match has the ETag of the response,
//   - 400 for a malformed parameter or uid,
//   - 404 if the type has no HistoryOptions,
//   - 405 for a method other than GET and HEAD. HEAD returns the offset behind
//     the newest message,
//   - 410 if messages after the offset are missing. The body is JSON: from is
//     the offset, to is the one from which messages are kept, and why is the
//     [GapReason].
//
// For other errors it is that of [WriteError]. A response of events whose
// messages expire before the client takes them ends, and the next request gets
// 410.
//
// Live responses end when the client is gone and when Shutdown begins. A client
// has Options.Sockets.WriteTimeout to take each part of a response. While a
// client waits, the object or the group stays in memory. In a handler, with the
// handler's context in the request, ServeHTTP gives up the turn, like [Await]:
//
//	func (r *Room) Receive(w http.ResponseWriter, req *http.Request) error {
//		if !dog.IsUpgrade(req) {
//			r.History().WithUID(dog.UID(req.Context())).ServeHTTP(w, req)
//			return nil
//		}
//		…
//	}
//
// ServeHTTP does not check who reads. Do this before, as for a WebSocket.
func (h History) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "private, no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
	err := h.serve(w, r)
	if err == nil {
		return
	}
	if _, misused := errors.AsType[*UsageError](err); misused {
		err = &StatusError{Status: http.StatusNotFound, Err: err}
	} else if h.to != nil && HTTPStatus(err) == http.StatusInternalServerError {
		h.to.runtime().opts.Logger.Error("a history cannot be read", "namespace", h.to.namespace().Name, "error", err)
	}
	WriteError(w, err)
}

// serve is ServeHTTP. If it returns an error, it has written nothing.
func (h History) serve(w http.ResponseWriter, r *http.Request) error {
	if h.to == nil {
		return notRunning("History.ServeHTTP")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return &StatusError{Status: http.StatusMethodNotAllowed}
	}
	query, err := stream.Parse(r, time.Now())
	if err == nil && query.After != "" {
		_, err = wire.ParsePosition(query.After)
	}
	if err != nil {
		return &StatusError{Status: http.StatusBadRequest, Err: err}
	}
	rt := h.to.runtime()
	leave, err := rt.host.EnterFrom(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	client, release := clientOf(r.Context())
	defer release()
	return object.Await(r.Context(), nil, func() error {
		var to tail.Reader
		err := h.reach(client, "History.ServeHTTP", func(rec *record.Record, owner *objectState) error {
			if err := rec.Enter(owner.Retired); err != nil {
				return err
			}
			to = tail.Reader{
				Record: rec, Client: history.Reader{UID: h.uid}, Query: query,
				Timeout: rt.opts.Sockets.WriteTimeout, Gone: client.Done(), Stopping: rt.stopping.Done(),
			}
			return nil
		})
		if err != nil {
			return err
		}
		defer to.Record.Leave(query.Mode != stream.CatchUp)
		return to.Serve(w, r)
	})
}
