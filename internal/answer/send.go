package answer

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/godurable/dog/internal/gate"
)

// hint is an informational response, such as 103 Early Hints.
type hint struct {
	status int
	header http.Header
}

// mark is a position in a response.
type mark struct {
	hints int  // informational responses before it
	begun bool // the status is before it
	end   int  // bytes of the body before it
}

// mark returns the end of the handler's output so far.
func (r *response) mark() mark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.markLocked()
}

// markLocked is mark. The caller must hold mu.
func (r *response) markLocked() mark {
	return mark{r.hinted + len(r.hints), r.head.status != 0, r.taken + len(r.body)}
}

// send writes the response up to a position to the client.
func (r *response) send(end mark, flush bool) error {
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	if r.over || r.hijacked { // finish has sent it
		r.mu.Unlock()
		return nil
	}
	return r.sendLocked(end, flush)
}

// sendLocked is send. The caller must hold pump and mu. sendLocked unlocks mu.
func (r *response) sendLocked(end mark, flush bool) error {
	if r.failed != nil {
		defer r.mu.Unlock()
		return r.failed
	}
	n := max(end.hints-r.hinted, 0)
	hints := r.hints[:n:n]
	r.hints, r.hinted = r.hints[n:], r.hinted+n
	n = max(end.end-r.taken, 0)
	data := r.body[:n:n]
	r.body, r.taken = r.body[n:], r.taken+n
	r.recountLocked()
	first := end.begun && !r.started
	r.started = r.started || end.begun
	status, header := r.head.status, r.head.header
	r.mu.Unlock()

	err := r.guard.Call(func() error {
		for _, hint := range hints {
			replaceHeader(r.w.Header(), hint.header)
			r.w.WriteHeader(hint.status)
		}
		if first {
			replaceHeader(r.w.Header(), header)
			r.w.WriteHeader(status)
		}
		if len(data) > 0 {
			if _, err := r.w.Write(data); err != nil {
				return err
			}
		}
		if flush {
			if err := http.NewResponseController(r.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return r.fail(err)
	}
	return nil
}

// Finish ends a response whose handler has returned. err is not nil if the
// handler failed. It sends the rest of the response when the gate opens. It
// reports whether the client has received a part of a response, and the error
// if it gets no more.
func (a *Answer) Finish(client context.Context, err error) (started bool, failed error) {
	r := &a.w
	err = r.awaitOutcome(client, err)
	r.mu.Lock()
	stuck := r.stuck
	r.mu.Unlock()
	if stuck { // the connection will be aborted, so the write need not wait for the client
		_ = r.guard.Call(func() error { return http.NewResponseController(r.w).SetWriteDeadline(time.Unix(1, 0)) })
	}
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	r.over = true
	r.countLocked(false)
	started = r.started
	switch {
	case r.hijacked:
		r.mu.Unlock()
		return true, nil
	case err != nil:
		r.mu.Unlock()
		return started, err
	case r.stuck, r.refused:
		defer r.mu.Unlock()
		return started, r.failed
	}
	begun := r.head.status != 0
	_ = r.sendLocked(r.markLocked(), false) // a client that is gone needs no response
	if !begun {                             // net/http responds with 200
		replaceHeader(r.w.Header(), r.header)
		return false, nil
	}
	for key, values := range r.head.trailerOf(r.header, false) {
		r.w.Header()[key] = values
	}
	return true, nil
}

// awaitOutcome waits until the result of Receive, err, may be sent to the
// client, and returns the error to use. If the client is gone first, it returns
// why.
func (r *response) awaitOutcome(client context.Context, err error) error {
	if r.outcome == nil {
		return err
	}
	var lost error
	select {
	case lost = <-r.outcome:
	case <-client.Done():
		lost = context.Cause(client)
	case <-r.host.Ended.Done():
		lost = context.Cause(r.host.Ended)
	}
	_, undone := errors.AsType[*gate.Undone](lost)
	if err == nil || err == http.ErrAbortHandler && lost != nil && !undone { // undone because of err
		return lost
	}
	return err
}
