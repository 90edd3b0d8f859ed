package osfile

import (
	"errors"
	"syscall"
)

// The equivalents of ENOSPC on Windows: ERROR_HANDLE_DISK_FULL and
// ERROR_DISK_FULL.
const (
	handleDiskFull syscall.Errno = 39
	diskFull       syscall.Errno = 112
)

// IsFull reports whether a change failed for lack of space.
func IsFull(err error) bool { return errors.Is(err, handleDiskFull) || errors.Is(err, diskFull) }
