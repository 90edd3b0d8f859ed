// Package pebblekv is a store.Engine over an embedded Pebble.
//
// A commit is written to Pebble's log without waiting for the disk. One
// goroutine, the flusher, syncs the log for everybody, so that one sync makes
// many commits durable; another, the teller, tells those who wait.
//
// When a write fails the store is frozen: see freezer.
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

// Config says where an engine keeps its data, and its limits. A limit of 0
// means the default.
type Config struct {
	// FS is the file system, that of the operating system when nil.
	FS vfs.FS
	// Dir is the directory. It is made when it does not exist, and belongs to
	// the engine.
	Dir string
	// Backups is the file system on which backups are made, FS when nil. On
	// another one than FS a backup shares no files with the store.
	Backups vfs.FS
	// Cache is the size of the cache of blocks that were read, in bytes. The
	// default is 64 MiB.
	Cache int64
	// Unsynced is how many bytes at most may be committed and not durable yet.
	// Commits wait while there are more, or so many that syncs take long. The
	// default is 2 MiB.
	Unsynced int
	// MinFree is how many bytes have to be free on the disk; with less, the
	// store does not open, and commits fail with store.ErrFull once it has
	// given back what it can. The default is an eighth of the volume and at
	// most 256 MiB.
	MinFree uint64
	// Memtable is how many bytes of keys and values gather in memory before
	// they are written to a table. It bounds how much of the log is read when
	// the store is opened, and how much room logs take: seven times as much at
	// most. The default is a 64th of the volume, from 256 KiB to 16 MiB.
	Memtable uint64
	// SQL is closed with the engine. Without it OpenSQL returns
	// store.ErrNoStore.
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

// Engine is a store.Engine. Use [Open].
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
	tidying chan struct{} // of capacity 1; wakes who gives space back
	short   atomic.Bool   // there is too little space: all that can be has to be given back

	closed atomic.Bool
	// frozen is what was durable when the store failed, and nil before.
	frozen atomic.Pointer[pebble.Snapshot]

	durable    atomic.Uint64 // the last durable commit; written with mu held
	wake       chan struct{} // of capacity 1; wakes the flusher
	impatience *time.Timer   // runs losePatience. fixed
	inspect    atomic.Bool   // whether Pebble falls behind has to be found out anew
	memtables  atomic.Uint64 // bytes of Pebble's memtables, when that was last found out
	flushed    chan struct{} // closed when the flusher has ended
	work       sync.WaitGroup
	backups    chan struct{} // of capacity 1; has a token while a backup is made

	// mu is never held in calls to pebble, the file system or callbacks: a file
	// operation that fails takes it, and Pebble may hold any of its own locks
	// by then.
	mu       sync.Mutex
	err      error            // guarded by mu: why nothing is written any more
	closing  bool             // guarded by mu
	snapshot *pebble.Snapshot // guarded by mu: what is durable
	commits  uint64           // guarded by mu: number of the last
	admitted uint64           // guarded by mu: bytes that were let into the log, ever
	written  uint64           // guarded by mu: bytes of commits that were counted, ever
	synced   uint64           // guarded by mu: bytes that became durable, ever
	since    time.Time        // guarded by mu: when the first commit came that no sync covers; zero: there is none
	syncs    uint64           // guarded by mu
	syncTime time.Duration    // guarded by mu
	bound    uint64           // guarded by mu: how many bytes may be unsynced now, at most cfg.Unsynced
	blocked  []*admission     // guarded by mu: commits that wait to be let in, first come first served
	patient  bool             // guarded by mu: impatience runs, for blocked
	stalled  bool             // guarded by mu: Pebble falls behind
	lacking  int              // guarded by mu: how many changes of the disk wait for space
	moved    time.Time        // guarded by mu: when a commit was last let in from blocked, or became durable, or nothing waited
	flusher  flusherState     // guarded by mu

	waiters []waiter  // guarded by mu: those whose commits are not durable
	ready   []waiter  // guarded by mu: those who are to be told
	telling bool      // guarded by mu: the teller is at it
	tell    sync.Cond // of mu; wakes the teller
}

var (
	_ store.Engine = (*Engine)(nil)
	_ store.Files  = (*Engine)(nil)
)

// Open opens the engine. The directory stays locked until Close. Errors:
// store.ErrLocked, store.ErrCorrupt, store.ErrTooNew, store.ErrForeign,
// store.ErrFull, those of the file system; and store.ErrStalled when the disk
// has not answered for 10 s. Then the directory stays locked until it does and
// what was opened has been closed again.
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
	e.tell.L = &e.mu
	e.impatience = time.AfterFunc(patience, e.losePatience)
	e.impatience.Stop()
	e.disk = watch(cfg.FS)
	cfg.FS = e.disk
	done, left := make(chan error), make(chan struct{})
	defer close(left)
	go func() { // ends when the disk answers
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
	e.work.Go(e.tellAll)
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

// Scan implements store.Engine. The pairs are those at the time the loop
// begins.
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
				break // Close returns it too.
			}
			if !yield(store.Pair{Key: it.Key(), Value: value}, nil) {
				return
			}
		}
		ended = true
	}
}

// reader returns what is to be read: the latest, or what was durable when the
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

// Export implements store.Files. The error is store.ErrNoStore when the engine
// has no SQLite.
func (e *Engine) Export(ctx context.Context, file string, pages store.Pages, tables []store.Table) error {
	if e.cfg.SQL == nil {
		return store.ErrNoStore
	}
	return asFull(e.cfg.SQL.Export(ctx, file, pages, tables))
}

// Import implements store.Files. The error is store.ErrNoStore when the engine
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
