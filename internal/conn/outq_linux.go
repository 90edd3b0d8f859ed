package conn

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// seesKernel reports whether unacked works.
const seesKernel = true

// unacked returns the number of bytes that the kernel has accepted and the
// other end's kernel has not. It uses SIOCOUTQ, which has the same number as
// TIOCOUTQ on all architectures. It does not block.
func unacked(raw syscall.RawConn) int {
	var n int32
	_ = raw.Control(func(fd uintptr) { // a closed connection holds nothing
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	})
	return int(n)
}

// maxPiece is the largest piece that the kernel hands to the reader of a Unix
// socket, or assembles for the reader of a TCP connection. The kernel counts a
// piece as held until all of it has been read.
const maxPiece = 64 << 10

// piece returns how many bytes of what the kernel holds the peer may have read.
// It does not block.
func piece(raw syscall.RawConn) int {
	var info tcpInfo
	if info.read(raw) {
		return 0
	}
	return maxPiece
}

// look returns the state reported by the kernel. It does not block.
func look(raw syscall.RawConn) sight {
	s := sight{unacked: unacked(raw)}
	var info tcpInfo
	if !info.read(raw) {
		s.unread = min(s.unacked, maxPiece)
		return s
	}
	s.window = info.window()
	if s.unacked > 0 && (info.packets() == 0 || s.window == 0) { // otherwise it is not waiting for lack of room
		s.unread = int(min(info.acked(), maxUnread))
	}
	return s
}

// tcpInfo is struct tcp_info. Fields that an old kernel does not report are 0.
type tcpInfo [232]byte

// packets returns the number of segments sent and not yet acknowledged.
func (i *tcpInfo) packets() uint32 { return binary.NativeEndian.Uint32(i[24:]) }

// acked returns the number of bytes that the peer has acknowledged since the
// connection began.
func (i *tcpInfo) acked() uint64 { return binary.NativeEndian.Uint64(i[120:]) }

// window returns the number of further bytes that the peer offers to accept.
// Since Linux 5.4.
func (i *tcpInfo) window() uint32 { return binary.NativeEndian.Uint32(i[228:]) }
