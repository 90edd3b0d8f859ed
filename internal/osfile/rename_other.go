//go:build !(darwin || linux || windows)

package osfile

func renameNew(string, string) error { return errUnsupported }
