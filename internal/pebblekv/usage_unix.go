//go:build !windows

package pebblekv

import (
	"io/fs"
	"syscall"
)

// allocated returns what a file takes on the disk, which is more than its size
// where space was allocated ahead. Of a file in memory that is its size.
func allocated(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Blocks) * 512
	}
	return uint64(info.Size())
}
