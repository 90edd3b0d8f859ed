package pebblekv

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog/internal/osfile"
)

// private is the file system of the operating system. Files and directories
// that it creates are not accessible to other users, regardless of the umask.
type private struct{ vfs.FS }

// isOS reports whether a file system is that of the operating system.
func isOS(fsys vfs.FS) bool { return vfs.Root(fsys) == vfs.Default }

// Create implements vfs.FS. It removes an existing file with the name.
func (p private) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	for {
		err := create(name)
		if err == nil {
			return p.FS.OpenReadWrite(name, category)
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

func create(name string) error {
	f, err := osfile.Create(name)
	if err != nil {
		return err
	}
	return f.Close()
}

// OpenReadWrite implements vfs.FS.
func (p private) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := create(name); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return p.FS.OpenReadWrite(name, category, opts...)
}

// Lock implements vfs.FS. Pebble truncates the file that it locks.
func (p private) Lock(name string) (io.Closer, error) {
	err := create(name)
	if errors.Is(err, fs.ErrExist) {
		var info fs.FileInfo
		if info, err = os.Lstat(name); err == nil && !info.Mode().IsRegular() {
			err = &fs.PathError{Op: "lock", Path: name, Err: errors.New("not a regular file")}
		}
	}
	if err != nil {
		return nil, err
	}
	return p.FS.Lock(name)
}

// MkdirAll implements vfs.FS.
func (p private) MkdirAll(dir string, _ os.FileMode) error {
	if info, err := os.Stat(dir); err == nil {
		if info.IsDir() {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("not a directory")}
	}
	if parent := p.PathDir(dir); parent != dir {
		if err := p.MkdirAll(parent, osfile.DirMode); err != nil {
			return err
		}
	}
	err := osfile.Mkdir(dir)
	if errors.Is(err, fs.ErrExist) { // it was created concurrently, or a link is dangling
		info, found := os.Stat(dir)
		if found == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

// Unwrap implements vfs.FS.
func (p private) Unwrap() vfs.FS { return p.FS }
