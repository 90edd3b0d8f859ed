// Package store keeps what objects have stored: in an [Engine], of which there
// are several, in the layout of identity.go.
package store

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Errors of engines.
var (
	// ErrFull: the disk has too little space left, also after the store has
	// given back what it could. Nothing is written until there is more; reading
	// goes on. The store does not open.
	ErrFull = errors.New("dog: disk is full")
	// ErrStalled: the disk has not answered for a while. Nothing is written
	// until it does; nothing is lost.
	ErrStalled = errors.New("dog: disk does not answer")
	// ErrFailed: a write or a sync failed earlier. Nothing more is written
	// until the store is opened anew; reading goes on, of what is durable.
	ErrFailed = errors.New("dog: store has failed")
	// ErrLocked: another process, or another runtime of this one, has the data
	// directory open.
	ErrLocked = errors.New("dog: data directory is in use")
	// ErrCorrupt: what is stored is damaged.
	ErrCorrupt = errors.New("dog: stored data is damaged")
	// ErrTooNew: the store, or the exported file, was written by a later
	// version. Nothing is wrong with it, and nothing has been changed. Use
	// that version, or what this one has written: a backup, another export.
	ErrTooNew = errors.New("dog: written by a later version, which has to be used to read it")
	// ErrForeign: the directory has files of something else, which a store
	// would overwrite. Nothing has been changed. Name another directory.
	ErrForeign = errors.New("dog: the directory is not that of a store, and not free for one")
	// ErrGone: the data directory has been removed, replaced, renamed or
	// unmounted while the store was open. It comes with ErrFailed.
	ErrGone = errors.New("dog: the data directory is gone")
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("dog: store is closed")
)

// An Engine keeps keys, ordered by their bytes and never empty, and their
// values. It is safe for concurrent use.
//
// A commit is visible at once and durable later, in the order of commits:
// whoever tells others of it waits with OnDurable.
type Engine interface {
	// Get returns a copy of the value, or found false.
	Get(key []byte) (value []byte, found bool, err error)

	// Scan returns the pairs with lower <= key < upper as they are now. Keys
	// and values are valid until the next step. A nil upper is no bound.
	Scan(lower, upper []byte, reverse bool) iter.Seq2[Pair, error]

	// Begin returns an empty batch.
	Begin() Batch

	// Durable returns the number up to which commits are durable.
	Durable() uint64

	// OnDurable has told called, exactly once, when the commit with this number
	// and all before it are durable (nil), or never will be (ErrFailed or
	// ErrClosed, with the cause). It must not block. Calls that were waited for
	// come one at a time, in the order of the numbers. When the outcome is
	// known already, told is called at once, unless that would overtake an
	// earlier call.
	OnDurable(commit uint64, told func(error))

	// Writable returns nil, or why a commit would fail: ErrFull, ErrStalled,
	// ErrFailed, ErrClosed.
	Writable() error

	// OpenSQL opens the SQLite database that is kept in pages. The error is
	// ErrNoStore when the engine has no SQLite.
	OpenSQL(pages Pages, limits SQLLimits) (SQL, error)

	// Backup writes a consistent copy of everything that was committed before
	// the call into a directory that does not exist.
	Backup(ctx context.Context, dir string) error

	// Await returns what comes through the channel, at which another goroutine
	// uses the engine before anybody else does; ErrStalled when the disk has
	// not answered for 10 s, and ErrFull when it has been full for as long.
	// Then the other goroutine still uses the engine.
	Await(done <-chan error) error

	Stats() EngineStats

	// GiveUp has what waits for space on the disk fail, now or later
	// (ErrFailed, ErrFull): whoever calls it has to end.
	GiveUp()

	// Close makes what was committed durable and releases everything. No other
	// call may be under way.
	Close() error
}

// A Pair is a key and its value.
type Pair struct{ Key, Value []byte }

// A Batch is a set of changes that are committed all or not at all. Later
// changes win over earlier ones. The arguments may be changed afterwards.
// Commit or Discard is called once, and ends it.
type Batch interface {
	Set(key, value []byte)
	Delete(key []byte)
	// DeleteRange deletes lower <= key < upper.
	DeleteRange(lower, upper []byte)
	// Commit returns the number of the commit: greater than those of all
	// commits that returned before, and 0 where nothing needs to be waited for.
	// It may wait until earlier commits have become durable, to bound what is
	// not. After ErrFailed it is open whether the changes survive, as after a
	// crash.
	Commit() (number uint64, err error)
	Discard()
}

// EngineStats are counts since the engine was opened, and sizes.
type EngineStats struct {
	Commits  uint64
	Syncs    uint64        // each makes many commits durable
	SyncTime time.Duration // sum of their durations
	Unsynced int           // bytes committed and not durable yet
	Waiting  int           // commits that wait until earlier ones are durable
	Disk     uint64        // bytes that the directory takes on its volume
	Memory   uint64        // bytes in memory: caches and what is not yet in tables
	Failed   error         // why nothing is written any more
}

// Pages keeps the pages of one object's SQLite database. Reads see what the
// present transaction wrote. It is owned by the object's turn.
type Pages interface {
	// ReadPage copies page n, counted from 0, into buf and reports whether it
	// exists.
	ReadPage(n uint32, buf []byte) (found bool, err error)
	// WritePage keeps a copy of a page. One beyond the last is to be followed
	// by a SetCount that counts it.
	WritePage(n uint32, data []byte) error
	// Count returns the number of pages.
	Count() (uint32, error)
	// SetCount drops the pages from n on, or says that there are n.
	SetCount(n uint32) error
}
