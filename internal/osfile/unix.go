//go:build !windows

package osfile

import (
	"os"
	"syscall"
)

func syncDir(d *os.File) error { return d.Sync() }

func rmdir(name string) error { return syscall.Rmdir(name) }

// replace renames over a file or an empty directory, which os.Rename would not
// do.
func replace(oldname, newname string) error { return syscall.Rename(oldname, newname) }
