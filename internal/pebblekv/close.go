package pebblekv

import (
	"errors"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/store"
)

// Close implements store.Engine. After a failure it writes nothing and returns
// the failure. On a full disk it waits for space for 10 s in total, and then
// fails. A second call does nothing.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return nil
	}
	e.closing = true
	e.wakeFlusher(pacing)
	e.mu.Unlock()
	defer time.AfterFunc(patience, e.fs.stopWaiting).Stop()
	<-e.flushed

	e.mu.Lock()
	failure := e.err
	e.err = store.ErrClosed
	e.closed.Store(true)
	e.failWaiters()
	e.waiters.End()
	e.impatience.Stop()
	e.mu.Unlock()
	e.work.Wait()

	var errs []error
	if e.cfg.SQL != nil {
		errs = append(errs, e.cfg.SQL.Close())
	}
	e.fs.thaw()
	errs = append(errs, e.snapshot.Close(), e.db.Close())
	e.cache.Unref()
	if failure == nil && e.fs.err() != nil {
		failure = fmt.Errorf("%w: %w", store.ErrFailed, e.fs.err())
	}
	if failure == nil && errors.Join(errs...) == nil {
		if err := noteEnd(e.cfg.FS, e.cfg.Dir); err != nil {
			e.log.Warn("cannot record the end of the log; damage there will be mistaken for a crash", "error", err)
		}
	}
	errs = append(errs, e.dir.Close())
	return errors.Join(append([]error{failure}, errs...)...)
}

// GiveUp implements store.Engine.
func (e *Engine) GiveUp() { e.fs.stopWaiting() }

// Copy implements store.Engine.
func (e *Engine) Copy() string { return e.dir.copy }

// failure returns why nothing is written any more, or nil. If it returns nil,
// no earlier change was only simulated: the freezer records a failure before it
// simulates anything, and notifies the engine slightly later.
func (e *Engine) failure() error {
	e.fs.look()
	if cause := e.fs.err(); cause != nil {
		e.fail(cause)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// spawn runs a function in a goroutine that Close waits for. It does nothing
// and returns false once Close has been called.
func (e *Engine) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return false
	}
	e.work.Go(f)
	return true
}

// Stats implements store.Engine. It calls no method of Pebble that waits for
// the disk, and waits for the disk itself for meterPatience at most.
func (e *Engine) Stats() store.EngineStats {
	if e.closed.Load() {
		return store.EngineStats{Failed: store.ErrClosed}
	}
	disk := e.meter.measure(e.spawn)
	e.mu.Lock()
	defer e.mu.Unlock()
	return store.EngineStats{
		Commits:  e.commits,
		Syncs:    e.syncs,
		SyncTime: e.syncTime,
		Unsynced: int(e.written - e.synced),
		Waiting:  len(e.blocked),
		Disk:     disk,
		Memory:   uint64(e.cache.Size()) + e.memtables.Load(),
		Failed:   e.err,
	}
}
