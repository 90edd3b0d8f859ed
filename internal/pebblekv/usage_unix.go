//go:build !windows

package pebblekv

import (
	"io/fs"
	"syscall"
)

// allocated returns the disk space used by a file, which is more than its size
// if space was allocated ahead. For a file in memory it is the size.
func allocated(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Blocks) * 512
	}
	return uint64(info.Size())
}
