package pebblekv

import (
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A watched file system records when it has last made progress. Other
// operations that go directly to the operating system are short.
type watched struct {
	vfs.FS              // fixed
	start  time.Time    // fixed
	moved  atomic.Int64 // when it last made progress, relative to start
	ended  atomic.Bool  // progress is no longer of interest
}

func watch(fsys vfs.FS) *watched { return &watched{FS: fsys, start: time.Now()} }

// move records progress.
func (w *watched) move() {
	if !w.ended.Load() {
		w.moved.Store(int64(time.Since(w.start)))
	}
}

// openPatience is how long opening waits without progress. Tests shorten it.
var openPatience time.Duration = patience

// await returns the value received from done. It returns errStalled if there
// has been no progress for openPatience, or the error of refused if that is not
// nil after this time.
func (w *watched) await(done <-chan error, refused func() error) error {
	w.ended.Store(false)
	defer w.ended.Store(true)
	w.move()
	for left := openPatience; left > 0; left = openPatience - (time.Since(w.start) - time.Duration(w.moved.Load())) {
		select {
		case err := <-done:
			return err
		case <-time.After(left):
		}
		if err := refused(); err != nil {
			return err
		}
	}
	return errStalled
}

func (w *watched) file(f vfs.File, err error) (vfs.File, error) {
	w.move()
	if err != nil {
		return f, err
	}
	return &watchedFile{f, w}, nil
}

func (w *watched) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return w.file(w.FS.Create(name, category))
}

func (w *watched) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return w.file(w.FS.Open(name, opts...))
}

func (w *watched) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return w.file(w.FS.OpenReadWrite(name, category, opts...))
}

func (w *watched) OpenDir(name string) (vfs.File, error) { return w.file(w.FS.OpenDir(name)) }

func (w *watched) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return w.file(w.FS.ReuseForWrite(oldname, newname, category))
}

func (w *watched) Link(oldname, newname string) error {
	defer w.move()
	return w.FS.Link(oldname, newname)
}

func (w *watched) Remove(name string) error {
	defer w.move()
	return w.FS.Remove(name)
}

func (w *watched) RemoveAll(name string) error {
	defer w.move()
	return w.FS.RemoveAll(name)
}

func (w *watched) Rename(oldname, newname string) error {
	defer w.move()
	return w.FS.Rename(oldname, newname)
}

func (w *watched) MkdirAll(dir string, perm os.FileMode) error {
	defer w.move()
	return w.FS.MkdirAll(dir, perm)
}

func (w *watched) Lock(name string) (io.Closer, error) {
	defer w.move()
	return w.FS.Lock(name)
}

func (w *watched) List(dir string) ([]string, error) {
	defer w.move()
	return w.FS.List(dir)
}

func (w *watched) Stat(name string) (vfs.FileInfo, error) {
	defer w.move()
	return w.FS.Stat(name)
}

func (w *watched) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	defer w.move()
	return w.FS.GetDiskUsage(path)
}

func (w *watched) Unwrap() vfs.FS { return w.FS }

// A watchedFile is a file of a watched file system.
type watchedFile struct {
	vfs.File          // fixed
	fs       *watched // fixed
}

func (f *watchedFile) Read(p []byte) (int, error) {
	defer f.fs.move()
	return f.File.Read(p)
}

func (f *watchedFile) ReadAt(p []byte, off int64) (int, error) {
	defer f.fs.move()
	return f.File.ReadAt(p, off)
}

func (f *watchedFile) Write(p []byte) (int, error) {
	defer f.fs.move()
	return f.File.Write(p)
}

func (f *watchedFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.fs.move()
	return f.File.WriteAt(p, off)
}

func (f *watchedFile) Sync() error {
	defer f.fs.move()
	return f.File.Sync()
}

func (f *watchedFile) SyncData() error {
	defer f.fs.move()
	return f.File.SyncData()
}

func (f *watchedFile) SyncTo(length int64) (bool, error) {
	defer f.fs.move()
	return f.File.SyncTo(length)
}

func (f *watchedFile) Preallocate(offset, length int64) error {
	defer f.fs.move()
	return f.File.Preallocate(offset, length)
}

func (f *watchedFile) Close() error {
	defer f.fs.move()
	return f.File.Close()
}
