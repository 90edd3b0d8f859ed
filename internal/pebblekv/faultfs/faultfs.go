// Package faultfs is a file system in memory that crashes and fails on request,
// for tests of the store. It can also watch the changes of another file system.
//
// It does not know which files a store has.
package faultfs

import (
	"io"
	"math/rand/v2"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Op is a set of kinds of changes.
type Op uint

// The kinds of changes.
const (
	Create  Op = 1 << iota // and opening for writing
	Write                  // and making a file longer
	Sync                   // of a file
	SyncDir                // of a directory
	Rename
	Remove
	Link
	MakeDir

	All = MakeDir<<1 - 1
)

// FS is the file system. It is safe for concurrent use. Use [New].
type FS struct {
	vfs.FS            // fixed
	mem    *vfs.MemFS // fixed; the same, or nil

	mu    sync.Mutex
	count map[Op]int // guarded by mu: changes so far
	fail  Op         // guarded by mu: the kinds of changes of which one fails
	after int        // guarded by mu: how many of them succeed before
	err   error      // guarded by mu: the error of the failure
	watch func(Op, string)

	volume volume
}

// New returns an empty file system.
func New() *FS { return wrap(vfs.NewCrashableMem()) }

// Over returns the file system fs, whose changes are watched, and fail, as
// those of one in memory. It cannot Crash, and has the free bytes of fs.
func Over(fs vfs.FS) *FS { return &FS{FS: fs, count: map[Op]int{}} }

func wrap(mem *vfs.MemFS) *FS { return &FS{FS: mem, mem: mem, count: map[Op]int{}} }

// Crash returns a file system with the contents of the disk after a power cut
// at this moment: all synced data, and of the rest each block and directory
// entry with a probability of so many percent.
func (f *FS) Crash(percent int, seed uint64) *FS {
	return wrap(f.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 0))}))
}

// Fail makes the n-th change of these kinds from now on, counted from 1, fail
// with err, and none after it. A failing Write writes half of its data. Only
// the latest call counts. An n of 0 cancels it.
func (f *FS) Fail(ops Op, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.after, f.err = ops, n, err
}

// Watch sets a function that is called before every change, and in the middle
// of every write. It must be called before the file system is used. Several
// goroutines may call the function at once. It may call Crash.
func (f *FS) Watch(watch func(op Op, name string)) { f.watch = watch }

// Count returns the number of changes of these kinds so far.
func (f *FS) Count(ops Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for op, count := range f.count {
		if ops&op != 0 {
			n += count
		}
	}
	return n
}

// SetFree sets the number of free bytes that GetDiskUsage reports. Before the
// first call it reports an error.
func (f *FS) SetFree(bytes uint64) {
	f.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes, TotalBytes: 1 << 40, UsedBytes: 1<<40 - bytes})
}

// begin counts a change and returns the error it is to fail with.
func (f *FS) begin(op Op, name string) error {
	if f.watch != nil {
		f.watch(op, name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[op]++
	if f.fail&op == 0 || f.after == 0 {
		return nil
	}
	if f.after--; f.after > 0 {
		return nil
	}
	return &os.PathError{Op: "change", Path: name, Err: f.err}
}

func (f *FS) open(op Op, name string, open func() (vfs.File, error)) (vfs.File, error) {
	if err := f.begin(op, name); err != nil {
		return nil, err
	}
	opened, err := open()
	if err != nil {
		return nil, err
	}
	return &file{File: opened, fs: f, name: name, sync: Sync}, nil
}

// Create implements vfs.FS.
func (f *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(Create, name, func() (vfs.File, error) {
		f.volume.create(name)
		return f.FS.Create(name, category)
	})
}

// OpenReadWrite implements vfs.FS.
func (f *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.open(Create, name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, category, opts...) })
}

// ReuseForWrite implements vfs.FS.
func (f *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(Rename, newname, func() (vfs.File, error) {
		opened, err := f.FS.ReuseForWrite(oldname, newname, category)
		if err == nil {
			f.volume.rename(oldname, newname)
		}
		return opened, err
	})
}

// OpenDir implements vfs.FS.
func (f *FS) OpenDir(name string) (vfs.File, error) {
	opened, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &file{File: opened, fs: f, name: name, sync: SyncDir}, nil
}

// Link implements vfs.FS.
func (f *FS) Link(oldname, newname string) error {
	if err := f.begin(Link, newname); err != nil {
		return err
	}
	err := f.FS.Link(oldname, newname)
	if err == nil {
		f.volume.link(oldname, newname)
	}
	return err
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	if err := f.begin(Remove, name); err != nil {
		return err
	}
	err := f.FS.Remove(name)
	if err == nil {
		f.volume.remove(name)
	}
	return err
}

// RemoveAll implements vfs.FS.
func (f *FS) RemoveAll(name string) error {
	if err := f.begin(Remove, name); err != nil {
		return err
	}
	err := f.FS.RemoveAll(name)
	if err == nil {
		f.volume.removeAll(name)
	}
	return err
}

// Rename implements vfs.FS.
func (f *FS) Rename(oldname, newname string) error {
	if err := f.begin(Rename, newname); err != nil {
		return err
	}
	err := f.FS.Rename(oldname, newname)
	if err == nil {
		f.volume.rename(oldname, newname)
	}
	return err
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(dir string, perm os.FileMode) error {
	if err := f.begin(MakeDir, dir); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir, perm)
}

// Lock implements vfs.FS.
func (f *FS) Lock(name string) (io.Closer, error) { return f.FS.Lock(name) }

// Unwrap implements vfs.FS.
func (f *FS) Unwrap() vfs.FS { return f.FS }

// A file is a file that may be changed, or a directory.
type file struct {
	vfs.File        // fixed
	fs       *FS    // fixed
	name     string // fixed
	sync     Op     // fixed: the kind of its syncs

	written int64 // owned by the writer
}

func (f *file) Write(p []byte) (int, error) {
	half := len(p) / 2
	if err := f.fs.begin(Write, f.name); err != nil {
		return f.write(p[:half], err)
	}
	if has, err := f.fs.volume.grow(f.name, uint64(f.written)+uint64(len(p)), true); err != nil {
		return f.write(p[:max(0, int64(has)-f.written)], err)
	}
	if f.fs.watch == nil {
		return f.write(p, nil)
	}
	n, err := f.write(p[:half], nil)
	if err != nil {
		return n, err
	}
	f.fs.watch(Write, f.name)
	m, err := f.write(p[half:], nil)
	return n + m, err
}

// write writes p. It returns its error, or failed if there is none.
func (f *file) write(p []byte, failed error) (int, error) {
	n, err := f.File.Write(p)
	f.written += int64(n)
	if err == nil {
		err = failed
	}
	return n, err
}

// Preallocate implements vfs.File.
func (f *file) Preallocate(offset, length int64) error {
	_, err := f.fs.volume.grow(f.name, uint64(offset+length), false)
	return err
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.begin(Write, f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *file) Sync() error {
	if err := f.fs.begin(f.sync, f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *file) SyncData() error {
	if err := f.fs.begin(f.sync, f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}

// SyncTo promises nothing, so a crash may lose the data.
func (f *file) SyncTo(int64) (bool, error) {
	return false, f.fs.begin(f.sync, f.name)
}
