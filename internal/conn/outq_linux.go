package conn

import (
	"encoding/binary"
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

// sndWnd is where tcpi_snd_wnd is in struct tcp_info, since Linux 5.4.
const sndWnd = 228

// window returns how much the peer of a TCP connection offers to take besides
// what it has acknowledged; 0 where the kernel does not say. It does not wait.
func window(raw syscall.RawConn) (n uint32) {
	_ = raw.Control(func(fd uintptr) {
		var info [sndWnd + 4]byte
		size := uint32(len(info))
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 && size == uint32(len(info)) {
			n = binary.NativeEndian.Uint32(info[sndWnd:])
		}
	})
	return n
}
