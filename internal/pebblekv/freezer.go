package pebblekv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog/internal/osfile"
	"github.com/godurable/dog/internal/store"
)

// A freezer is a file system that stops changing the guarded directory once a
// change there has failed. So the disk contains what a crash at that moment
// could have left, and the store recovers from it as from a crash.
//
// Pebble must not notice the failure, because a failed write of its log or
// manifest ends the process. So all its changes appear to succeed, except those
// of tables, from which it would later read garbage. It retries a failed table
// indefinitely. To keep it from spinning, creating a table blocks until the
// freezer is thawed, that is, until the store is closed. While Pebble opens the
// database, it does not return until it has its tables, so tables that it
// creates after a failure are in memory.
//
// A change that finds no space on the disk has not failed: it waits, see
// shortage.
//
// Failed reads do not count as failures. Neither do failures outside the
// directory, where backups go.
type freezer struct {
	vfs.FS        // fixed
	dir    string // fixed
	ahead  uint64 // fixed: number of bytes to allocate ahead for a log

	mu     sync.Mutex
	cause  error         // guarded by mu: the first failure
	failed func(error)   // guarded by mu: called with cause
	frozen atomic.Bool   // whether cause is set
	broken chan struct{} // closed when cause is set

	shortage

	check  atomic.Pointer[func() error] // checks that the directory is still there
	backup atomic.Pointer[func() error] // returns why the current backup is no longer wanted

	opened atomic.Bool   // whether the database has been opened; set under mu
	late   []string      // guarded by mu: logs to be removed once it has been opened
	memory *vfs.MemFS    // fixed: tables created after a failure, before the database was opened
	thawed chan struct{} // closed by thaw
}

var errFrozen = errors.New("dog: the store has failed earlier")

func newFreezer(fsys vfs.FS, dir string, ahead uint64) *freezer {
	return &freezer{
		FS: fsys, dir: dir, ahead: ahead, memory: vfs.NewMem(),
		broken: make(chan struct{}), thawed: make(chan struct{}), shortage: shortage{hopeless: make(chan struct{})},
	}
}

// open records that the database has been opened, and removes the logs that
// Pebble has removed before that.
func (z *freezer) open() {
	z.mu.Lock()
	late := z.late
	z.late = nil
	z.opened.Store(true)
	z.mu.Unlock()
	for _, name := range late {
		_ = z.Remove(name) // on error, the freezer knows of the failure, and the next start removes it
	}
}

// postpones reports whether the removal of a file is left to open. While Pebble
// opens the database, it may remove its old logs before it has created the new
// one. After a crash in between, the store would have no log at all, like a
// store whose log somebody has deleted.
func (z *freezer) postpones(name string) bool {
	if z.opened.Load() || !z.guards(name) || !logName.MatchString(z.PathBase(name)) {
		return false
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.opened.Load() {
		return false
	}
	z.late = append(z.late, name)
	return true
}

// onFailure sets failed to be called when something fails. If something has
// failed already, it is called at once.
func (z *freezer) onFailure(failed func(error)) {
	z.mu.Lock()
	z.failed = failed
	cause := z.cause
	z.mu.Unlock()
	if cause != nil {
		failed(cause)
	}
}

// watch sets check to be called before files are created, renamed or removed,
// and by look. An error of check is a failure: the names may then refer to
// files of others.
func (z *freezer) watch(check func() error) { z.check.Store(&check) }

// look fails the store if the directory is no longer there.
func (z *freezer) look() {
	if check := z.check.Load(); check != nil && !z.frozen.Load() {
		if err := (*check)(); err != nil {
			z.fail(err)
		}
	}
}

// thaw ends all waits. Still nothing is written.
func (z *freezer) thaw() { close(z.thawed) }

// err returns the first failure, or nil.
func (z *freezer) err() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.cause
}

// fail freezes the file system.
func (z *freezer) fail(err error) {
	err = asFull(err)
	z.mu.Lock()
	if z.cause != nil {
		z.mu.Unlock()
		return
	}
	z.cause = err
	z.frozen.Store(true)
	close(z.broken)
	failed := z.failed
	z.mu.Unlock()
	if failed != nil {
		failed(err)
	}
}

