package pebblekv_test

import "io/fs"

func blocks(info fs.FileInfo) uint64 { return uint64(info.Size()) }
