package answer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// exchange is a request of [RoundTrip] with its response. For the object's
// side, one goroutine at a time, it is an [http.ResponseWriter].
type exchange struct {
	// fixed
	host    *Host
	request *http.Request
	ctx     context.Context // of the request that the object gets; ended by cancel
	cancel  context.CancelFunc
	forget  func()        // cancels the call of abandon at the end of the caller's event
	ready   chan struct{} // closed when there is a response, or there will be none
	news    chan struct{} // has a token when there are informational responses
	more    chan struct{} // has a token when there may be something new for the reader
	room    chan struct{} // has a token when the writer may continue

	header http.Header    // owned by the object's side
	rest   turn.Remainder // set before the caller has the response, fixed after that

	mu      sync.Mutex
	hints   []hint // informational responses not reported yet; guarded by mu, like all below
	head    head
	trailer http.Header // set before end, read by the reader
	waiting []byte      // written by the object, not read yet
	// follows waiting: io.EOF, or the error that broke off the response. nil:
	// more may come
	end       error
	published bool        // ready is closed
	chunked   bool        // net/http would send the response in chunks, which trailers may follow
	closed    bool        // by the reader
	abandoned bool        // the writer must not wait for the reader
	deadline  time.Time   // of writes; zero: none
	alarm     *time.Timer // wakes the writer at the deadline; nil: none
	response  *http.Response
}

