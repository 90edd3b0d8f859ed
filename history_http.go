package dog

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"time"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/stream"
	"github.com/godurable/dog/internal/wire"
)

// pollTime is how long a long poll waits for messages. Proxies wait longer.
const pollTime = 25 * time.Second

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
		var to *historyReader
		err := h.reach(client, "History.ServeHTTP", func(rec *record.Record, owner *objectState) error {
			if err := rec.Enter(owner.Retired); err != nil {
				return err
			}
			to = &historyReader{
				record: rec, reader: history.Reader{UID: h.uid}, query: query, head: r.Method == http.MethodHead,
				w: w, control: http.NewResponseController(w), timeout: rt.opts.Sockets.WriteTimeout,
				known: r.Header.Get("If-None-Match"), client: client.Done(), stopping: rt.stopping.Done(),
			}
			return nil
		})
		if err != nil {
			return err
		}
		defer to.record.Leave(query.Mode != stream.CatchUp)
		return to.serve()
	})
}

func (h *historyReader) serve() error {
	res := h.record.Resume(h.query.After, h.query.Now)
	h.now, h.at = res.Chapter, res.After
	switch {
	case h.head:
		h.w.Header().Set("Content-Type", "application/json")
		h.w.Header().Set(stream.NextOffset, h.now.Place(h.now.Last()))
		h.w.WriteHeader(http.StatusOK)
		return nil
	case res.Gap != "" && res.Gap != record.First:
		h.gap(record.Gap{From: h.query.After, To: h.now.Place(h.at), Why: res.Gap})
		return nil
	case h.query.Mode == stream.Events:
		return h.events()
	case h.query.Mode == stream.LongPoll:
		h.poll()
	case h.query.Now:
		h.respond(nil, false)
	default:
		if part, more, lost := h.next(); !lost {
			h.respond(&part, more)
		}
	}
	return nil
}

// poll serves a long poll.
func (h *historyReader) poll() {
	timer := time.NewTimer(pollTime)
	defer timer.Stop()
	for {
		part, more, lost := h.next()
		switch {
		case lost:
			return
		case part.Count > 0:
			h.respond(&part, more)
			return
		}
		h.at = part.End
		if !h.wait(timer.C) {
			h.respond(nil, false)
			return
		}
	}
}

// wait waits for messages. It returns false if there are none when the timer
// runs out, the client is gone or Shutdown begins.
func (h *historyReader) wait(timer <-chan time.Time) (news bool) {
	after := h.record.After(h.now, h.at)
	if after == nil {
		return true
	}
	select {
	case <-after:
		return true
	case <-timer:
	case <-h.client:
	case <-h.stopping:
	}
	return false
}

// respond responds with messages, or with none if part is nil.
func (h *historyReader) respond(part *history.Part, more bool) {
	from := h.at
	body := []byte("[]")
	if part != nil {
		h.at = part.End
		body = arrayOf(*part)
	}
	header := h.w.Header()
	header.Set(stream.NextOffset, h.now.Place(h.at))
	if !more {
		header.Set(stream.UpToDate, "true")
	}
	known := false
	if part != nil && !h.query.Now {
		tag := h.tag(from, more)
		header.Set("ETag", tag)
		known = h.query.Mode == stream.CatchUp && hasTag(h.known, tag)
	}
	if h.query.Mode == stream.LongPoll {
		header.Set(stream.Cursor, h.query.Cursor(time.Now()))
	}
	switch {
	case known:
		h.w.WriteHeader(http.StatusNotModified)
		return
	case part == nil && h.query.Mode == stream.LongPoll:
		h.w.WriteHeader(http.StatusNoContent)
		return
	}
	header.Set("Content-Type", "application/json")
	h.w.WriteHeader(http.StatusOK)
	_ = h.write(body) // a client that is gone needs none
}

// tag returns an ETag for the messages up to the present position. It is
// another for each uid.
func (h *historyReader) tag(from uint64, more bool) string {
	uid := fnv.New64a()
	_, _ = uid.Write([]byte(h.reader.UID)) // never fails
	return fmt.Sprintf(`"%s.%d.%x.%t"`, h.now.Place(from), h.at, uid.Sum64(), more)
}

// hasTag reports whether an If-None-Match has a tag.
func hasTag(known, tag string) bool {
	for one := range strings.SplitSeq(known, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
			return true
		}
	}
	return false
}
