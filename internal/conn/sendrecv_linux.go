//go:build linux && !386 && !s390x

package conn

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// send and receive do what write and read do on a socket, without what the kernel does for files in general: measured, up to a
// tenth of the cost of a short message. Package syscall has neither in a form that tells how much was sent. The platforms
// excluded above have no such system calls, nor the one that window needs.

func send(fd int, p []byte) (int, error) {
	const flags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL
	n, _, errno := syscall.Syscall6(syscall.SYS_SENDTO,
		uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func receive(fd int, p []byte) (int, error) {
	n, _, errno := syscall.Syscall6(syscall.SYS_RECVFROM,
		uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
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
