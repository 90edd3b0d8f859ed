// Package disk stores the state of objects in a directory, in an embedded
// Pebble database.
//
//	rt, err := dog.New(dog.Options{Store: disk.At("data")})
//
// One database holds everything: keys, alarms, and SQLite databases as pages.
// Only one runtime at a time may have the directory open. In a rolling restart
// the next process can wait for the one that leaves ([Options].Wait). A copy of
// the directory made while it is open is useless: use dog.Runtime.Backup.
//
// A directory takes one to two times the compressed size of the stored data,
// plus logs. The number and size of the logs depend on the size of the volume.
// On volumes of 1 GiB and more they take 1 MiB at first and up to 120 MiB under
// load. On 64 MiB they take a 16th of that. In addition, [Options].MinFree must
// be free. dog.Stats reports the current size of the directory.
package disk

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/sqlite"
	"github.com/godurable/dog/internal/store"
)

const defaultOpenDatabases = 2000

// Options configure where the data is and how much space and memory it may
// take. A limit of 0 means its default.
type Options struct {
	// Dir is the directory. If it does not exist, it is made with permissions
	// for the owner only (0700, files 0600), whatever the umask. Do not keep
	// other files in it. Whenever the store is opened, its own files are
	// restricted to these permissions, and so is the directory unless it has
	// other files. A directory with files that a store would overwrite is
	// refused.
	Dir string
	// Cache is the size of the read cache in bytes. The default is 64 MiB.
	// About the same amount of memory is used for data that has not been
	// written to its place on the disk yet.
	Cache int64
	// Unsynced is the maximum number of bytes that are written and not yet
	// durable. Turns wait to commit while there are more, or so many that syncs
	// take long: a turn should not wait for a sync for more than a few
	// milliseconds. The default is 2 MiB.
	Unsynced int
	// MinFree is the number of bytes that must be free on the volume. With
	// less, the store first frees the space of its logs. If that is not enough,
	// writes fail with dog.ErrStoreFull until there is more space, and reading
	// goes on. dog.New fails in the same way, before it has changed anything.
	// When it opens the store, the space of the logs counts as free, but their
	// size and 1 MiB must be free at least: their contents are written to
	// tables before they are removed. The store needs the reserve to sort
	// stored data. The default is an eighth of the volume and at most 256 MiB.
	MinFree uint64
	// OpenDatabases is the number of SQLite databases that stay open while they
	// are not in use, at about a quarter of a MiB each. The default is 2,000.
	OpenDatabases int
	// Wait is how long dog.New waits for another runtime that has the directory
	// open to close it, as in a rolling restart. It looks again at least four
	// times a second. The process that leaves closes the directory at the end
	// of its shutdown, so Wait should be longer than its
	// dog.Options.ShutdownTimeout. When Wait is over, dog.New returns
	// dog.ErrStoreLocked. Only the lock is waited for: any other error is
	// returned at once. The default is 0, which does not wait. A negative Wait
	// is a dog.UsageError.
	Wait time.Duration
}

// At returns a store that keeps the data in a directory. dog.New opens it and
// returns dog.ErrStoreLocked if another runtime has it open, in this process or
// another one (see [Options].Wait), dog.ErrStoreFull, dog.ErrStoreStalled if
// the disk does not respond, dog.ErrStoreCorrupt, dog.ErrStoreTooNew,
// dog.ErrStoreForeign, or an error of the file system.
func At(dir string) dog.Store { return With(Options{Dir: dir}) }

// With is like At, with options.
func With(opts Options) dog.Store { return opener{opts: opts}.store() }

// Memory returns a store that keeps the data in memory, with SQL, for tests.
// The data is lost when the runtime is closed, unless dog.Runtime.Backup has
// written it to a directory, which At opens. Package dogtest has a disk that
// outlives runtimes and crashes.
func Memory() dog.Store { return opener{opts: Options{Dir: "/data"}, memory: true}.store() }

// An opener makes a dog.Store.
type opener struct {
	opts   Options
	memory bool
}

func (o opener) store() dog.Store { return hook.MakeStore(o.open).(dog.Store) }

func (o opener) open(log *slog.Logger) (store.Engine, error) {
	if err := checkWait(o.opts.Wait); err != nil {
		return nil, err
	}
	cfg := pebblekv.Config{Dir: o.opts.Dir, Cache: o.opts.Cache, Unsynced: o.opts.Unsynced, MinFree: o.opts.MinFree}
	if o.memory {
		cfg.FS, cfg.Backups = vfs.NewMem(), vfs.Default
	}
	cfg.SQL = sqlite.New(cmp.Or(o.opts.OpenDatabases, defaultOpenDatabases), log)
	e, err := openWithin(o.opts.Wait, log, func() (*pebblekv.Engine, error) { return pebblekv.Open(cfg, log) })
	if err != nil {
		return nil, errors.Join(err, cfg.SQL.Close())
	}
	return e, nil
}
