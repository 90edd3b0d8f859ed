package sqlite

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/godurable/dog/internal/osfile"
)

// osFiles is the file system of the operating system for the files of one
// connection. SQLite reports little about a failed change, and nothing at all
// if it does something else before it reports. So osFiles keeps the first such
// error. It announces changes with [osfile.Step]. It is owned by its
// connection.
type osFiles struct {
	vfs.VFSFilename        // fixed
	name            string // fixed
	err             error
}

// osFiles returns a new osFiles, which must be closed after its connection.
func (p *Pool) osFiles() *osFiles {
	p.mu.Lock()
	p.next++
	fs := &osFiles{
		VFSFilename: vfs.Find("os").(vfs.VFSFilename),
		name:        p.name + "-" + strconv.FormatUint(p.next, 10),
	}
	p.mu.Unlock()
	vfs.Register(fs.name, fs)
	return fs
}

func (fs *osFiles) close() { vfs.Unregister(fs.name) }

// escape escapes absolute file names for SQLite URIs.
var escape = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23")

// open opens a database by the absolute name of its file.
func (fs *osFiles) open(file string, flags sqlite3.OpenFlag) (*sqlite3.Conn, error) {
	return sqlite3.OpenFlags("file:"+escape.Replace(file)+"?vfs="+fs.name, flags|sqlite3.OPEN_URI)
}

// explain adds the first failed change to an error of SQLite.
func (fs *osFiles) explain(err error) error {
	if err != nil && fs.err != nil && !errors.Is(err, fs.err) {
		return fmt.Errorf("%w: %w", err, fs.err)
	}
	return err
}

// change makes a change and records its error.
func (fs *osFiles) change(op osfile.Op, name string, make func() error) error {
	err := osfile.Step(op, name)
	if err == nil {
		err = make()
	}
	if err != nil && fs.err == nil {
		fs.err = err
	}
	return err
}

// OpenFilename implements [vfs.VFSFilename].
func (fs *osFiles) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (f vfs.File, out vfs.OpenFlag, err error) {
	open := func() error {
		f, out, err = fs.VFSFilename.OpenFilename(name, flags)
		return err
	}
	if flags&vfs.OPEN_CREATE != 0 {
		err = fs.change(osfile.OpCreate, name.String(), open)
	} else {
		err = open()
	}
	if err != nil {
		return nil, flags, err
	}
	return &osFile{f, fs, name.String()}, out, nil
}

// Delete implements [vfs.VFS].
func (fs *osFiles) Delete(name string, syncDir bool) error {
	if err := osfile.Step(osfile.OpRemove, name); err != nil {
		return err
	}
	return fs.VFSFilename.Delete(name, syncDir)
}

// An osFile is a file of an osFiles.
type osFile struct {
	vfs.File
	fs   *osFiles
	name string
}

func (f *osFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.fs.change(osfile.OpWrite, f.name, func() error {
		n, err = f.File.WriteAt(b, off)
		return err
	})
	return n, err
}

func (f *osFile) Truncate(size int64) error {
	return f.fs.change(osfile.OpWrite, f.name, func() error { return f.File.Truncate(size) })
}

func (f *osFile) Sync(flags vfs.SyncFlag) error {
	return f.fs.change(osfile.OpSync, f.name, func() error { return f.File.Sync(flags) })
}

// SharedMemory implements [vfs.FileSharedMemory].
func (f *osFile) SharedMemory() vfs.SharedMemory {
	if shared, ok := f.File.(vfs.FileSharedMemory); ok {
		return shared.SharedMemory()
	}
	return nil
}
