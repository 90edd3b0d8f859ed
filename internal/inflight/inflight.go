// Package inflight counts the work in progress of a runtime: requests, sockets
// and goroutines. A shutdown admits no more work and waits until the rest has
// ended.
//
// It only counts. It does not know what the work is, and it cannot end it.
package inflight

import "sync/atomic"

// Work is the work in progress. It is safe for concurrent use.
type Work struct {
	count  atomic.Int64
	closed atomic.Bool   // nothing new is admitted
	idle   chan struct{} // has a token when closed is set and count may be 0
}

// New returns a Work that admits everything.
func New() *Work { return &Work{idle: make(chan struct{}, 1)} }

// Enter admits work from outside, unless w is closed. If it returns true, the
// caller must call Leave.
func (w *Work) Enter() bool {
	w.count.Add(1)
	if w.closed.Load() {
		w.Leave()
		return false
	}
	return true
}

// Add counts work that follows from admitted work, even if w is closed. The
// caller must have entered, or hold something else that is counted. Leave must
// follow.
func (w *Work) Add() { w.count.Add(1) }

// Leave ends what Enter or Add began.
func (w *Work) Leave() {
	if w.count.Add(-1) == 0 {
		w.signalIdle()
	}
}

// Spawn runs f in a goroutine that is counted. The caller is as for Add.
func (w *Work) Spawn(f func()) {
	w.Add()
	go func() {
		defer w.Leave()
		f()
	}()
}

// Close makes w admit nothing more.
func (w *Work) Close() {
	w.closed.Store(true)
	w.signalIdle()
}

// Closed reports whether Close has been called.
func (w *Work) Closed() bool { return w.closed.Load() }

// Len returns how much work is in progress.
func (w *Work) Len() int { return int(w.count.Load()) }

// Idle returns a channel that delivers a token when w has been closed and no
// work may be in progress. It is for one receiver at a time, which must look at
// Len, since admitted work may have begun more.
func (w *Work) Idle() <-chan struct{} { return w.idle }

// Wait waits until no work is in progress. w must be closed.
func (w *Work) Wait() {
	for w.count.Load() != 0 {
		<-w.idle
	}
}

func (w *Work) signalIdle() {
	if w.closed.Load() && w.count.Load() == 0 {
		select {
		case w.idle <- struct{}{}:
		default:
		}
	}
}
