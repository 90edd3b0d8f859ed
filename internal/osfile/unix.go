//go:build !windows

package osfile

import (
	"os"
	"syscall"
)

func syncDir(d *os.File) error { return d.Sync() }

func rmdir(name string) error { return syscall.Rmdir(name) }

// replace renames over a file or an empty directory, unlike os.Rename.
func replace(oldname, newname string) error { return syscall.Rename(oldname, newname) }

// private reports whether a directory belongs to this user and is not
// accessible to others.
func private(dir os.FileInfo) bool {
	stat, ok := dir.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && dir.Mode().Perm() == DirMode
}