// asFull adds store.ErrFull to an error of a full disk.
func asFull(err error) error {
	if err != nil && osfile.IsFull(err) && !errors.Is(err, store.ErrFull) {
		return fmt.Errorf("%w: make room on the volume: %w", store.ErrFull, err)
	}
	return err
}

// change runs a change of the directory, unless frozen.
func (z *freezer) change(name string, run func() error) error {
	if !z.guards(name) {
		return run()
	}
	z.look()
	if z.frozen.Load() {
		return nil
	}
	err := z.persist(run)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	z.fail(err)
	return nil
}

// make runs a function that creates a file.
func (z *freezer) make(name string, run func() (vfs.File, error)) (vfs.File, error) {
	if !z.guards(name) {
		f, err := run()
		if unwanted := z.backup.Load(); err == nil && unwanted != nil {
			f = &copied{f, *unwanted}
		}
		return f, err
	}
	z.look()
	if !z.frozen.Load() {
		var f vfs.File
		err := z.persist(func() (err error) { f, err = run(); return err })
		if err == nil {
			return &guarded{File: f, freezer: z, table: isTable(name), log: strings.HasSuffix(name, ".log")}, nil
		}
		z.fail(err)
	}
	if isTable(name) {
		if !z.opened.Load() {
			return z.memory.Create(z.PathBase(name), vfs.WriteCategoryUnspecified)
		}
		<-z.thawed
		return nil, errFrozen
	}
	return nowhere{vfs.NewMemFile(nil)}, nil
}

// guards reports whether a file is in the directory.
func (z *freezer) guards(name string) bool {
	rest, found := strings.CutPrefix(name, z.dir)
	return found && (rest == "" || os.IsPathSeparator(rest[0]) || os.IsPathSeparator(z.dir[len(z.dir)-1]))
}

func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// Create ensures that after a crash a marker does not exist without the file to
// which it refers. Pebble syncs both directory entries at once, and a file
// system may write them in any order.
func (z *freezer) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if z.guards(name) && strings.HasPrefix(z.PathBase(name), "marker.") {
		if dir, err := z.OpenDir(z.dir); err != nil {
			z.fail(err)
		} else if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			return nil, err
		}
	}
	return z.make(name, func() (vfs.File, error) { return z.FS.Create(name, category) })
}

func (z *freezer) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return z.make(name, func() (vfs.File, error) { return z.FS.OpenReadWrite(name, category, opts...) })
}

// ReuseForWrite creates a new file if the old one has been removed to save
// space; see Engine.dropLogs.
func (z *freezer) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	var stale uint64
	f, err := z.make(newname, func() (vfs.File, error) {
		f, err := z.FS.ReuseForWrite(oldname, newname, category)
		if errors.Is(err, fs.ErrNotExist) {
			return z.FS.Create(newname, category)
		}
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		stale = uint64(info.Size())
		return f, nil
	})
	if g, ok := f.(*guarded); ok {
		g.stale = stale
	}
	return f, err
}

func (z *freezer) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := z.FS.Open(name, opts...)
	if err != nil && z.frozen.Load() && z.guards(name) && isTable(name) {
		return z.memory.Open(z.PathBase(name), opts...)
	}
	return f, err
}

func (z *freezer) OpenDir(name string) (vfs.File, error) {
	f, err := z.FS.OpenDir(name)
	if err != nil || !z.guards(name) {
		return f, err
	}
	return &guarded{File: f, freezer: z}, nil
}

func (z *freezer) Link(oldname, newname string) error {
	return z.change(newname, func() error { return z.FS.Link(oldname, newname) })
}

func (z *freezer) Remove(name string) error {
	if z.postpones(name) {
		return nil
	}
	return z.change(name, func() error { return z.FS.Remove(name) })
}

func (z *freezer) RemoveAll(name string) error {
	return z.change(name, func() error { return z.FS.RemoveAll(name) })
}

func (z *freezer) Rename(oldname, newname string) error {
	return z.change(newname, func() error { return z.FS.Rename(oldname, newname) })
}

func (z *freezer) MkdirAll(dir string, perm os.FileMode) error {
	return z.change(dir, func() error { return z.FS.MkdirAll(dir, perm) })
}

func (z *freezer) Unwrap() vfs.FS { return z.FS }
