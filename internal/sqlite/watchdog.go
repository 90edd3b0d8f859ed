package sqlite

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// grace is how long a call may exceed its time before the watchdog bites.
// SQLite nearly always ends by itself during this time, because it calls the
// meter.
const grace = 250 * time.Millisecond

// bitten is the limit of a call that the watchdog has ended.
const bitten = -1

// A watchdog ends a call of SQLite that does not call the meter. One
// instruction may take arbitrarily long (a function with arguments of a
// megabyte each), and a statement without a loop never calls the meter. The
// watchdog makes the memory of the connection inaccessible, so that the call
// panics at its next access. After that, the connection can only be freed.
//
// If the memory cannot be made inaccessible, the watchdog retries after grace,
// until it succeeds or the call ends.
//
// Watching costs a call two atomic operations. The timer is not set for each
// call, but fires occasionally while there are calls.
type watchdog struct {
	limit atomic.Int64 // when the current call must end, by clock; 0: there is none; or bitten
	awake atomic.Bool  // the timer is running

	seal func(memory []byte) error // fixed
	log  *slog.Logger              // fixed

	mu     sync.Mutex // held while biting, so that the memory is not freed
	timer  *time.Timer
	memory []byte // nil after it has been freed
	failed bool   // seal has failed, and this was logged
}

// watch begins a call, which must end before limit.
func (w *watchdog) watch(limit time.Duration) {
	w.limit.Store(int64(limit))
	if !w.awake.Load() {
		w.wake(limit)
	}
}

// ignore ends the call. It reports whether the watchdog had already ended it.
func (w *watchdog) ignore() (bit bool) {
	// The goroutine that has bitten may not have finished yet: free waits for
	// it.
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

// look is called by the timer.
func (w *watchdog) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.memory == nil {
		return
	}
	limit := w.limit.Load()
	if limit == 0 { // there is no call
		w.awake.Store(false)
		limit = w.limit.Load() // of a call that began before the Store
		if limit == 0 || !w.awake.CompareAndSwap(false, true) {
			return
		}
	}
	if limit != bitten {
		if wait := time.Duration(limit) - clock() + grace; wait > 0 {
			w.timer.Reset(wait)
			return
		}
		if !w.limit.CompareAndSwap(limit, bitten) { // another call has begun
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

// hurry sets the limit of the current call, if there is one, to now.
func (w *watchdog) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := w.limit.Load()
	if w.memory == nil || limit == 0 || limit == bitten || !w.limit.CompareAndSwap(limit, int64(clock())) {
		return
	}
	w.timer.Reset(grace) // not nil: the call has created it
}

// free ends the watchdog, which no longer uses the memory.
func (w *watchdog) free() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.memory = nil
	if w.timer != nil {
		w.timer.Stop()
	}
}
