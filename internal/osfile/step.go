package osfile

import (
	"io"
	"os"
	"sync/atomic"
)

// An Op is a kind of change.
type Op string

// The kinds of changes.
const (
	OpMkdir   Op = "mkdir"
	OpCreate  Op = "create"
	OpWrite   Op = "write" // includes changes of a file's size
	OpSync    Op = "sync"
	OpSyncDir Op = "sync directory"
	OpRename  Op = "rename" // name is the new name
	OpRemove  Op = "remove"
)

var watcher atomic.Pointer[func(Op, string) error]

// Watch sets f to be called before every change made by this package or
// announced by [Step], until restore is called. If f returns an error, the
// change is not made and fails with that error. Watch is for tests of crashes
// and failures. There can be only one watcher at a time. f may be called from
// several goroutines.
func Watch(f func(op Op, name string) error) (restore func()) {
	watcher.Store(&f)
	return func() { watcher.Store(nil) }
}

// Step announces a change, and returns the error with which it must fail, or
// nil.
func Step(op Op, name string) error {
	if f := watcher.Load(); f != nil {
		return (*f)(op, name)
	}
	return nil
}

// A File is a file open for writing whose changes are announced. Its methods
// are those of [os.File].
type File struct{ f *os.File } // fixed

// Write implements [io.Writer].
func (f *File) Write(p []byte) (int, error) {
	if err := Step(OpWrite, f.f.Name()); err != nil {
		return 0, err
	}
	return f.f.Write(p)
}

// ReadFrom implements [io.ReaderFrom].
func (f *File) ReadFrom(r io.Reader) (int64, error) {
	if err := Step(OpWrite, f.f.Name()); err != nil {
		return 0, err
	}
	return f.f.ReadFrom(r)
}

// Sync makes the content durable.
func (f *File) Sync() error {
	if err := Step(OpSync, f.f.Name()); err != nil {
		return err
	}
	return f.f.Sync()
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// SyncFile makes the content of a file durable.
func SyncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := (&File{f}).Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func remove(name string) error {
	if err := Step(OpRemove, name); err != nil {
		return err
	}
	return os.Remove(name)
}
