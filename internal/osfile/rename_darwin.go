package osfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func renameNew(oldname, newname string) error {
	err := unix.RenamexNp(oldname, newname, unix.RENAME_EXCL)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return errUnsupported // by the file system
	}
	return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
}
