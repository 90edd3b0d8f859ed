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

// maxPiece is what the kernel gives the reader of a Unix socket, or puts
// together for that of a TCP connection, as one piece: it takes it for held
// until all of it has been read.
const maxPiece = 64 << 10

// look returns what the kernel says. It does not wait.
func look(raw syscall.RawConn) sight {
	s := sight{unacked: unacked(raw)}
	var info tcpInfo
	if !info.read(raw) {
		s.unread = min(s.unacked, maxPiece)
		return s
	}
	s.window = info.window()
	if s.unacked > 0 && (info.packets() == 0 || s.window == 0) { // else it is not for want of room that it waits
		s.unread = int(min(info.acked(), maxUnread))
	}
	return s
}

// tcpInfo is struct tcp_info. What an old kernel does not say is 0.
type tcpInfo [232]byte

// packets returns how many segments have been sent and not acknowledged.
func (i *tcpInfo) packets() uint32 { return binary.NativeEndian.Uint32(i[24:]) }

// acked returns how many bytes the peer has acknowledged since the beginning.
func (i *tcpInfo) acked() uint64 { return binary.NativeEndian.Uint64(i[120:]) }

// window returns how much the peer offers to take besides; since Linux 5.4.
func (i *tcpInfo) window() uint32 { return binary.NativeEndian.Uint32(i[228:]) }
