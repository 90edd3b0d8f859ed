// Package store stores the data of objects in an [Engine], of which there are
// several, with the layout of identity.go.
//
// It knows how objects are laid out as keys, and does not know their handlers,
// turns or sockets. The engines do not know the layout.
package store

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Errors of engines.
var (
	// ErrFull means that the disk has too little free space, even after the
	// store has released what it could. Nothing is written until there is more.
	// Reading continues. The store cannot be opened.
	ErrFull = errors.New("dog: disk is full")
	// ErrStalled means that the disk has not responded for a while. Nothing is
	// written until it does. Nothing is lost.
	ErrStalled = errors.New("dog: disk does not answer: check the volume, and writing goes on once it answers")
	// ErrFailed means that a write or a sync failed earlier. Nothing more is
	// written until the store is reopened. Durable data can still be read.
	ErrFailed = errors.New("dog: store has failed (restart the program)")
	// ErrLocked means that the data directory is open in another process, or in
	// another runtime of this process.
	ErrLocked = errors.New("dog: data directory is in use (end the other program, or set disk.Options.Wait)")
	// ErrCorrupt means that stored data is damaged.
	ErrCorrupt = errors.New("dog: stored data is damaged (start from a backup)")
	// ErrTooNew means that the store or the exported file was written by a
	// later version. It is intact and has not been changed. Use that version,
	// or data written by this one: a backup or another export.
	ErrTooNew = errors.New("dog: written by a later version: use that version to read it")
	// ErrForeign means that the directory contains other files, which a store
	// would overwrite. Nothing has been changed. Choose another directory.
	ErrForeign = errors.New("dog: the directory has files of another program (choose another directory)")
	// ErrGone means that the data directory was removed, replaced, renamed or
	// unmounted while the store was open. It is wrapped together with
	// ErrFailed.
	ErrGone = errors.New("dog: the data directory is gone")
	// ErrClosed means that the store has been closed.
	ErrClosed = errors.New("dog: store is closed")
)

// An Engine stores values under keys. Keys are ordered by their bytes and never
// empty. An Engine is safe for concurrent use.
//
// A commit is visible at once and becomes durable later, in the order of
// commits. A caller must wait with OnDurable before it reveals a commit to
// others.
type Engine interface {
	// Get returns a copy of the value. If there is none, found is false.
	Get(key []byte) (value []byte, found bool, err error)

	// Scan returns an iterator over the pairs with lower <= key < upper, as
	// they are when the iteration begins. A nil upper means no bound. Keys and
	// values are valid until the next step.
	Scan(lower, upper []byte, reverse bool) iter.Seq2[Pair, error]

	// Begin returns an empty batch.
	Begin() Batch

	// Durable returns the number up to which commits are durable.
	Durable() uint64

	// OnDurable calls notify exactly once: with nil when the commit with this
	// number and all before it are durable, or with ErrFailed or ErrClosed,
	// wrapping the cause, if they never will be. notify must not block.
	// Deferred calls are made one at a time, in the order of the numbers. If
	// the outcome is already known, notify is called at once, unless that would
	// overtake an earlier call.
	OnDurable(commit uint64, notify func(error))

	// Writable returns nil, or the error with which a commit would fail:
	// ErrFull, ErrStalled, ErrFailed or ErrClosed.
	Writable() error

	// OpenSQL opens the SQLite database stored in pages. The error is
	// ErrNoStore if the engine has no SQLite.
	OpenSQL(pages Pages, limits SQLLimits) (SQL, error)

	// Backup writes a consistent copy of everything committed before the call
	// into a new directory dir, which must not exist.
	Backup(ctx context.Context, dir string) error

	// Await returns the value received from done, while another goroutine uses
	// the engine before anything else does. It returns ErrStalled if the disk
	// has not responded for 10 s, and ErrFull if the disk has been full for 10
	// s. In both cases the other goroutine still uses the engine.
	Await(done <-chan error) error

	Stats() EngineStats

	// Copy returns a text that distinguishes the store from those made of its
	// backups. It does not change while the store exists.
	Copy() string

	// GiveUp makes operations that wait for disk space fail, now and in the
	// future, with ErrFailed or ErrFull. It is used when their callers have to
	// end.
	GiveUp()

	// Close makes all commits durable and releases all resources. No other call
	// may be in progress.
	Close() error
}

// A Pair is a key and its value.
type Pair struct{ Key, Value []byte }

// A Batch is a set of changes that are committed together or not at all. Later
// changes override earlier ones. The arguments may be modified after a call.
// Either Commit or Discard must be called, once, and ends the batch.
type Batch interface {
	Set(key, value []byte)
	Delete(key []byte)
	// DeleteRange deletes lower <= key < upper.
	DeleteRange(lower, upper []byte)
	// Commit returns the number of the commit. It is greater than the numbers
	// of all commits that returned before, or 0 if there is no need to wait for
	// durability. Commit may block until earlier commits are durable, to bound
	// those that are not. After ErrFailed, as after a crash, the changes may or
	// may not survive.
	Commit() (number uint64, err error)
	Discard()
}

// EngineStats are counters since the engine was opened, and sizes.
type EngineStats struct {
	Commits  uint64
	Syncs    uint64        // each makes many commits durable
	SyncTime time.Duration // sum of their durations
	Unsynced int           // bytes committed and not yet durable
	Waiting  int           // commits blocked until earlier ones are durable
	Disk     uint64        // bytes that the directory uses on its volume
	Memory   uint64        // bytes of memory for caches and for data not yet in tables
	Failed   error         // why nothing is written any more
}

// Pages stores the pages of one object's SQLite database. Reads return the
// writes of the current transaction. Pages is owned by the object's turn.
type Pages interface {
	// ReadPage copies page n, counted from 0, into buf and reports whether it
	// exists.
	ReadPage(n uint32, buf []byte) (found bool, err error)
	// WritePage stores a copy of a page. After writing a page beyond the last,
	// the caller must call SetCount with a number that includes it.
	WritePage(n uint32, data []byte) error
	// Count returns the number of pages.
	Count() (uint32, error)
	// SetCount sets the number of pages to n. It drops the pages from n on.
	SetCount(n uint32) error
}
