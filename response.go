package dog

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

// maxAnswer is how many bytes of a response are buffered in memory, to be sent
// to the client after the handler's turn.
const maxAnswer = 1 << 20

// answerPatience is how long all writes of a response together may keep the
// object's turn while they wait for the client.
const answerPatience = 10 * time.Second

// response is the ResponseWriter of a Receive. The handler's output is buffered
// until its turn is over, so that a slow client does not keep the turn, and
// until the object's earlier writes are durable. If a handler flushes, its
// output so far is sent as soon as they are. After Receive has returned,
// response accepts no more output, which net/http would mix into another
// response or panic on.
//
// [http.ResponseController] finds the other methods of the writer with Unwrap.
type response struct {
	rt    *Runtime    // fixed
	alien *foreign    // of the request; fixed
	own   foreign     // the target of alien, unless the request has a guard already
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
	over     bool       // Receive has returned
	failed   error      // the error of writing to the client
}

// hint is an informational response, such as 103 Early Hints.
type hint struct {
	status int
	header http.Header
}

var errAnswered = errors.New("dog: write after Receive has returned")

func newResponse(rt *Runtime, w http.ResponseWriter, alien *foreign) *response {
	r := &response{rt: rt, alien: alien, w: w, header: w.Header().Clone()}
	if alien == nil {
		r.alien = &r.own
	}
	return r
}

// writer returns the ResponseWriter for the handler. It is an [http.Hijacker]
// only if the connection can be hijacked.
func (r *response) writer(req *http.Request) http.ResponseWriter {
	if req.ProtoMajor == 1 && hijacks(r.w) {
		return hijackable{r}
	}
	return r
}

// Unwrap returns the ResponseWriter of the request.
func (r *response) Unwrap() http.ResponseWriter { return r.w }

// begun reports whether the handler has begun a response or hijacked the
// connection.
func (r *response) begun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head.status != 0 || r.hijacked
}

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
	r.hints = append(r.hints, hint{status, r.header.Clone()})
	r.mu.Unlock()
	_ = r.release(false) // the handler gets the error when it writes
}

func (r *response) Write(p []byte) (int, error) {
	r.mu.Lock()
	switch {
	case r.over:
		r.mu.Unlock()
		return 0, errAnswered
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
	r.body = append(r.body, p...)
	long := len(r.body) > maxAnswer
	r.mu.Unlock()
	if long && !r.gate.Writing() { // otherwise the data cannot leave before the handler's transaction has ended
		if err := r.drain(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// drain writes the output so far to the client.
func (r *response) drain() error {
	upto := r.mark()
	return r.patiently(func() error {
		if err := r.gate.Wait(r.event); err != nil {
			return err
		}
		return r.send(upto, false)
	})
}

// patiently runs write, which waits for the client. A handler that has its turn
// waits at most answerPatience over all its writes, since other events wait
// with it. After that, the result of write is dropped.
func (r *response) patiently(write func() error) error {
	r.mu.Lock()
	left, failed := answerPatience-r.waited, r.failed
	r.mu.Unlock()
	if failed != nil { // perhaps set by a write that is still waiting
		return failed
	}
	if !r.event.HasTurn() {
		return write()
	}
	patience := time.NewTimer(left)
	defer patience.Stop()
	began := time.Now()
	done := make(chan error, 1)
	r.rt.work.Spawn(func() { done <- write() })
	select {
	case err := <-done:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waited += time.Since(began)
		return err
	case <-patience.C:
		return r.giveUp(errKeptTurn)
	case <-r.event.Done():
		return r.giveUp(context.Cause(r.event))
	}
}

var errKeptTurn = fmt.Errorf("%w: an answer kept its object's turn for %v while it waited for its client: write it in dog.Await",
	ErrSlowConsumer, answerPatience)

// giveUp is fail for a write that is still waiting for the client.
func (r *response) giveUp(err error) error {
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
	upto := r.mark()
	if r.gate.Open() {
		return r.patiently(func() error { return r.send(upto, flush) })
	}
	r.gate.Say(func(lost error) {
		if lost == nil {
			// the handler gets the error with its next write
			r.rt.work.Spawn(func() { _ = r.send(upto, flush) })
		}
	})
	return nil
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
func (r *response) send(upto mark, flush bool) error {
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	if r.over || r.hijacked { // finish has sent it
		r.mu.Unlock()
		return nil
	}
	return r.sendLocked(upto, flush)
}

// sendLocked is send. The caller must hold pump and mu. sendLocked unlocks mu.
func (r *response) sendLocked(upto mark, flush bool) error {
	if r.failed != nil {
		defer r.mu.Unlock()
		return r.failed
	}
	n := max(upto.hints-r.hinted, 0)
	hints := r.hints[:n:n]
	r.hints, r.hinted = r.hints[n:], r.hinted+n
	n = max(upto.end-r.taken, 0)
	data := r.body[:n:n]
	r.body, r.taken = r.body[n:], r.taken+n
	first := upto.begun && !r.started
	r.started = r.started || upto.begun
	status, header := r.head.status, r.head.header
	r.mu.Unlock()

	err := r.alien.call(func() error {
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

// finish ends a response whose Receive has returned. err is not nil if Receive
// failed. It sends the rest of the response when the gate opens. It reports
// whether the client has received a part of a response, and the error if it
// gets no more.
func (r *response) finish(client context.Context, err error) (started bool, failed error) {
	err = r.told(client, err)
	r.mu.Lock()
	stuck := r.stuck
	r.mu.Unlock()
	if stuck { // the connection will be aborted, so the write need not wait for the client
		_ = r.alien.call(func() error { return http.NewResponseController(r.w).SetWriteDeadline(time.Unix(1, 0)) })
	}
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	r.over = true
	started = r.started
	switch {
	case r.hijacked:
		r.mu.Unlock()
		return true, nil
	case err != nil:
		r.mu.Unlock()
		return started, err
	case r.stuck:
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
		return errAnswered
	}
	return r.alien.call(func() error { return ask(http.NewResponseController(r.w)) })
}

// told waits until the result of Receive, err, may be sent to the client, and
// returns the error to use. If the client is gone first, it returns why.
func (r *response) told(client context.Context, err error) error {
	if r.outcome == nil {
		return err
	}
	var lost error
	select {
	case lost = <-r.outcome:
	case <-client.Done():
		lost = context.Cause(client)
	case <-r.rt.ctx.Done():
		lost = context.Cause(r.rt.ctx)
	}
	_, undone := errors.AsType[*gate.Undone](lost)
	if err == nil || err == http.ErrAbortHandler && lost != nil && !undone { // undone because of err
		return lost
	}
	return err
}
