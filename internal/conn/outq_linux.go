package conn

import (
	"syscall"
	"unsafe"
)

// seesKernel says that unacked works.
const seesKernel = true

// unacked returns how many bytes the kernel holds that it has accepted and the
// other end's has not: SIOCOUTQ, which has the number of TIOCOUTQ everywhere.
// It does not wait.
func unacked(raw syscall.RawConn) int {
	var n int32
	_ = raw.Control(func(fd uintptr) { // a connection that is closed holds nothing
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	})
	return int(n)
}
