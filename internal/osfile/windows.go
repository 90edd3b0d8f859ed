//go:build windows

package osfile

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

func renameNew(oldname, newname string) error {
	from, err := windows.UTF16PtrFromString(oldname)
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(newname)
	if err != nil {
		return err
	}
	if err := windows.MoveFileEx(from, to, 0); err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return nil
}

// syncDir does nothing: Windows writes directory entries by itself.
func syncDir(*os.File) error { return nil }

// lock locks an open file for as long as it is open.
func lock(f *os.File) error {
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return errors.Join(err, errUnsupported)
	}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}

func rmdir(name string) error {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	return windows.RemoveDirectory(path)
}

// replace renames over a file.
func replace(oldname, newname string) error { return os.Rename(oldname, newname) }

// private always returns true: directories for temporary files belong to a
// single user.
func private(os.FileInfo) bool { return true }
