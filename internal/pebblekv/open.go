package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog/internal/osfile"
	"github.com/godurable/dog/internal/store"
)

func (e *Engine) open(cfg Config) (err error) {
	if cfg.Dir, err = resolve(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	if cfg.Backups == nil {
		cfg.Backups = cfg.FS
	}
	usage, _ := measure(cfg.FS, cfg.Dir)
	cfg = cfg.fit(usage.TotalBytes)
	if err := roomToOpen(cfg.FS, cfg.Dir, cfg.MinFree); err != nil {
		return err
	}
	if e.dir, err = openDirectory(cfg.FS, cfg.Dir, e.log); err != nil {
		return asFull(err)
	}
	cfg.Dir = e.dir.name
	e.cfg = cfg
	e.fs = newFreezer(cfg.FS, cfg.Dir, min(cfg.Memtable/16, mostAhead))
	e.space = newSpace(cfg.FS, cfg.Dir, cfg.MinFree, e)
	e.meter = meter{fs: cfg.FS, dir: cfg.Dir}
	e.cache = pebble.NewCache(cfg.Cache)
	err = e.openPebble()
	if err == nil && e.fs.err() == nil {
		if err = e.dir.complete(); err != nil {
			e.fs.thaw()
			err = errors.Join(err, e.db.Close())
		}
	}
	if failure := e.fs.err(); failure != nil {
		// Most failed operations appeared to Pebble to succeed.
		if err == nil {
			e.fs.thaw()
			err = e.db.Close()
		}
		err = errors.Join(failure, err)
	}
	if err != nil {
		e.cache.Unref()
		return errors.Join(err, e.dir.Close())
	}
	return nil
}

// abandon closes a store that Open no longer waits for.
func (e *Engine) abandon(err error) {
	if err == nil {
		e.fs.thaw()
		err = errors.Join(e.db.Close(), e.dir.Close())
		e.cache.Unref()
	}
	e.log.Info("the disk responds again; the store can be opened", "error", err)
}

// openPebble opens the database. Pebble panics on some kinds of damage.
func (e *Engine) openPebble() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", store.ErrCorrupt, r)
		}
	}()
	if !e.dir.new {
		end, err := checkLog(e.cfg.FS, e.cfg.Dir, e.dir.secret)
		if err != nil {
			return err
		}
		if end.lost > 0 {
			e.log.Warn("a crash has cut off more of the log than a record that was being written",
				"log", end.name, "from", end.at, "bytes", end.lost)
		}
	}
	e.db, err = pebble.Open(e.cfg.Dir, e.options())
	if err == nil {
		e.fs.open()
		if e.dir.new {
			err = e.beginLatest()
		}
	}
	if err != nil && !errors.Is(err, errFrozen) && (errors.Is(err, fs.ErrNotExist) || !fromFileSystem(err)) {
		err = fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return err
}

// beginLatest starts another log. Pebble starts the log of a new database
// before it knows that the latest format is wanted, and only in that format can
// damage be distinguished from a torn tail.
func (e *Engine) beginLatest() error {
	flushed, err := e.db.AsyncFlush()
	if err != nil {
		e.fs.thaw()
		return errors.Join(err, e.db.Close())
	}
	select {
	case <-flushed:
	case <-e.fs.broken: // it never will be; open returns the error
	}
	return nil
}

// fromFileSystem reports whether the error is an error of the file system.
// Pebble marks only some other errors as corruption.
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
		Lock:               e.dir.pebble,
		FormatMajorVersion: format,
		Cache:              e.cache,
		MemTableSize:       e.cfg.Memtable,
		// The temporary space of a compaction must fit into the reserve.
		LBaseMaxBytes: int64(max(4*e.cfg.Memtable, 2<<20)),
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
			WALCreated: func(info pebble.WALCreateInfo) {
				e.logs.created(info)
				rotated()
			},
			WALDeleted: e.logs.deleted,
			FlushEnd:   func(pebble.FlushInfo) { rotated() },
		},
	}
	opts.TargetFileSizes[0] = int64(max(e.cfg.Memtable/8, 128<<10))
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	return opts
}

// resolve returns the canonical name of a directory, which is used to lock it.
func resolve(fsys vfs.FS, dir string) (string, error) {
	if dir == "" {
		return "", errors.New("dog: no data directory")
	}
	if !isOS(fsys) {
		return fsys.PathJoin(dir), nil
	}
	return osfile.Resolve(dir)
}

// A madeDir is a directory created by makeDir.
type madeDir struct {
	name string
	info fs.FileInfo // its identity; nil if the file system has none
}

// makeDir durably creates a directory and its parents. It returns the
// directories that it has created, parents first, even if it fails.
func makeDir(fsys vfs.FS, dir string) (made []madeDir, err error) {
	if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	parent := fsys.PathDir(dir)
	if made, err = makeDir(fsys, parent); err != nil {
		return made, err
	}
	if err := fsys.MkdirAll(dir, osfile.DirMode); err != nil {
		return made, err
	}
	created := madeDir{name: dir}
	if isOS(fsys) {
		if created.info, err = os.Lstat(dir); err != nil {
			return made, err
		}
	}
	return append(made, created), syncDir(fsys, parent)
}

// unmakeDir removes the directories created by makeDir, up to the first that is
// not empty or has been replaced.
func unmakeDir(fsys vfs.FS, made []madeDir) error {
	for _, dir := range slices.Backward(made) {
		names, err := fsys.List(dir.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || len(names) > 0 {
			return err
		}
		if isOS(fsys) {
			found, missing := os.Lstat(dir.name)
			if missing != nil || !os.SameFile(found, dir.info) {
				return nil
			}
			err = osfile.Rmdir(dir.name)
		} else {
			err = fsys.Remove(dir.name)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) { // not empty
			return err
		}
	}
	return nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockError distinguishes a lock that is held from one that cannot be acquired
// at all.
func lockError(err error) error {
	var file *fs.PathError
	var number syscall.Errno
	if errors.As(err, &file) {
		return err
	}
	if runtime.GOOS != "windows" && errors.As(err, &number) && number != syscall.EAGAIN && number != syscall.EACCES {
		return err // for example because the file system has no locks
	}
	return fmt.Errorf("%w: %w", store.ErrLocked, err)
}

// readError converts an error of a read to an error of the store.
func readError(err error) error {
	if err != nil && pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return err
}

// A logger receives Pebble's log messages.
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

// Fatalf is expected to end the process. Freezing protects the data on disk
// equally well.
func (l logger) Fatalf(format string, args ...any) { l.fs.fail(fmt.Errorf(format, args...)) }
