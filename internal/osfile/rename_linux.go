package osfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func renameNew(oldname, newname string) error {
	err := unix.Renameat2(unix.AT_FDCWD, oldname, unix.AT_FDCWD, newname, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return errUnsupported // by the file system, or by a kernel before 3.15
	}
	return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
}
