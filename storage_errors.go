package dog

import (
	"errors"

	"github.com/godurable/dog/internal/store"
)

// Errors of storage.
var (
	// ErrInTransaction: what waits cannot be called inside Storage.Transaction.
	ErrInTransaction = errors.New("dog: cannot wait inside a transaction")

	// ErrTooBig: a key, a value, an alarm's name or payload is over its limit.
	ErrTooBig = errors.New("dog: over a storage limit")

	// ErrListOptions: the options of a listing contradict each other.
	ErrListOptions = errors.New("dog: contradictory list options")

	// ErrStoreFull: the disk has less space left than the store needs for itself (MinFree of package disk), also after it has
	// given back what it could, or none at all. Nothing is stored until there is more, and what waits to be durable goes on
	// waiting; reading goes on. [New] fails with it too. A single transaction fails with it, and everything else goes on, when
	// three times its size, for its ways through the store, is not free besides MinFree: on an empty volume, when it is larger
	// than about a quarter of that.
	ErrStoreFull = store.ErrFull

	// ErrStoreStalled: the disk has not answered for 10 s, or has not written tables for 2 minutes. Nothing is stored until it does; what waits to be durable goes on waiting,
	// and reading goes on.
	ErrStoreStalled = store.ErrStalled

	// ErrStoreFailed: a write to the disk failed. Nothing more is stored until the program is started anew; reading goes on, of what
	// is durable.
	ErrStoreFailed = store.ErrFailed

	// ErrStoreLocked: another process, or another runtime of this one, has the data directory open.
	ErrStoreLocked = store.ErrLocked

	// ErrStoreCorrupt: stored data is damaged.
	ErrStoreCorrupt = store.ErrCorrupt

	// ErrStoreTooNew: the data directory, or the file to be imported, was
	// written by a later version of the library. Nothing is wrong with it, and
	// nothing has been changed. Go back to that version, or to a backup that
	// this one has made.
	ErrStoreTooNew = store.ErrTooNew

	// ErrStoreForeign: the data directory has files of something else, which a
	// store would overwrite. Nothing has been changed. Name another directory.
	ErrStoreForeign = store.ErrForeign

	// ErrStoreGone: the data directory was removed, replaced, renamed or
	// unmounted while the runtime had it open. It is [ErrStoreFailed] as well:
	// what has not been acknowledged by then is lost, and nothing more is
	// stored.
	ErrStoreGone = store.ErrGone
)
