package dog

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/stream"
)

// historyWrite is how many bytes a client must take within a WriteTimeout.
const historyWrite = 16 << 10

// historyReader serves a request for a history. No lock is held while it
// writes.
type historyReader struct {
	// fixed
	record   *record.Record
	reader   history.Reader
	head     bool
	w        http.ResponseWriter
	control  *http.ResponseController
	timeout  time.Duration // for each write
	known    string        // If-None-Match
	client   <-chan struct{}
	stopping <-chan struct{}

	query stream.Query
	now   *record.Chapter // which the client reads
	at    uint64          // the client has the messages up to here
	told  uint64          // the position in the last control event
}

// next returns the next messages. If there are none because messages have
// expired before the client could take them, or because the history is now
// another, lost is set, and the client of a long poll or without one has been
// told.
func (h *historyReader) next() (part history.Part, more, lost bool) {
	g := record.Gap{From: h.now.Place(h.at), Why: record.Expired}
	if now := h.record.Now(); now != h.now {
		g.To, g.Why, lost = now.Place(now.Oldest()), record.Epoch, true
	} else if part, more, lost = h.now.Page(h.at, historyPiece, h.reader); lost {
		g.To = h.now.Place(part.End)
	}
	if lost && h.query.Mode != stream.Events {
		h.gap(g)
	}
	return part, more, lost
}

// gap responds that messages are missing.
func (h *historyReader) gap(g record.Gap) {
	body, err := json.Marshal(g)
	if err != nil {
		panic(err) // there is nothing that cannot be encoded
	}
	h.w.Header().Set("Content-Type", "application/json")
	h.w.WriteHeader(http.StatusGone)
	_ = h.write(append(body, '\n'))
}

// over reports whether a response is over.
func (h *historyReader) over(end <-chan time.Time) bool {
	select {
	case <-end:
	case <-h.client:
	case <-h.stopping:
	default:
		return false
	}
	return true
}

// arrayOf returns messages as a JSON array.
func arrayOf(part history.Part) []byte {
	var all stream.Array
	for m := range part.Messages() {
		all.Add(MessageType(m.Op) == Text, m.Payload)
	}
	return all.Bytes()
}

// write writes part of a response, in pieces that the client has time to take.
func (h *historyReader) write(b []byte) error {
	for piece := range slices.Chunk(b, historyWrite) {
		if h.timeout > 0 {
			// A writer without deadlines is bounded by the client's connection.
			_ = h.control.SetWriteDeadline(time.Now().Add(h.timeout))
		}
		if _, err := h.w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}
