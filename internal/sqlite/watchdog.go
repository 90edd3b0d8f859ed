package sqlite

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// grace is how much longer than allowed a call may take before the watchdog
// bites. Nearly always SQLite ends by itself meanwhile, because it asks the
// meter.
const grace = 250 * time.Millisecond

// bitten is the time limit of a call that the watchdog has ended.
const bitten = -1

// A watchdog ends a call of SQLite that does not ask the meter: one instruction
// may take arbitrarily long (a function with arguments of a megabyte each), and
// a statement without a loop never asks. It makes the memory of the connection
// inaccessible, so that the call panics at its next use. Then nothing can be
// done with the connection but free it.
//
// When it cannot be made so, the watchdog tries again after the grace, until it
// can, or the call ends.
//
// Watching costs a call two atomic operations: the timer is not set for each of
// them, but goes off now and then while there are calls.
type watchdog struct {
	limit atomic.Int64 // when the call under way has to be over, by clock; 0: there is none, or bitten
	awake atomic.Bool  // the timer is running

	seal func(memory []byte) error // fixed
	log  *slog.Logger              // fixed

	mu     sync.Mutex // held while biting, so that the memory is there
	timer  *time.Timer
	memory []byte // nil when it has been freed
	failed bool   // seal has failed, and the log says so
}

// watch begins a call, which must end before limit.
func (w *watchdog) watch(limit time.Duration) {
	w.limit.Store(int64(limit))
	if !w.awake.Load() {
		w.wake(limit)
	}
}

// ignore ends the call. It reports whether the watchdog has ended it before.
func (w *watchdog) ignore() (bit bool) {
	// Whoever has bitten may not be done with it yet: free waits.
	return w.limit.Swap(0) == bitten
}

func (w *watchdog) wake(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.memory == nil || !w.awake.CompareAndSwap(false, true) {
		return
	}
	wait := limit - clock() + grace
	if w.timer == nil {
		w.timer = time.AfterFunc(wait, w.look)
	} else {
		w.timer.Reset(wait)
	}
}

// look is what the timer calls.
func (w *watchdog) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.memory == nil {
		return
	}
	limit := w.limit.Load()
	if limit == 0 { // there is no call
		w.awake.Store(false)
		limit = w.limit.Load() // of a call that began before that
		if limit == 0 || !w.awake.CompareAndSwap(false, true) {
			return
		}
	}
	if limit != bitten {
		if wait := time.Duration(limit) - clock() + grace; wait > 0 {
			w.timer.Reset(wait)
			return
		}
		if !w.limit.CompareAndSwap(limit, bitten) { // another call by now
			w.timer.Reset(grace)
			return
		}
	}
	if err := w.seal(w.memory); err != nil {
		if !w.failed {
			w.failed = true
			w.log.Error("a call of SQLite that takes too long cannot be ended yet", "error", err)
		}
		w.timer.Reset(grace)
	}
}

// hurry makes the call under way, if there is one, one that must be over now.
func (w *watchdog) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := w.limit.Load()
	if w.memory == nil || limit == 0 || limit == bitten || !w.limit.CompareAndSwap(limit, int64(clock())) {
		return
	}
	w.timer.Reset(grace) // it is there: the call has woken it
}

// free ends the watchdog, which does not use the memory any more.
func (w *watchdog) free() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.memory = nil
	if w.timer != nil {
		w.timer.Stop()
	}
}
