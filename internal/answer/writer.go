package answer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/turn"
)

// maxBuffered is how many bytes of a response are buffered in memory, to be
// sent to the client after the handler's turn.
const maxBuffered = 1 << 20

// responsePatience is how long all writes of a response together may keep the
// object's turn while they wait for the client.
const responsePatience = 10 * time.Second

// response is the ResponseWriter of a Receive. The handler's output is buffered
// until its turn is over, so that a slow client does not keep the turn, and
// until the object's earlier writes are durable. If a handler flushes, its
// output so far is sent as soon as they are. After Receive has returned,
// response accepts no more output, which net/http would mix into another
// response or panic on.
//
// [http.ResponseController] finds the other methods of the writer with Unwrap.
type response struct {
	host  *Host       // fixed
	guard *Guard      // of the request; fixed
	own   Guard       // the target of guard, unless the request has a guard already
	event *turn.Event // in which Receive runs; nil until then, fixed after that
	gate  *gate.Gate  // nil until Receive runs; fixed after that

	// of the writes before Receive returned; nil: they are durable; owned by
	// Receive, then by finish
	outcome <-chan error

	w    http.ResponseWriter // fixed; used under pump, except its write deadline
	pump sync.Mutex          // taken before mu

	mu       sync.Mutex
	header   http.Header // the handler's, until it has returned
	hints    []hint      // informational responses not sent yet; guarded by mu, like all below
	hinted   int         // how many have been sent
	head     head
	body     []byte        // written by the handler and not yet to w
	taken    int           // bytes that have been removed from body
	waited   time.Duration // for the client, while holding the object's turn
	started  bool          // the status has been written to w
	hijacked bool
	network  connection // the connection that has been hijacked
	holds    bool       // the hijacker writes nothing before the gate opens
	stuck    bool       // a write waiting for the client has been abandoned
	refused  bool       // a write was more than may be held back
	flushes  int        // parts that wait for the gate
	held     int        // bytes counted in Host.Held
	over     bool       // Receive has returned
	failed   error      // why the client can get no more
}

var errFinished = errors.New("dog: write after Receive has returned")

// Unwrap returns the ResponseWriter of the request.
func (r *response) Unwrap() http.ResponseWriter { return r.w }

// Header returns the header that the handler may change until the response
// begins.
func (r *response) Header() http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.header == nil {
		r.header = make(http.Header)
	}
	if r.over {
		return make(http.Header)
	}
	return r.header
}

// WriteHeader sets the status. Like net/http, it panics in the handler if the
// status is invalid, and sends informational responses.
func (r *response) WriteHeader(status int) {
	r.mu.Lock()
	if r.head.status != 0 || r.over || r.hijacked {
		r.mu.Unlock()
		return
	}
	if !informs(status) {
		defer r.mu.Unlock()
		checkStatus(status)
		r.head.set(status, r.header)
		return
	}
	if r.failed == nil {
		r.hints = append(r.hints, hint{status, r.header.Clone()})
	}
	r.mu.Unlock()
	_ = r.release(false) // the handler gets the error when it writes
}

