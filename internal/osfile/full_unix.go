//go:build !windows

package osfile

import (
	"errors"
	"syscall"
)

// IsFull reports whether a change failed for lack of space.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
