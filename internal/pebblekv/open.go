package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog/internal/store"
)

func (e *Engine) open(cfg Config) (err error) {
	if cfg.Dir, err = resolve(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	if err := makeDir(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	if cfg.Dir, err = resolve(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	if e.lock, err = pebble.LockDirectory(cfg.Dir, cfg.FS); err != nil {
		return lockError(err)
	}
	e.cfg = cfg
	e.fs = newFreezer(cfg.FS, cfg.Dir)
	e.space = newSpace(cfg.FS, cfg.Dir, cfg.MinFree)
	err = e.openPebble()
	if failure := e.fs.err(); failure != nil {
		// To Pebble most of what failed seemed to succeed.
		if err == nil {
			err = e.db.Close()
		}
		err = errors.Join(failure, err)
	}
	if err != nil {
		return errors.Join(err, e.lock.Close())
	}
	return nil
}

// openPebble opens the database. Pebble panics on some kinds of damage. A database of a later version of Pebble counts as
// damaged.
func (e *Engine) openPebble() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", store.ErrCorrupt, r)
		}
	}()
	found, err := pebble.Peek(e.cfg.Dir, e.cfg.FS)
	if err == nil {
		e.db, err = pebble.Open(e.cfg.Dir, e.options())
	}
	if err == nil && !found.Exists {
		// Pebble begins the log of a new database before it knows that the latest format is wanted. Only in that can damage be told
		// from a torn tail, so begin another.
		if err = e.db.Flush(); err != nil {
			_ = e.db.Close()
		}
	}
	if err != nil && !errors.Is(err, errFrozen) && (errors.Is(err, fs.ErrNotExist) || !fromFileSystem(err)) {
		err = fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return err
}

// fromFileSystem reports whether a file could not be had. Pebble marks only some of what else is wrong as damage.
func fromFileSystem(err error) bool {
	var (
		path  *fs.PathError
		link  *os.LinkError
		errno syscall.Errno
	)
	return errors.As(err, &path) || errors.As(err, &link) || errors.As(err, &errno)
}

func (e *Engine) options() *pebble.Options {
	rotated := func() { e.inspect.Store(true) }
	opts := &pebble.Options{
		FS:                 e.fs,
		Lock:               e.lock,
		FormatMajorVersion: pebble.FormatNewest,
		CacheSize:          e.cfg.Cache,
		MemTableSize:       e.cfg.Memtable,
		// The engine itself makes commits wait, see inspectPebble.
		MemTableStopWritesThreshold: 1000,
		L0StopWritesThreshold:       1000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, min(3, runtime.GOMAXPROCS(0)/2)) },
		Logger:                      logger{e.log, e.fs},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				if !errors.Is(err, errFrozen) {
					e.log.Error("background work of the store failed", "error", err)
				}
			},
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				e.log.Error("the store is damaged", "file", info.Path, "error", info.Details)
			},
			WALCreated: func(pebble.WALCreateInfo) { rotated() },
			FlushEnd:   func(pebble.FlushInfo) { rotated() },
		},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	return opts
}

// resolve returns the one name of a directory under which it is locked.
func resolve(fsys vfs.FS, dir string) (string, error) {
	if dir == "" {
		return "", errors.New("dog: no data directory")
	}
	if vfs.Root(fsys) != vfs.Default {
		return fsys.PathJoin(dir), nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	return real, err
}

// makeDir makes a directory and its parents, and makes that durable.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := fsys.PathDir(dir)
	if err := makeDir(fsys, parent); err != nil {
		return err
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(fsys, parent)
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockError tells a lock that is held from one that cannot be had at all.
func lockError(err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrLocked, err)
}

// readError makes an error of a read one of the store's.
func readError(err error) error {
	if err != nil && pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return err
}

// A logger takes what Pebble has to say.
type logger struct {
	log *slog.Logger
	fs  *freezer
}

func (l logger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l logger) Errorf(format string, args ...any) { l.log.Error(fmt.Sprintf(format, args...)) }

// Fatalf is expected to end the process. Freezing keeps what is on the disk as well as that.
func (l logger) Fatalf(format string, args ...any) { l.fs.fail(fmt.Errorf(format, args...)) }
