package store

import (
	"cmp"
	"slices"
	"sync"
)

// Waiters are the calls of [Engine.OnDurable] that an engine has to make. They
// are guarded by the engine's mutex: its holder calls all methods but Run.
type Waiters struct {
	waiting []waiter  // for commits whose outcome is not known
	ready   []waiter  // to be called
	calling bool      // Run is making calls
	ended   bool      // Run returns once it has made all calls
	changed sync.Cond // wakes Run
}

type waiter struct {
	commit uint64
	notify func(error)
	err    error // argument for notify
}

// NewWaiters returns waiters that are guarded by mu.
func NewWaiters(mu *sync.Mutex) *Waiters {
	return &Waiters{changed: sync.Cond{L: mu}}
}

// Len returns how many wait for an outcome.
func (w *Waiters) Len() int { return len(w.waiting) }

// Add adds a call for a commit whose outcome is not known.
func (w *Waiters) Add(commit uint64, notify func(error)) {
	w.waiting = append(w.waiting, waiter{commit: commit, notify: notify})
}

// Known adds a call for a commit with a known outcome. It reports true if the
// caller has to make the call, after unlocking the mutex. Otherwise earlier
// calls are being made, which this one must not overtake.
func (w *Waiters) Known(commit uint64, err error, notify func(error)) (now bool) {
	if !w.calling && len(w.ready) == 0 {
		return true
	}
	w.ready = append(w.ready, waiter{commit, notify, err})
	return false
}

// Release lets Run call the waiters of commits up to a number.
func (w *Waiters) Release(durable uint64) {
	still := w.waiting[:0]
	for _, one := range w.waiting {
		if one.commit <= durable {
			w.ready = append(w.ready, one)
		} else {
			still = append(still, one)
		}
	}
	clear(w.waiting[len(still):])
	w.waiting = still
	if len(w.ready) > 0 {
		w.changed.Signal()
	}
}

// Fail lets Run call all waiters with an error.
func (w *Waiters) Fail(err error) {
	for i := range w.waiting {
		w.waiting[i].err = err
	}
	w.ready = append(w.ready, w.waiting...)
	w.waiting = nil
	w.changed.Signal()
}

// End lets Run return.
func (w *Waiters) End() {
	w.ended = true
	w.changed.Signal()
}

// Run makes the calls, without the mutex, in the order of the commits.
func (w *Waiters) Run() {
	var calls []waiter
	w.changed.L.Lock()
	defer w.changed.L.Unlock()
	for {
		for len(w.ready) == 0 {
			if w.ended {
				return
			}
			w.changed.Wait()
		}
		w.ready, calls = calls[:0], w.ready
		w.calling = true
		w.changed.L.Unlock()
		slices.SortStableFunc(calls, func(a, b waiter) int { return cmp.Compare(a.commit, b.commit) })
		for _, one := range calls {
			one.notify(one.err)
		}
		clear(calls)
		w.changed.L.Lock()
		w.calling = false
	}
}
