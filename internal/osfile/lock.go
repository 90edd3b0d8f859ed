package osfile

import (
	"errors"
	"os"
)

// ErrLocked says that somebody else has the lock.
var ErrLocked = errors.New("locked")

// lockFile is lock, for tests to replace.
var lockFile = lock

// Lock locks a directory for as long as the result is open. The lock belongs
// to the open directory: nothing that this process or another one opens,
// closes or removes in it takes the lock away. Error: [ErrLocked]. Where the
// platform or the file system has no such locks the result is open all the
// same.
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
