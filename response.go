package dog

import (
	"bufio"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/godurable/dog/internal/gate"
)

// maxAnswer is how many bytes of an answer are kept in memory for the client to take after the handler's turn.
const maxAnswer = 1 << 20

// response is the answer of a Receive. What the handler writes is kept until its turn is over, so that a slow client does not
// keep it, and until what the object stored before is durable. A handler that flushes sends what it has as soon as that is so.
// After Receive has returned it takes nothing more: net/http would panic or mix it into another answer.
//
// [http.ResponseController] finds the rest of the writer's methods with Unwrap.
type response struct {
	rt   *Runtime   // fixed
	gate *gate.Gate // nil until Receive runs; fixed then

	outcome <-chan error // of what was stored before Receive returned; nil: it is durable. owned by Receive, then by finish

	pump sync.Mutex          // held while w is used; taken before mu
	w    http.ResponseWriter // guarded by pump

	mu       sync.Mutex
	header   http.Header // what the handler sees. the map is the handler's, until it has returned
	status   int         // 0: none yet. guarded by mu, like all below
	fixed    http.Header // the header as it was when the status was set
	body     []byte      // written by the handler and not yet by w
	taken    int         // bytes that have left body
	started  bool        // w has the status
	hijacked bool
	over     bool  // Receive has returned
	failed   error // of writing to the client
}

var errAnswered = errors.New("dog: write after Receive has returned")

func newResponse(rt *Runtime, w http.ResponseWriter) *response {
	return &response{rt: rt, w: w, header: w.Header().Clone()}
}

func (r *response) Unwrap() http.ResponseWriter { return r.w }

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

func (r *response) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		r.inform(status)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.headLocked(status)
}

// headLocked sets the status, if there is none yet. The caller must hold mu.
func (r *response) headLocked(status int) {
	if r.status == 0 && !r.over && !r.hijacked {
		r.status, r.fixed = status, r.header.Clone()
	}
}

// inform passes an informational status on, which is lost where it would have to wait.
func (r *response) inform(status int) {
	if !r.gate.Open() {
		return
	}
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	idle := !r.over && !r.hijacked && r.status == 0
	header := r.header.Clone()
	r.mu.Unlock()
	if idle {
		replaceHeader(r.w.Header(), header)
		r.w.WriteHeader(status)
	}
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
	r.headLocked(http.StatusOK)
	r.body = append(r.body, p...)
	long := len(r.body) > maxAnswer
	r.mu.Unlock()
	if long && !r.gate.Writing() { // else it cannot leave before the handler's transaction has ended
		if err := r.gate.Wait(r.rt.ctx); err != nil {
			return 0, err
		}
		if err := r.send(r.end(), false); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Flush makes the answer usable for streams written the customary way; it does nothing where the writer cannot flush.
func (r *response) Flush() { _ = r.FlushError() }

// FlushError is Flush for [http.ResponseController].
func (r *response) FlushError() error {
	r.mu.Lock()
	if r.over || r.hijacked {
		r.mu.Unlock()
		return nil
	}
	r.headLocked(http.StatusOK)
	r.mu.Unlock()
	end := r.end()
	if r.gate.Open() {
		return r.send(end, true)
	}
	r.gate.Say(func(lost error) {
		if lost == nil {
			r.rt.spawn(func() { _ = r.send(end, true) }) // the handler learns of an error when it writes the next time
		}
	})
	return nil
}

// end returns the number of bytes written so far.
func (r *response) end() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken + len(r.body)
}

// send writes the status and the body up to an end to the client.
func (r *response) send(end int, flush bool) error {
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	if r.over || r.hijacked { // finish has sent it
		r.mu.Unlock()
		return nil
	}
	return r.sendLocked(end, flush)
}

// sendLocked is send. The caller must hold pump and mu, of which the latter is released.
func (r *response) sendLocked(end int, flush bool) error {
	if r.failed != nil || r.status == 0 {
		defer r.mu.Unlock()
		return r.failed
	}
	n := max(end-r.taken, 0)
	data := r.body[:n:n]
	r.body = r.body[n:]
	r.taken += n
	first := !r.started
	r.started = true
	status, header := r.status, r.fixed
	r.mu.Unlock()

	if first {
		replaceHeader(r.w.Header(), header)
		r.w.WriteHeader(status)
	}
	var err error
	if len(data) > 0 {
		_, err = r.w.Write(data)
	}
	if flush && err == nil {
		if err = http.NewResponseController(r.w).Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	if err != nil {
		r.mu.Lock()
		r.failed = err
		r.mu.Unlock()
	}
	return err
}

// finish ends an answer whose Receive has returned, with err if it failed, and sends what is left when the gate opens. It reports
// whether the client has got a part of an answer, and why it gets no other.
func (r *response) finish(err error) (started bool, failed error) {
	if err == nil && r.outcome != nil {
		err = <-r.outcome
	}
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	r.over = true
	started, hijacked := r.started, r.hijacked
	switch {
	case hijacked:
		r.mu.Unlock()
		return true, nil
	case err != nil:
		r.mu.Unlock()
		return started, err
	case r.status == 0: // net/http answers with 200
		r.mu.Unlock()
		replaceHeader(r.w.Header(), r.header)
		return false, nil
	}
	_ = r.sendLocked(r.taken+len(r.body), false) // a client that has gone needs no answer
	for key, values := range r.header {
		if strings.HasPrefix(key, http.TrailerPrefix) || announces(r.fixed, key) {
			r.w.Header()[key] = values
		}
	}
	return true, nil
}

// announces reports whether a header that was sent announces a trailer.
func announces(sent http.Header, trailer string) bool {
	return slices.ContainsFunc(sent.Values("Trailer"), func(list string) bool {
		return slices.ContainsFunc(strings.Split(list, ","), func(name string) bool {
			return http.CanonicalHeaderKey(strings.TrimSpace(name)) == trailer
		})
	})
}

func replaceHeader(to, from http.Header) {
	clear(to)
	maps.Copy(to, from)
}

// Hijack hands the connection over, unless the answer has begun.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
		return nil, nil, errAnswered
	case r.status != 0:
		return nil, nil, errors.New("dog: hijack of an answer that has begun")
	}
	c, rw, err := http.NewResponseController(r.w).Hijack()
	r.hijacked = err == nil
	return c, rw, err
}
