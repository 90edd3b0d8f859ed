// Package pebblekv implements store.Engine with an embedded Pebble database.
//
// A commit is written to Pebble's log without waiting for the disk. One
// goroutine, the flusher, syncs the log for all commits, so that one sync makes
// many commits durable. Another, the notifier, notifies the waiters.
//
// When a write fails, the store is frozen: see freezer.
//
// It does not know objects or what their keys mean. Package store does.
package pebblekv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog/internal/store"
)

// SQL opens the SQLite databases of objects.
type SQL interface {
	OpenSQL(pages store.Pages, limits store.SQLLimits) (store.SQL, error)
	store.Files
	Close() error
}

// Config is the location of an engine's data and its limits. A limit of 0 means
// the default.
type Config struct {
	// FS is the file system. If nil, it is that of the operating system.
	FS vfs.FS
	// Dir is the directory. It is created if it does not exist, and belongs to
	// the engine.
	Dir string
	// Backups is the file system for backups. If nil, it is FS. If it is not
	// FS, a backup shares no files with the store.
	Backups vfs.FS
	// Cache is the size of the block cache for reads, in bytes. The default is
	// 64 MiB.
	Cache int64
	// Unsynced is the maximum number of bytes committed and not yet durable.
	// Commits block while there are more, or so many that syncs take long. The
	// default is 2 MiB.
	Unsynced int
	// MinFree is the number of bytes that must be free on the disk. If there
	// are fewer, the store does not open, and commits fail with store.ErrFull
	// once the store has released what it can. The default is an eighth of the
	// volume, at most 256 MiB.
	MinFree uint64
	// Memtable is the number of bytes of keys and values collected in memory
	// before they are written to a table. It bounds how much of the log is read
	// when the store is opened, and the size of the logs: at most seven times
	// as much. The default is a 64th of the volume, between 256 KiB and 16 MiB.
	Memtable uint64
	// SQL is closed with the engine. If nil, OpenSQL returns store.ErrNoStore.
	SQL SQL
}

const (
	defaultCache    = 64 << 20
	defaultUnsynced = 2 << 20
)

func (c Config) withDefaults() Config {
	if c.FS == nil || c.FS == vfs.Default {
		c.FS = private{vfs.Default}
	}
	if c.Backups == vfs.Default {
		c.Backups = private{vfs.Default}
	}
	if c.Cache <= 0 {
		c.Cache = defaultCache
	}
	if c.Unsynced <= 0 {
		c.Unsynced = defaultUnsynced
	}
	return c
}

// Engine is a store.Engine. Use [Open] to create one.
type Engine struct {
	cfg   Config        // fixed
	log   *slog.Logger  // fixed
	db    *pebble.DB    // fixed
	cache *pebble.Cache // fixed; released with db
	dir   *directory    // fixed
	disk  *watched      // fixed
	fs    *freezer      // fixed
	space *space        // fixed
	meter meter         // fixed

	logs    logbook
	tidying chan struct{} // of capacity 1; wakes tidy
	short   atomic.Bool   // space is short: release all that is possible

	closed atomic.Bool
	// frozen is the durable state when the store failed. It is nil before that.
	frozen atomic.Pointer[pebble.Snapshot]

	durable    atomic.Uint64 // the last durable commit; written with mu held
	wake       chan struct{} // of capacity 1; wakes the flusher
	impatience *time.Timer   // runs losePatience. fixed
	inspect    atomic.Bool   // whether to check again if Pebble falls behind
	memtables  atomic.Uint64 // bytes of Pebble's memtables at the latest check
	flushed    chan struct{} // closed when the flusher has ended
	work       sync.WaitGroup
	backups    chan struct{} // of capacity 1; has a token while a backup is made

	// mu is never held during calls to pebble, the file system or callbacks,
	// because a failing file operation acquires it, possibly while Pebble holds
	// its own locks.
	mu       sync.Mutex
	err      error            // guarded by mu: why nothing is written any more
	closing  bool             // guarded by mu
	snapshot *pebble.Snapshot // guarded by mu: the durable state
	commits  uint64           // guarded by mu: number of the last commit
	admitted uint64           // guarded by mu: bytes ever admitted to the log
	written  uint64           // guarded by mu: bytes of all commits counted so far
	synced   uint64           // guarded by mu: bytes that ever became durable
	since    time.Time        // guarded by mu: time of the first commit not covered by a sync; zero: there is none
	syncs    uint64           // guarded by mu
	syncTime time.Duration    // guarded by mu
	bound    uint64           // guarded by mu: current maximum of unsynced bytes, at most cfg.Unsynced
	blocked  []*waitingCommit // guarded by mu: commits waiting to be admitted, in order of arrival
	patient  bool             // guarded by mu: impatience is running, for blocked
	stalled  bool             // guarded by mu: Pebble falls behind
	lacking  int              // guarded by mu: number of file changes waiting for space
	// guarded by mu: when a blocked commit was last admitted, or a commit
	// became durable, or nothing waited
	moved   time.Time
	flusher flusherState // guarded by mu

	waiters *store.Waiters // guarded by mu
}