func newExchange(host *Host, r *http.Request) *exchange {
	x := &exchange{
		host: host, request: r, header: make(http.Header), forget: func() {},
		ready: make(chan struct{}), news: make(chan struct{}, 1),
		more: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	x.ctx, x.cancel = context.WithCancel(r.Context())
	return x
}

// serve has the object serve the request.
func (x *exchange) serve(serve func(http.ResponseWriter, *http.Request), r *http.Request) {
	// A client that is gone sends no more of its body.
	stop := context.AfterFunc(x.ctx, func() { _ = r.Body.Close() })
	end := fmt.Errorf("dog: the object aborted its response: %w", io.ErrUnexpectedEOF)
	defer func() {
		p := recover()
		stop()
		_ = r.Body.Close() // as a server does
		x.finish(end)
		if p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	serve(x, r)
	end = io.EOF
}

// Header returns the header for the object's side to set.
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader sets the status if there is none yet. Informational responses go
// to the caller's [httptrace.ClientTrace].
func (x *exchange) WriteHeader(status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.head.status != 0 {
		return
	}
	if !informs(status) {
		x.head.set(status, x.header)
		return
	}
	if !x.published && httptrace.ContextClientTrace(x.request.Context()) != nil {
		x.hints = append(x.hints, hint{status, x.header.Clone()})
		notify(x.news)
	}
}

// Write waits while more than maxBuffered bytes wait for the reader.
func (x *exchange) Write(p []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	if err := x.head.take(len(p)); err != nil {
		x.mu.Unlock()
		return 0, err
	}
	x.mu.Unlock()
	for {
		x.mu.Lock()
		switch {
		case x.request.Method == http.MethodHead: // only the beginning is kept, for the header
			x.waiting = append(x.waiting, p[:min(len(p), max(maxSniff-len(x.waiting), 0))]...)
			x.mu.Unlock()
			return len(p), nil
		case x.closed, x.end != nil:
			x.mu.Unlock()
			return 0, io.ErrClosedPipe
		case len(x.waiting) <= maxBuffered:
			x.waiting = append(x.waiting, p...)
			x.mu.Unlock()
			notify(x.more)
			return len(p), nil
		case x.abandoned:
			return 0, x.breakOffLocked(ErrCallerEnded)
		case !x.deadline.IsZero() && !time.Now().Before(x.deadline):
			return 0, x.breakOffLocked(errLateWrite)
		}
		x.publishLocked()
		x.mu.Unlock()
		select {
		case <-x.room:
		case <-x.ctx.Done():
			return 0, context.Cause(x.ctx)
		case <-x.host.Ended.Done():
			x.mu.Lock()
			return 0, x.breakOffLocked(context.Cause(x.host.Ended))
		}
	}
}

// breakOffLocked ends a response that could not be written completely, so that
// the part that was written does not look complete. It returns err. The caller
// must hold mu. breakOffLocked unlocks it.
func (x *exchange) breakOffLocked(err error) error {
	x.publishLocked()
	if x.end == nil {
		x.end = fmt.Errorf("%w: %w", err, io.ErrUnexpectedEOF)
	}
	x.mu.Unlock()
	notify(x.more)
	return err
}

var errLateWrite = fmt.Errorf("dog: write deadline of the response: %w", context.DeadlineExceeded)

// FlushError makes the response available to the caller.
func (x *exchange) FlushError() error {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.publishLocked()
	return nil
}

// SetWriteDeadline is for [http.ResponseController].
func (x *exchange) SetWriteDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopAlarmLocked()
	if x.deadline = t; !t.IsZero() && x.end == nil {
		x.alarm = time.AfterFunc(time.Until(t), func() { notify(x.room) })
	}
	return nil
}

// stopAlarmLocked stops the timer for the write deadline. The caller must hold
// mu.
func (x *exchange) stopAlarmLocked() {
	if x.alarm != nil {
		x.alarm.Stop()
		x.alarm = nil
	}
}

// EnableFullDuplex is for [http.ResponseController]. An exchange is always full
// duplex.
func (x *exchange) EnableFullDuplex() error { return nil }

// abandon is called when the caller's event has ended. From then on, the writer
// no longer waits for the reader.
func (x *exchange) abandon() {
	x.mu.Lock()
	x.abandoned = true
	x.mu.Unlock()
	notify(x.room)
}

// fail ends the exchange with an error of the caller's side.
func (x *exchange) fail(err error) {
	over := turn.EndOf(x.ctx) // if not nil, it is the reason
	x.mu.Lock()
	if x.end == nil && over == nil {
		x.end = err
		x.publishLocked()
	}
	x.mu.Unlock()
	notify(x.more)
	x.cancel()
}

// finish ends the response.
func (x *exchange) finish(end error) {
	if end == io.EOF {
		x.WriteHeader(http.StatusOK)
	}
	x.mu.Lock()
	if x.end == nil {
		switch {
		case x.ctx.Err() != nil: // a handler that saw the end may have cut its response short
			x.end = context.Cause(x.ctx)
		case end == io.EOF && x.head.short(x.request.Method):
			x.publishLocked() // for net/http, it has begun
			x.end = fmt.Errorf(
				"dog: the response is shorter than its Content-Length, %d: %w", x.head.length, io.ErrUnexpectedEOF,
			)
		default:
			x.end = end
		}
	}
	x.publishLocked()
	// Otherwise a handler that exited its goroutine may have left a goroutine
	// that still writes.
	if x.end == io.EOF && x.chunked {
		var err error
		if x.trailer, err = readFields(x.head.trailerOf(x.header, true)); err != nil {
			x.end = err
		}
	}
	x.stopAlarmLocked()
	x.mu.Unlock()
	notify(x.more)
	x.forget()
	x.cancel()
}

// bodiedLocked reports whether written data is part of the response. The caller
// must hold mu.
func (x *exchange) bodiedLocked() bool {
	return x.request.Method != http.MethodHead && x.head.hasBody()
}

// publishLocked makes the response, or the lack of one, available to the
// caller. The caller must hold mu.
func (x *exchange) publishLocked() {
	if x.published {
		return
	}
	x.published = true
	defer close(x.ready)
	if x.end != nil && x.end != io.EOF {
		return
	}
	x.chunked = x.head.complete(x.request, x.waiting, x.end != nil)
	response, err := readResponse(x.head.status, x.head.header, x.request)
	if err != nil {
		x.end = err
		return
	}
	response.Body = responseBody{x}
	switch {
	case !x.bodiedLocked():
		response.Body = http.NoBody
	case x.end != nil && response.ContentLength < 0: // net/http's client would not know the length
		response.ContentLength, response.TransferEncoding = x.head.written, nil
	}
	x.response = response
}

// reportHints reports informational responses to the caller's trace.
func (x *exchange) reportHints(trace *httptrace.ClientTrace) error {
	x.mu.Lock()
	hints := x.hints
	x.hints = nil
	x.mu.Unlock()
	for _, hint := range hints {
		if hint.status == http.StatusContinue && trace.Got100Continue != nil {
			trace.Got100Continue()
		}
		if trace.Got1xxResponse != nil {
			header, err := hint.read()
			if err != nil {
				return err
			}
			if err := trace.Got1xxResponse(hint.status, textproto.MIMEHeader(header)); err != nil {
				return err
			}
		}
	}
	return nil
}

// result returns the response when it is ready. The remainder of the response
// belongs to call.
func (x *exchange) result(call turn.Call) (*http.Response, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.response == nil {
		return nil, x.end
	}
	if x.end == nil {
		x.rest = call.Remainder()
	}
	return x.response, nil
}

func (x *exchange) close() {
	x.mu.Lock()
	x.closed = true
	x.waiting = nil
	x.mu.Unlock()
	x.cancel()
	notify(x.more)
}

// notify leaves a token for the waiting goroutine.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// responseBody is the body of the response of an exchange.
type responseBody struct{ x *exchange }

func (b responseBody) Read(p []byte) (int, error) {
	x := b.x
	if len(p) == 0 {
		return 0, nil
	}
	for {
		x.mu.Lock()
		switch {
		case x.closed:
			x.mu.Unlock()
			return 0, http.ErrBodyReadAfterClose
		case len(x.waiting) > 0:
			n := copy(p, x.waiting)
			x.waiting = x.waiting[n:]
			x.mu.Unlock()
			notify(x.room)
			return n, nil
		case x.end != nil:
			for key, values := range x.trailer {
				if x.response.Trailer == nil {
					x.response.Trailer = make(http.Header)
				}
				x.response.Trailer[key] = values
			}
			x.mu.Unlock()
			return 0, x.end
		}
		x.mu.Unlock()
		if err := x.await(); err != nil {
			return 0, err
		}
	}
}

// await waits until there may be something new for the reader.
func (x *exchange) await() error {
	defer x.rest.Wait()()
	select {
	case <-x.more:
	case <-x.ctx.Done():
		// If both the response and the context have ended, the end of the
		// response counts.
		x.mu.Lock()
		defer x.mu.Unlock()
		if !x.closed && x.end == nil {
			return context.Cause(x.ctx)
		}
	}
	return nil
}

func (b responseBody) Close() error {
	b.x.close()
	return nil
}
