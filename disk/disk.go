// Package disk keeps the state of objects in a directory, in an embedded Pebble
// database.
//
//	rt, err := dog.New(dog.Options{Store: disk.At("data")})
//
// One database holds everything: keys, alarms, and SQLite databases as pages.
// One runtime at a time may have the directory open. A copy of the directory
// that is made meanwhile is worth nothing: see dog.Runtime.Backup.
//
// What a directory takes: what is stored, compressed, once to twice; and logs,
// whose number and size follow from the size of the volume. On 1 GiB and more
// that is 1 MiB at first and up to 120 MiB under load; on 64 MiB it is a 16th
// of that. Besides, [Options].MinFree has to be free. dog.Stats says what the
// directory takes now.
package disk

import (
	"cmp"
	"errors"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/sqlite"
	"github.com/godurable/dog/internal/store"
)

const defaultOpenDatabases = 2000

// Options say where the data is, and what it may take. A limit of 0 means its
// default.
type Options struct {
	// Dir is the directory. It is made when it does not exist, with rights for
	// nobody else (0700, files 0600), whatever the umask. Nothing else may be
	// kept in it: what is the store's own is narrowed to these rights whenever
	// it is opened, and the directory as well unless it has other files. A
	// directory that has files which a store would overwrite is refused.
	Dir string
	// Cache is the memory for what was read, in bytes. The default is 64 MiB.
	// About as much again goes to what has not reached its place on the disk
	// yet.
	Cache int64
	// Unsynced is how many bytes at most may be written and not yet durable.
	// Turns wait to commit while there are more, or so many that syncs take
	// long: who waits for one should not wait for more than some milliseconds.
	// The default is 2 MiB.
	Unsynced int
	// MinFree is how many bytes have to be free on the volume. With less, the
	// store first gives back what its logs take; if that is not enough, writing
	// is refused with dog.ErrStoreFull until there is more, and reading goes
	// on. dog.New is refused likewise, before it has changed anything; it needs
	// as much as the logs take besides. The store needs the reserve itself, to
	// sort what is stored. The default is an eighth of the volume and at most
	// 256 MiB.
	MinFree uint64
	// OpenDatabases is how many SQLite databases stay open while they are not
	// in use, at about a quarter of a MiB each. The default is 2,000.
	OpenDatabases int
}

// At keeps the data in a directory. dog.New opens it and says what is wrong
// with it: dog.ErrStoreLocked when another runtime has it, in this process or
// another one, dog.ErrStoreFull, dog.ErrStoreStalled when the disk does not
// answer, dog.ErrStoreCorrupt, dog.ErrStoreTooNew, dog.ErrStoreForeign, errors
// of the file system.
func At(dir string) dog.Store { return With(Options{Dir: dir}) }

// With is At with options.
func With(opts Options) dog.Store { return opener{opts: opts}.store() }

// Memory keeps the data in memory, with SQL, for tests: it is gone when the
// runtime is closed, unless a dog.Runtime.Backup has written it to a directory,
// which is opened by At. Package dogtest has a disk that outlives runtimes, and
// crashes.
func Memory() dog.Store { return opener{opts: Options{Dir: "/data"}, memory: true}.store() }

// An opener makes a dog.Store.
type opener struct {
	opts   Options
	memory bool
}

func (o opener) store() dog.Store { return hook.MakeStore(o.open).(dog.Store) }

func (o opener) open(log *slog.Logger) (store.Engine, error) {
	cfg := pebblekv.Config{Dir: o.opts.Dir, Cache: o.opts.Cache, Unsynced: o.opts.Unsynced, MinFree: o.opts.MinFree}
	if o.memory {
		cfg.FS, cfg.Backups = vfs.NewMem(), vfs.Default
	}
	cfg.SQL = sqlite.New(cmp.Or(o.opts.OpenDatabases, defaultOpenDatabases), log)
	e, err := pebblekv.Open(cfg, log)
	if err != nil {
		return nil, errors.Join(err, cfg.SQL.Close())
	}
	return e, nil
}
