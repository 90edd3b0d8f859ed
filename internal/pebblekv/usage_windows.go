package pebblekv

import "io/fs"

// allocated returns what a file takes on the disk.
func allocated(info fs.FileInfo) uint64 { return uint64(info.Size()) }
