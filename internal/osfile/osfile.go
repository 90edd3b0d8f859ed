// Package osfile creates, places and removes files of the operating system
// without touching files of others.
//
// It does not know what the files hold.
package osfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// StoreMarker is the name of the file that marks a directory as a store.
const StoreMarker = "dog.store"

// Permissions of files and directories created by the library, regardless of
// the umask.
const (
	FileMode fs.FileMode = 0o600
	DirMode  fs.FileMode = 0o700
)

var errUnsupported = errors.New("not supported")

// RenameNew renames a file or a directory, in one step that fails with
// [fs.ErrExist] if newname exists. After a crash, one of the names exists. If
// the file system does not support this operation, both names of a file may
// exist after a crash. If it does not support links either, RenameNew first
// creates an empty file with the new name, which may remain after a crash, and
// replaces an empty directory that someone else creates with the new name at
// the same time.
func RenameNew(oldname, newname string) error {
	if err := Step(OpRename, newname); err != nil {
		return err
	}
	err := renameNew(oldname, newname)
	if errors.Is(err, errUnsupported) {
		return renameOtherwise(oldname, newname)
	}
	return err
}

// renameOtherwise is RenameNew for file systems that do not support it.
func renameOtherwise(oldname, newname string) error {
	info, err := os.Lstat(oldname)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return renameDir(oldname, newname)
	}
	if err := link(oldname, newname); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return renameClaimed(oldname, newname)
}

// renameDir renames a directory that is not empty. Only one of several callers
// succeeds, because a directory that is not empty cannot be replaced.
func renameDir(oldname, newname string) error {
	_, err := os.Lstat(newname)
	if errors.Is(err, fs.ErrNotExist) {
		if err = replace(oldname, newname); err == nil {
			return nil
		}
	}
	if _, there := os.Lstat(newname); there == nil { // it was created in the meantime
		err = fs.ErrExist
	}
	return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
}

// link renames a file by adding the new name and then removing the old one.
func link(oldname, newname string) error {
	if err := os.Link(oldname, newname); err != nil {
		return err
	}
	if err := remove(oldname); err != nil {
		return errors.Join(err, os.Remove(newname))
	}
	return nil
}

func renameClaimed(oldname, newname string) error {
	f, err := os.OpenFile(newname, os.O_CREATE|os.O_EXCL|os.O_WRONLY, FileMode)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Close(), replace(oldname, newname)); err != nil {
		return errors.Join(&os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}, os.Remove(newname))
	}
	return nil
}

// Create creates an empty file that other users cannot access. It fails if the
// file exists.
func Create(name string) (*File, error) {
	if err := Step(OpCreate, name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, FileMode)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(FileMode); err != nil { // the umask may have removed permissions of the owner
		return nil, errors.Join(err, f.Close(), os.Remove(name))
	}
	return &File{f}, nil
}

// Mkdir creates a directory that other users cannot access.
func Mkdir(name string) error {
	if err := Step(OpMkdir, name); err != nil {
		return err
	}
	if err := os.Mkdir(name, DirMode); err != nil {
		return err
	}
	if err := os.Chmod(name, DirMode); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// Rmdir removes an empty directory. It does not remove anything else with that
// name. If the directory is not empty, the error is [fs.ErrExist].
func Rmdir(name string) error {
	if err := Step(OpRemove, name); err != nil {
		return err
	}
	if err := rmdir(name); err != nil {
		return &fs.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}

// SyncDir makes the entries of a directory durable.
func SyncDir(name string) (err error) {
	if err := Step(OpSyncDir, name); err != nil {
		return err
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return syncDir(d)
}

// Target returns the name, free of symbolic links, of a file or directory to be
// created. The error is [fs.ErrExist] if it exists, and [fs.ErrInvalid] if it
// would be in the directory of a store, even by way of links.
func Target(name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("%w: no name", fs.ErrInvalid)
	}
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	parent, err := Resolve(filepath.Dir(name))
	if err != nil {
		return "", err
	}
	name = filepath.Join(parent, filepath.Base(name))
	if _, err := os.Lstat(name); err == nil {
		return "", &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for dir := parent; ; dir = filepath.Dir(dir) {
		if info, err := os.Lstat(filepath.Join(dir, StoreMarker)); err == nil && info.Mode().IsRegular() {
			return "", fmt.Errorf("%w: %s lies in %s, which is the directory of a store", fs.ErrInvalid, name, dir)
		}
		if dir == filepath.Dir(dir) {
			return name, nil
		}
	}
}

// Resolve returns the absolute name without symbolic links. The last elements
// of the name need not exist.
func Resolve(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	if _, found := os.Lstat(name); found == nil {
		return "", err // a dangling link
	}
	parent := filepath.Dir(name)
	if parent == name {
		return "", err
	}
	if parent, err = Resolve(parent); err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(name)), nil
}
