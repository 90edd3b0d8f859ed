//go:build !windows

package pebblekv

import (
	"errors"
	"syscall"
)

// isFull reports whether a write failed for lack of space.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
