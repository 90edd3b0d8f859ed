// Package tail serves a record to a client of HTTP, by the read protocol of
// Durable Streams: what is kept, what follows, or both, as package stream
// formats it.
//
// It does not know objects, or who may read.
package tail

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/stream"
)

const (
	// pollTime is how long a long poll waits for messages. Proxies wait longer.
	pollTime = 25 * time.Second
	// piece is the size of the messages of a response, unless a single one is
	// larger.
	piece = 64 << 10
	// slice is how many bytes a client must take within a Timeout.
	slice = 16 << 10
)

// A Reader is a client that reads a record, as long as its request lasts.
type Reader struct {
	Record   *record.Record
	Client   history.Reader
	Query    stream.Query
	Timeout  time.Duration   // for each write; 0: none
	Gone     <-chan struct{} // closed when the client is gone
	Stopping <-chan struct{} // closed when responses should end
}

// response is the response to a Reader. No lock is held while it writes.
type response struct {
	Reader // fixed

	// fixed
	head    bool
	w       http.ResponseWriter
	control *http.ResponseController
	known   string // If-None-Match

	now  *record.Chapter // which the client reads
	at   uint64          // the client has the messages up to here
	told uint64          // the position in the last control event
}

// Serve writes the response to a request. If it returns an error, it has
// written nothing.
func (r Reader) Serve(w http.ResponseWriter, req *http.Request) error {
	h := &response{
		Reader: r, head: req.Method == http.MethodHead, w: w, control: http.NewResponseController(w),
		known: req.Header.Get("If-None-Match"),
	}
	return h.serve()
}

func (h *response) serve() error {
	res := h.Record.Resume(h.Client, h.Query.After, h.Query.Now)
	h.now, h.at = res.Chapter, res.After
	switch {
	case h.head:
		h.w.Header().Set("Content-Type", "application/json")
		h.w.Header().Set(stream.NextOffset, h.now.Place(h.now.Last()))
		h.w.WriteHeader(http.StatusOK)
		return nil
	case res.Gap != "" && res.Gap != record.First:
		h.gap(record.Gap{From: h.Query.After, To: h.now.Place(h.at), Why: res.Gap})
		return nil
	case h.Query.Mode == stream.Events:
		return h.events()
	case h.Query.Mode == stream.LongPoll:
		h.poll()
	case h.Query.Now:
		h.respond(nil, false)
	default:
		if part, more, lost := h.next(); !lost {
			h.respond(&part, more)
		}
	}
	return nil
}

// poll serves a long poll.
func (h *response) poll() {
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
func (h *response) wait(timer <-chan time.Time) (news bool) {
	after := h.Record.After(h.now, h.at)
	if after == nil {
		return true
	}
	select {
	case <-after:
		return true
	case <-timer:
	case <-h.Gone:
	case <-h.Stopping:
	}
	return false
}

// respond responds with messages, or with none if part is nil.
func (h *response) respond(part *history.Part, more bool) {
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
	if part != nil && !h.Query.Now {
		tag := h.tag(from, more)
		header.Set("ETag", tag)
		known = h.Query.Mode == stream.CatchUp && hasTag(h.known, tag)
	}
	if h.Query.Mode == stream.LongPoll {
		header.Set(stream.Cursor, h.Query.Cursor(time.Now()))
	}
	switch {
	case known:
		h.w.WriteHeader(http.StatusNotModified)
		return
	case part == nil && h.Query.Mode == stream.LongPoll:
		h.w.WriteHeader(http.StatusNoContent)
		return
	}
	header.Set("Content-Type", "application/json")
	h.w.WriteHeader(http.StatusOK)
	_ = h.write(body) // a client that is gone needs none
}

// tag returns an ETag for the messages up to the present position. It is
// another for each uid.
func (h *response) tag(from uint64, more bool) string {
	uid := fnv.New64a()
	_, _ = uid.Write([]byte(h.Client.UID)) // never fails
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

// next returns the next messages. If there are none because messages have
// expired before the client could take them, or because the history is now
// another, lost is set, and the client of a long poll or without one has been
// told.
func (h *response) next() (part history.Part, more, lost bool) {
	g := record.Gap{From: h.now.Place(h.at), Why: record.Expired}
	if now := h.Record.Now(); now != h.now {
		g.To, g.Why, lost = now.Place(now.Oldest()), record.Epoch, true
	} else if part, more, lost = h.now.Page(h.at, piece, h.Client); lost {
		g.To = h.now.Place(part.End)
	}
	if lost && h.Query.Mode != stream.Events {
		h.gap(g)
	}
	return part, more, lost
}

// gap responds that messages are missing.
func (h *response) gap(g record.Gap) {
	body, err := json.Marshal(g)
	if err != nil {
		panic(err) // there is nothing that cannot be encoded
	}
	h.w.Header().Set("Content-Type", "application/json")
	h.w.WriteHeader(http.StatusGone)
	_ = h.write(append(body, '\n'))
}

// over reports whether a response is over.
func (h *response) over(end <-chan time.Time) bool {
	select {
	case <-end:
	case <-h.Gone:
	case <-h.Stopping:
	default:
		return false
	}
	return true
}

// arrayOf returns messages as a JSON array.
func arrayOf(part history.Part) []byte {
	var all stream.Array
	for m := range part.Messages() {
		all.Add(conn.Op(m.Op) == conn.Text, m.Payload)
	}
	return all.Bytes()
}

// write writes part of a response, in pieces that the client has time to take.
func (h *response) write(b []byte) error {
	for part := range slices.Chunk(b, slice) {
		if h.Timeout > 0 {
			// A writer without deadlines is bounded by the client's connection.
			_ = h.control.SetWriteDeadline(time.Now().Add(h.Timeout))
		}
		if _, err := h.w.Write(part); err != nil {
			return err
		}
	}
	return nil
}
