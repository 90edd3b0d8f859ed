package pebblekv

import "io/fs"

// allocated returns the disk space used by a file.
func allocated(info fs.FileInfo) uint64 { return uint64(info.Size()) }
