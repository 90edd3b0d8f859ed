//go:build linux && (386 || s390x)

package conn

import "syscall"

func send(fd int, p []byte) (int, error)    { return syscall.Write(fd, p) }
func receive(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

func (*tcpInfo) read(syscall.RawConn) bool { return false }
