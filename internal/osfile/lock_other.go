//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package osfile

import "os"

func lock(*os.File) error { return errUnsupported }
