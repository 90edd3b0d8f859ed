package pebblekv

import (
	"cmp"
	"runtime"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// pace is how long the flusher gathers commits that nobody waits for.
const pace = 2 * time.Millisecond

// A flusherState says what the flusher sleeps for; the greater, the less it
// takes to wake it.
type flusherState int

const (
	busy   flusherState = iota
	pacing              // it gathers commits: to be woken when somebody waits
	idle                // there is nothing to do: to be woken by anything
)

// wakeFlusher wakes the flusher if it sleeps at least as idly as state. It is
// called with mu held.
func (e *Engine) wakeFlusher(state flusherState) {
	if e.flusher >= state {
		e.flusher = busy
		e.wake <- struct{}{} // There is room: the flusher takes it out before it sleeps again.
	}
}

// flush makes commits durable until the engine fails or, with nothing left to
// do, closes.
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

// Pebble writes without bound to what these limit: it is not left to stall
// commits itself, because one that it stalls would never come back from a store
// that has failed.
const (
	maxMemtables = 4 // full ones
	maxSublevels = 12
)

// inspectPebble finds out whether Pebble falls behind. It is called with mu
// held and releases it meanwhile.
func (e *Engine) inspectPebble() {
	e.mu.Unlock()
	e.wantTidy()
	m := e.db.Metrics()
	e.memtables.Store(m.MemTable.Size)
	e.mu.Lock()
	e.stalled = m.MemTable.Size > maxMemtables*e.cfg.Memtable || m.Levels[0].Sublevels > maxSublevels
	e.letIn()
}

// urgent reports whether a sync should not be delayed. It is called with mu
// held.
func (e *Engine) urgent() bool {
	return len(e.waiters) > 0 || len(e.blocked) > 0 || e.closing || e.written-e.synced >= e.bound/2
}

// maxYields bounds how often the flusher lets others go first.
const maxYields = 2

// yield lets those commit who are about to: after a sync they are often those
// who were told of it. It is called with mu held and releases it meanwhile.
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

// gather lets commits pile up until a sync is urgent, or for a while. It is
// called with mu held and releases it meanwhile.
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

// sync makes durable what was committed so far. It is called with mu held and
// releases it meanwhile.
func (e *Engine) sync() {
	target, written, since := e.commits, e.written, e.since
	e.since = time.Time{}
	e.mu.Unlock()
	// Everything up to target is in the snapshot, and everything in the
	// snapshot is in the log before the record that is synced.
	snapshot := e.db.NewSnapshot()
	start := time.Now()
	err := e.db.LogData([]byte(e.dir.secret), pebble.Sync)
	took := time.Since(start)
	if err != nil {
		e.fail(err)
	}
	// A sync that comes back after a failure may have been pretended, so nobody
	// may be told of it.
	failure := e.failure()
	e.mu.Lock()
	if failure == nil && e.err == nil {
		snapshot, e.snapshot = e.snapshot, snapshot
		e.synced = written
		e.syncs++
		e.syncTime += took
		e.durable.Store(target)
		e.moved = time.Now()
		somebody := len(e.waiters) > 0
		e.release(target)
		e.adapt(time.Since(since), somebody)
		e.letIn()
	}
	e.mu.Unlock()
	if err := snapshot.Close(); err != nil {
		e.log.Error("releasing a snapshot", "error", err)
	}
	e.mu.Lock()
}

// How long a commit waits to become durable grows with what is committed
// meanwhile, and with how busy the processors are: those who commit keep them
// from those who sync. So the bound follows from how long the first commit of
// each sync has waited, between these. Where nobody waits to be told, as with
// the OnStop of many objects, only the bound slows things down, and grows.
const (
	leastBound = 64 << 10 // bytes
	firstBound = 128 << 10
	shortWait  = 1500 * time.Microsecond
	longWait   = 4 * time.Millisecond
)

// adapt sets the bound by how long the first commit of a sync has waited, and
// whether somebody has. It is called with mu held.
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

// release hands the teller those whose commits have become durable. It is
// called with mu held.
func (e *Engine) release(durable uint64) {
	waiting := e.waiters[:0]
	for _, w := range e.waiters {
		if w.commit <= durable {
			e.ready = append(e.ready, w)
		} else {
			waiting = append(waiting, w)
		}
	}
	clear(e.waiters[len(waiting):])
	e.waiters = waiting
	if len(e.ready) > 0 {
		e.tell.Signal()
	}
}

// A waiter is to be told of a commit.
type waiter struct {
	commit uint64
	told   func(error)
	err    error // what it will be told
}

// Durable implements store.Engine.
func (e *Engine) Durable() uint64 { return e.durable.Load() }

// OnDurable implements store.Engine. The engine makes its calls in one
// goroutine, in the order of the numbers. When the outcome is known and nobody
// is being told, told is called by OnDurable itself, perhaps beside the
// engine's calls for later commits; while others are being told, it joins their
// queue, so that it never overtakes an earlier call for the same or an earlier
// commit. A commit that Commit has not returned yet is waited for.
func (e *Engine) OnDurable(commit uint64, told func(error)) {
	e.mu.Lock()
	w := waiter{commit: commit, told: told}
	if commit > e.durable.Load() {
		if e.err == nil {
			e.waiters = append(e.waiters, w)
			e.wakeFlusher(pacing)
			e.mu.Unlock()
			return
		}
		w.err = e.err
	}
	if e.telling || len(e.ready) > 0 {
		e.ready = append(e.ready, w)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	told(w.err)
}

// tellAll tells those who are ready until the engine has closed.
func (e *Engine) tellAll() {
	var group []waiter
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		for len(e.ready) == 0 {
			if e.closed.Load() {
				return
			}
			e.tell.Wait()
		}
		e.ready, group = group[:0], e.ready
		e.telling = true
		e.mu.Unlock()
		slices.SortStableFunc(group, func(a, b waiter) int { return cmp.Compare(a.commit, b.commit) })
		for _, w := range group {
			w.told(w.err)
		}
		clear(group)
		e.mu.Lock()
		e.telling = false
	}
}
