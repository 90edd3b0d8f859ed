// Package answer carries an HTTP request to a handler that runs in the turn of
// an object, and the handler's response back.
//
// [Answer] is a response over a server's ResponseWriter: it holds the output
// back until the object's writes are durable, and writes it after the turn, so
// that a slow client does not keep the object. [Inbound] is the request's body
// on the handler's side. [RoundTrip] sends a request within the process, with
// the same effects as net/http. [Guard] keeps panics of the request's own code
// away from the object.
//
// The package knows turns and gates. It does not know objects, stubs, sockets,
// or what a handler is: package dog runs the handler and decides what an error
// means for the client.
package answer

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/inflight"
	"github.com/godurable/dog/internal/turn"
)

// Host is what responses need of the runtime. All fields are fixed.
type Host struct {
	Work  *inflight.Work  // counts their goroutines
	Ended context.Context // done when the runtime has ended
	// Settle ends the transaction of a handler and waits until all writes of
	// its object so far are durable. It keeps the turn.
	Settle func(*turn.Event) error
	// ErrSlow is wrapped by the error for a client that takes too long.
	ErrSlow error
	// Held counts the bytes that are held back until writes are durable.
	Held *atomic.Int64
	// MaxHeld is how many bytes one response may hold back in a turn that has
	// written. Beyond that its handler gets ErrHeldBack.
	MaxHeld     int
	ErrHeldBack error
}

// ErrCallerEnded is the cause of the end of everything that was done for a
// handler that has ended.
var ErrCallerEnded = errors.New("dog: the handler that made the request has ended")

// An Answer is the response to one request. The handler gets its
// [Answer.Writer].
type Answer struct{ w response }

// New returns the response that is written to w. guard guards the code that
// belongs to the request. It is nil if there is no guard yet.
func New(host *Host, w http.ResponseWriter, guard *Guard) *Answer {
	a := &Answer{response{host: host, guard: guard, w: w, header: w.Header().Clone()}}
	if guard == nil {
		a.w.guard = &a.w.own
	}
	return a
}

// Guard returns the guard of the code that belongs to the request.
func (a *Answer) Guard() *Guard { return a.w.guard }

// Begin is called before the handler runs, with its event and the gate of its
// object.
func (a *Answer) Begin(event *turn.Event, gate *gate.Gate) { a.w.event, a.w.gate = event, gate }

// Returned is called when the handler has returned, while it has its turn. The
// response depends on the object's writes up to here, and on no later ones.
func (a *Answer) Returned() {
	r := &a.w
	r.outcome = r.gate.Outcome()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.countLocked(r.outcome != nil)
}

// Writer returns the ResponseWriter for the handler of req. It is an
// [http.Hijacker] only if the connection can be hijacked.
func (a *Answer) Writer(req *http.Request) http.ResponseWriter {
	if req.ProtoMajor == 1 && hijacks(a.w.w) {
		return hijackable{&a.w}
	}
	return &a.w
}

// Begun reports whether the handler has begun a response or hijacked the
// connection.
func (a *Answer) Begun() bool {
	r := &a.w
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head.status != 0 || r.hijacked
}

// Handshake calls accept, which hijacks the connection and holds back its own
// output.
func (a *Answer) Handshake(accept func()) {
	a.w.setHolds(true)
	defer a.w.setHolds(false)
	accept()
}