var (
	_ store.Engine = (*Engine)(nil)
	_ store.Files  = (*Engine)(nil)
)

// Open opens the engine. The directory stays locked until Close. The error is
// store.ErrLocked, store.ErrCorrupt, store.ErrTooNew, store.ErrForeign,
// store.ErrFull, an error of the file system, or store.ErrStalled if the disk
// has not responded for 10 s. In the last case the directory stays locked until
// the disk responds and everything opened has been closed again.
func Open(cfg Config, log *slog.Logger) (*Engine, error) {
	cfg = cfg.withDefaults()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		log:     log,
		bound:   min(firstBound, uint64(cfg.Unsynced)),
		wake:    make(chan struct{}, 1),
		flushed: make(chan struct{}),
		tidying: make(chan struct{}, 1),
		backups: make(chan struct{}, 1),
	}
	e.waiters = store.NewWaiters(&e.mu)
	e.impatience = time.AfterFunc(patience, e.losePatience)
	e.impatience.Stop()
	e.disk = watch(cfg.FS)
	cfg.FS = e.disk
	done, left := make(chan error), make(chan struct{})
	defer close(left)
	go func() { // ends when the disk responds
		err := e.open(cfg)
		select {
		case done <- err:
		case <-left:
			e.abandon(err)
		}
	}()
	if err := e.disk.await(done, func() error { return nil }); err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", cfg.Dir, err)
	}
	e.snapshot = e.db.NewSnapshot()
	e.fs.onFailure(e.fail)
	e.fs.watch(e.dir.check)
	e.fs.await(e.lack)
	e.work.Go(e.flush)
	e.work.Go(e.waiters.Run)
	e.work.Go(e.tidy)
	return e, nil
}

// Await implements store.Engine.
func (e *Engine) Await(done <-chan error) error {
	return e.disk.await(done, func() error {
		if err := e.Writable(); errors.Is(err, store.ErrFull) {
			return err
		}
		return nil
	})
}

// Get implements store.Engine.
func (e *Engine) Get(key []byte) ([]byte, bool, error) {
	if e.closed.Load() {
		return nil, false, store.ErrClosed
	}
	value, closer, err := e.reader().Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, readError(err)
	}
	value = bytes.Clone(value)
	if value == nil {
		value = []byte{}
	}
	return value, true, readError(closer.Close())
}

// Scan implements store.Engine. It yields the pairs as of the beginning of the
// loop.
func (e *Engine) Scan(lower, upper []byte, reverse bool) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		if e.closed.Load() {
			yield(store.Pair{}, store.ErrClosed)
			return
		}
		it, err := e.reader().NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			yield(store.Pair{}, readError(err))
			return
		}
		ended := false
		defer func() {
			if err := it.Close(); err != nil && ended {
				yield(store.Pair{}, readError(err))
			}
		}()
		first, next := it.First, it.Next
		if reverse {
			first, next = it.Last, it.Prev
		}
		for ok := first(); ok; ok = next() {
			value, err := it.ValueAndErr()
			if err != nil {
				break // Close returns it too
			}
			if !yield(store.Pair{Key: it.Key(), Value: value}, nil) {
				return
			}
		}
		ended = true
	}
}

// reader returns the state to read: the latest, or the durable state when the
// store failed.
func (e *Engine) reader() pebble.Reader {
	if s := e.frozen.Load(); s != nil {
		return s
	}
	return e.db
}

// OpenSQL implements store.Engine.
func (e *Engine) OpenSQL(pages store.Pages, limits store.SQLLimits) (store.SQL, error) {
	if e.cfg.SQL == nil {
		return nil, store.ErrNoStore
	}
	return e.cfg.SQL.OpenSQL(pages, limits)
}

// Export implements store.Files. The error is store.ErrNoStore if the engine
// has no SQLite.
func (e *Engine) Export(ctx context.Context, file string, pages store.Pages, tables []store.Table) error {
	if e.cfg.SQL == nil {
		return store.ErrNoStore
	}
	return asFull(e.cfg.SQL.Export(ctx, file, pages, tables))
}

// Import implements store.Files. The error is store.ErrNoStore if the engine
// has no SQLite.
func (e *Engine) Import(
	ctx context.Context, file string, pages store.Pages, limits store.SQLLimits, tables []store.Table,
	row func(table string, row []any) error,
) error {
	if e.cfg.SQL == nil {
		return store.ErrNoStore
	}
	return asFull(e.cfg.SQL.Import(ctx, file, pages, limits, tables, row))
}
