package osfile

import (
	"errors"
	"os"
)

// ErrLocked means that the lock is held by another process, or elsewhere in
// this one.
var ErrLocked = errors.New("locked")

// lockFile is lock. Tests replace it.
var lockFile = lock

// Lock locks a directory until the returned file is closed. The lock belongs to
// the open directory: it is not affected by files in it that this or another
// process opens, closes or removes. The error is [ErrLocked] if the directory
// is already locked. If the platform or the file system does not support locks,
// Lock returns the open directory without a lock.
func Lock(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := lock(d); errors.Is(err, ErrLocked) {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}
