package pebblekv

import (
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// pace is how long the flusher collects commits that have no waiters.
const pace = 2 * time.Millisecond

// A flusherState describes why the flusher is sleeping. The greater it is, the
// easier the flusher is woken.
type flusherState int

const (
	busy   flusherState = iota
	pacing              // collecting commits: woken when there is a waiter
	idle                // nothing to do: woken by anything
)

// wakeFlusher wakes the flusher if its state is at least state. The caller must
// hold mu.
func (e *Engine) wakeFlusher(state flusherState) {
	if e.flusher >= state {
		e.flusher = busy
		e.wake <- struct{}{} // does not block: the flusher receives it before it sleeps again
	}
}

// flush makes commits durable until the engine fails, or is closing and nothing
// is left to do.
func (e *Engine) flush() {
	defer close(e.flushed)
	timer := time.NewTimer(pace)
	defer timer.Stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.err == nil {
		switch {
		case e.inspect.Swap(false):
			e.inspectPebble()
		case e.commits > e.durable.Load():
			if !e.urgent() {
				e.gather(timer)
			}
			e.yield()
			e.sync()
		case e.closing:
			return
		case e.stalled:
			e.gather(timer)
			e.inspect.Store(true)
		default:
			e.flusher = idle
			e.mu.Unlock()
			<-e.wake
			e.mu.Lock()
		}
	}
}

// Limits on Pebble's memtables and level 0, enforced by the engine. Pebble
// itself must not stall commits, because a commit stalled by Pebble would never
// return from a failed store.
const (
	maxMemtables = 4 // full memtables
	maxSublevels = 12
)

// inspectPebble checks whether Pebble falls behind. The caller must hold mu,
// which is released temporarily.
func (e *Engine) inspectPebble() {
	e.mu.Unlock()
	e.wantTidy()
	m := e.db.Metrics()
	e.memtables.Store(m.MemTable.Size)
	e.mu.Lock()
	e.stalled = m.MemTable.Size > maxMemtables*e.cfg.Memtable || m.Levels[0].Sublevels > maxSublevels
	e.letIn()
}

// urgent reports whether a sync should not be delayed. The caller must hold mu.
func (e *Engine) urgent() bool {
	return e.waiters.Len() > 0 || len(e.blocked) > 0 || e.closing || e.written-e.synced >= e.bound/2
}

// maxYields is the maximum number of times that the flusher yields to other
// goroutines.
const maxYields = 2

// yield lets goroutines commit that are about to. After a sync, these are often
// the ones that were notified of it. The caller must hold mu, which is released
// temporarily.
func (e *Engine) yield() {
	for range maxYields {
		before := e.commits
		e.mu.Unlock()
		runtime.Gosched()
		e.mu.Lock()
		if e.commits == before {
			return
		}
	}
}

// gather collects commits until a sync is urgent or pace has elapsed. The
// caller must hold mu, which is released temporarily.
func (e *Engine) gather(timer *time.Timer) {
	e.flusher = pacing
	e.mu.Unlock()
	timer.Reset(pace)
	select {
	case <-e.wake:
		e.mu.Lock()
	case <-timer.C:
		e.mu.Lock()
		if e.flusher == busy {
			<-e.wake
		}
		e.flusher = busy
	}
}

// sync makes all commits so far durable. The caller must hold mu, which is
// released temporarily.
func (e *Engine) sync() {
	target, written, since := e.commits, e.written, e.since
	e.since = time.Time{}
	e.mu.Unlock()
	// Everything up to target is in the snapshot, and everything in the
	// snapshot is in the log before the synced record.
	snapshot := e.db.NewSnapshot()
	start := time.Now()
	err := e.db.LogData([]byte(e.dir.secret), pebble.Sync)
	took := time.Since(start)
	if err != nil {
		e.fail(err)
	}
	// A sync that returns after a failure may have been simulated, so its
	// commits must not be reported as durable.
	failure := e.failure()
	e.mu.Lock()
	if failure == nil && e.err == nil {
		snapshot, e.snapshot = e.snapshot, snapshot
		e.synced = written
		e.syncs++
		e.syncTime += took
		e.durable.Store(target)
		e.moved = time.Now()
		somebody := e.waiters.Len() > 0
		e.waiters.Release(target)
		e.adapt(time.Since(since), somebody)
		e.letIn()
	}
	e.mu.Unlock()
	if err := snapshot.Close(); err != nil {
		e.log.Error("releasing a snapshot", "error", err)
	}
	e.mu.Lock()
}

// The time until a commit is durable grows with the bytes committed in the
// meantime, and with the load on the processors, because committing goroutines
// compete with syncing ones. So the bound is adapted to keep the wait of the
// first commit of each sync between these values. If there are no waiters, as
// with the OnStop of many objects, only the bound slows commits down, so it
// grows.
const (
	leastBound = 64 << 10 // bytes
	firstBound = 128 << 10
	shortWait  = 1500 * time.Microsecond
	longWait   = 4 * time.Millisecond
)

// adapt sets the bound from the wait of the first commit of a sync, and from
// whether the sync had waiters. The caller must hold mu.
func (e *Engine) adapt(waited time.Duration, somebody bool) {
	most := uint64(e.cfg.Unsynced)
	switch {
	case !somebody:
		if len(e.blocked) > 0 {
			e.bound = min(2*e.bound, most)
		}
	case waited > longWait:
		e.bound = max(e.bound/2, min(leastBound, most))
	case waited < shortWait && len(e.blocked) > 0:
		e.bound = min(2*e.bound, most)
	}
}

// Durable implements store.Engine.
func (e *Engine) Durable() uint64 { return e.durable.Load() }

// OnDurable implements store.Engine. The engine makes its calls in one
// goroutine, in the order of the numbers. If the outcome is known and no calls
// are being made, OnDurable itself calls notify, possibly concurrently with the
// engine's calls for later commits. While calls are being made, notify is
// queued behind them, so that it never overtakes an earlier call for the same
// or an earlier commit. A commit that Commit has not returned yet is waited
// for.
func (e *Engine) OnDurable(commit uint64, notify func(error)) {
	e.mu.Lock()
	var outcome error
	if commit > e.durable.Load() {
		if e.err == nil {
			e.waiters.Add(commit, notify)
			e.wakeFlusher(pacing)
			e.mu.Unlock()
			return
		}
		outcome = e.err
	}
	now := e.waiters.Known(commit, outcome, notify)
	e.mu.Unlock()
	if now {
		notify(outcome)
	}
}