func (r *response) Write(p []byte) (int, error) {
	shut, mustEnd := !r.gate.Open(), r.mustEnd()
	r.mu.Lock()
	switch {
	case r.over:
		r.mu.Unlock()
		return 0, errFinished
	case r.hijacked:
		r.mu.Unlock()
		return 0, http.ErrHijacked
	case r.failed != nil:
		defer r.mu.Unlock()
		return 0, r.failed
	}
	if r.head.status == 0 {
		r.head.set(http.StatusOK, r.header)
	}
	if err := r.head.take(len(p)); err != nil {
		r.mu.Unlock()
		return 0, err
	}
	if mustEnd && len(p) > 0 {
		if err := r.admitLocked(len(p)); err != nil {
			r.mu.Unlock()
			return 0, err
		}
	}
	r.body = append(r.body, p...)
	r.countLocked(shut)
	long := r.weightLocked() > maxBuffered
	r.mu.Unlock()
	if long && !mustEnd {
		if err := r.drain(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// drain writes the output so far to the client.
func (r *response) drain() error {
	end := r.mark()
	return r.patiently(func() error {
		if err := r.gate.Wait(r.event); err != nil {
			return err
		}
		if r.event.Err() != nil { // a reset has opened the gate
			return r.fail(context.Cause(r.event))
		}
		return r.send(end, false)
	})
}

// patiently runs write, which waits for the client. A handler that has its turn
// waits at most responsePatience over all its writes, since other events wait
// with it. After that, the result of write is dropped.
func (r *response) patiently(write func() error) error {
	r.mu.Lock()
	left, failed := responsePatience-r.waited, r.failed
	r.mu.Unlock()
	if failed != nil { // perhaps set by a write that is still waiting
		return failed
	}
	if r.event.Err() != nil {
		return r.fail(context.Cause(r.event))
	}
	if !r.event.HasTurn() {
		return write()
	}
	patience := time.NewTimer(left)
	defer patience.Stop()
	began := time.Now()
	done := make(chan error, 1)
	r.host.Work.Spawn(func() { done <- write() })
	select {
	case err := <-done:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waited += time.Since(began)
		return err
	case <-patience.C:
		return r.abandon(fmt.Errorf(
			"%w: a response kept its object's turn for %v while it waited for its client: write it in dog.Await",
			r.host.ErrSlow, responsePatience,
		))
	case <-r.event.Done():
		return r.abandon(context.Cause(r.event))
	}
}

// abandon is fail for a write that is still waiting for the client.
func (r *response) abandon(err error) error {
	r.mu.Lock()
	r.stuck = true
	r.mu.Unlock()
	return r.fail(err)
}

// fail ends a response of which the client can get no more.
func (r *response) fail(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
	return r.failed
}

// Flush sends the output so far. It supports handlers that stream with
// [http.Flusher]. It does nothing if the writer cannot flush.
func (r *response) Flush() { _ = r.FlushError() }

// FlushError is Flush for [http.ResponseController].
func (r *response) FlushError() error {
	r.mu.Lock()
	if r.over || r.hijacked {
		r.mu.Unlock()
		return nil
	}
	if r.head.status == 0 {
		r.head.set(http.StatusOK, r.header)
	}
	r.mu.Unlock()
	return r.release(true)
}

// release sends the output so far, at once or as soon as the object's earlier
// writes are durable.
func (r *response) release(flush bool) error {
	end, era := r.mark(), r.gate.Era()
	if r.gate.Open() {
		return r.patiently(func() error { return r.send(end, flush) })
	}
	if r.event.Err() != nil { // the gate holds the output of the next life
		return r.fail(context.Cause(r.event))
	}
	mustEnd := r.mustEnd()
	r.mu.Lock()
	if mustEnd && r.failed == nil {
		_ = r.admitLocked(flushCost)
	}
	if r.failed != nil {
		defer r.mu.Unlock()
		return r.failed
	}
	r.flushes++
	r.countLocked(true)
	r.mu.Unlock()
	if r.gate.SendIn(era, func(lost error) {
		r.mu.Lock()
		r.flushes--
		r.recountLocked()
		r.mu.Unlock()
		if lost == nil {
			// the handler gets the error with its next write
			r.host.Work.Spawn(func() { _ = r.send(end, flush) })
		}
	}) != nil {
		return r.fail(context.Cause(r.event))
	}
	return nil
}

// SetReadDeadline is for [http.ResponseController].
func (r *response) SetReadDeadline(t time.Time) error {
	return r.control(func(c *http.ResponseController) error { return c.SetReadDeadline(t) })
}

// SetWriteDeadline is for [http.ResponseController].
func (r *response) SetWriteDeadline(t time.Time) error {
	return r.control(func(c *http.ResponseController) error { return c.SetWriteDeadline(t) })
}

// EnableFullDuplex is for [http.ResponseController].
func (r *response) EnableFullDuplex() error {
	return r.control((*http.ResponseController).EnableFullDuplex)
}

// control calls a method of the underlying writer while the handler runs.
func (r *response) control(ask func(*http.ResponseController) error) error {
	r.mu.Lock()
	over := r.over
	r.mu.Unlock()
	if over {
		return errFinished
	}
	return r.guard.Call(func() error { return ask(http.NewResponseController(r.w)) })
}
