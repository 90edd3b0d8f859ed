//go:build !windows

package pebblekv_test

import (
	"io/fs"
	"syscall"
)

// blocks returns the disk usage of a file, in bytes.
func blocks(info fs.FileInfo) uint64 { return uint64(info.Sys().(*syscall.Stat_t).Blocks) * 512 }
