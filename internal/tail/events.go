package tail

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/godurable/dog/internal/stream"
)

const (
	// eventsTime is how long a response with events lasts. Then the client
	// connects again, perhaps to another server.
	eventsTime = time.Minute
	// commentInterval is how often something is written to a client that reads
	// events, so that proxies and the client see that the connection works.
	commentInterval = 15 * time.Second
	// A client that reads events waits at least retryLeast before it connects
	// again, and up to retrySpread longer, so that clients do not all come at
	// once.
	retryLeast, retrySpread = 500 * time.Millisecond, 1500 * time.Millisecond
)

// events serves server-sent events.
func (h *response) events() error {
	header := h.w.Header()
	header.Set("Content-Type", "text/event-stream")
	// By these two, proxies know that they must not wait for the end.
	header.Set("Cache-Control", "private, no-cache, no-store")
	header.Set("X-Accel-Buffering", "no")
	if err := h.control.Flush(); errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("dog: server-sent events need a ResponseWriter with Flush or Unwrap: %w", err)
	}
	end, comment := time.NewTimer(eventsTime), time.NewTicker(commentInterval)
	defer end.Stop()
	defer comment.Stop()
	b := stream.AppendRetry(nil, retryLeast+rand.N(retrySpread))
	upToDate := false // according to the last control event
	for !h.over(end.C) {
		part, more, lost := h.next()
		if lost {
			return nil // the next request reports it
		}
		h.at = part.End
		if part.Count > 0 {
			b = stream.AppendData(b, arrayOf(part), h.now.Place(h.at))
		}
		if part.Count > 0 || !upToDate { // the first time in any case
			upToDate = !more
			b = h.appendControl(b, upToDate)
		}
		if !h.writeOut(b) {
			return nil
		}
		b = nil // a client that waits keeps no buffer
		if !more && !h.waitWithComments(end.C, comment.C) {
			return nil
		}
	}
	return nil
}

// waitWithComments waits for messages. It returns false if the response is
// over.
func (h *response) waitWithComments(end, comment <-chan time.Time) bool {
	for {
		after := h.Record.After(h.now, h.at)
		if after == nil {
			return true
		}
		select {
		case <-after:
			return true
		case <-comment:
			b := []byte(stream.Comment)
			if h.at != h.told { // the client has skipped messages to others, which may expire
				b = h.appendControl(nil, true)
			}
			if !h.writeOut(b) {
				return false
			}
		case <-end:
			return false
		case <-h.Gone:
			return false
		case <-h.Stopping:
			return false
		}
	}
}

func (h *response) appendControl(b []byte, upToDate bool) []byte {
	h.told = h.at
	return stream.AppendControl(b, h.now.Place(h.at), h.Query.Cursor(time.Now()), upToDate)
}

// writeOut writes and flushes. It returns false if the client is gone.
func (h *response) writeOut(b []byte) bool {
	return len(b) == 0 || h.write(b) == nil && h.control.Flush() == nil
}
