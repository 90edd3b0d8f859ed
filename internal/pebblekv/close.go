package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/godurable/dog/internal/store"
)

// Close implements store.Engine. After a failure it writes nothing and returns the failure. A second call does nothing.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return nil
	}
	e.closing = true
	e.wakeFlusher(pacing)
	e.mu.Unlock()
	<-e.flushed

	e.mu.Lock()
	failure := e.err
	e.err = store.ErrClosed
	e.closed.Store(true)
	e.giveUp()
	e.mu.Unlock()
	e.work.Wait()

	var errs []error
	if e.cfg.SQL != nil {
		errs = append(errs, e.cfg.SQL.Close())
	}
	e.fs.thaw()
	errs = append(errs, e.snapshot.Close(), e.db.Close(), e.lock.Close())
	if failure == nil && e.fs.err() != nil {
		failure = fmt.Errorf("%w: %w", store.ErrFailed, e.fs.err())
	}
	return errors.Join(append([]error{failure}, errs...)...)
}

// Backup implements store.Engine. It writes next to the directory and renames at the end; what an interrupted backup has left
// there is removed by the next one to the same directory. The copy shares files with the store where the file system can, so
// it is quick and takes little space at first. Only one backup is made at a time. ctx is looked at before and after the copy
// is made.
func (e *Engine) Backup(ctx context.Context, dir string) error {
	e.backups.Lock()
	defer e.backups.Unlock()
	if err := e.backup(ctx, dir); err != nil {
		return fmt.Errorf("backing the store up to %s: %w", dir, err)
	}
	return nil
}

func (e *Engine) backup(ctx context.Context, dir string) error {
	fsys := e.cfg.FS
	dir, err := resolve(fsys, dir)
	if err != nil {
		return err
	}
	if e.fs.guards(dir) {
		return fmt.Errorf("%w: the data directory itself", fs.ErrInvalid)
	}
	if _, err := fsys.Stat(dir); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partial := strings.TrimRight(dir, `/\`) + ".partial"
	if err := fsys.RemoveAll(partial); err != nil {
		return err
	}
	if err := e.checkpoint(ctx, partial); err != nil {
		return errors.Join(err, fsys.RemoveAll(partial))
	}
	if err := fsys.Rename(partial, dir); err != nil {
		return errors.Join(err, fsys.RemoveAll(partial))
	}
	return syncDir(fsys, fsys.PathDir(dir))
}

func (e *Engine) checkpoint(ctx context.Context, dir string) error {
	if err := errors.Join(ctx.Err(), e.failure()); err != nil {
		return err
	}
	if err := e.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return readError(err)
	}
	// After a failure the log on disk may lack commits that the store has in memory.
	return errors.Join(ctx.Err(), e.failure())
}

// failure returns why nothing is written any more, or nil. When it returns nil, nothing before it was only pretended: the freezer
// knows of a failure before it pretends anything, and tells the engine a little later.
func (e *Engine) failure() error {
	if cause := e.fs.err(); cause != nil {
		e.fail(cause)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Stats implements store.Engine.
func (e *Engine) Stats() store.EngineStats {
	if e.closed.Load() {
		return store.EngineStats{Failed: store.ErrClosed}
	}
	m, disk := e.db.Metrics(), e.meter.measure()
	e.mu.Lock()
	defer e.mu.Unlock()
	return store.EngineStats{
		Commits:  e.commits,
		Syncs:    e.syncs,
		SyncTime: e.syncTime,
		Unsynced: int(e.written - e.synced),
		Disk:     disk,
		Memory:   uint64(m.BlockCache.Size) + m.MemTable.Size,
		Failed:   e.err,
	}
}
