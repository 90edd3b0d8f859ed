//go:build !linux

package conn

import (
	"errors"
	"net"
)

// direct is a connection that is read and written without blocking. It exists
// only on Linux.
type direct struct{}

type directWrite struct{}

func directly(net.Conn) direct { return direct{} }

func (direct) ok() bool { return false }

func (direct) unacked() int { return 0 }

func (direct) write(*directWrite, []byte) (int, error) { return 0, errors.ErrUnsupported }

func (direct) read(func(fd uintptr) bool) error { return errors.ErrUnsupported }

func (direct) drain() {}

func readNow(uintptr, []byte) (n int, none bool, err error) { return 0, false, errors.ErrUnsupported }
