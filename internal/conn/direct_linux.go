package conn

import (
	"net"
	"os"
	"syscall"
)

// direct is a bare TCP or Unix connection, read and written without waiting.
// Its methods are safe for concurrent use and with closing.
type direct struct{ raw syscall.RawConn }

// directly returns the direct form of a connection, whose ok is false where
// there is none.
func directly(nc net.Conn) direct {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn: // a wrapper may do more than these
		if raw, err := nc.(syscall.Conn).SyscallConn(); err == nil {
			return direct{raw}
		}
	}
	return direct{}
}

func (d direct) ok() bool { return d.raw != nil }

// unacked returns how many bytes the kernel holds that the other end's does not
// have yet.
func (d direct) unacked() int { return unacked(d.raw) }

// directWrite is the state of a write. It is reused because a function for
// RawConn would be allocated each time.
type directWrite struct {
	p   []byte
	n   int
	err error
	f   func(fd uintptr) bool
}

// write writes as much of p as the kernel takes at once. A deadline that has
// passed counts as a kernel that takes nothing.
func (d direct) write(w *directWrite, p []byte) (int, error) {
	if w.f == nil {
		w.f = w.attempt
	}
	w.p, w.n, w.err = p, 0, nil
	err := d.raw.Write(w.f)
	w.p = nil
	if w.err != nil {
		return w.n, os.NewSyscallError("sendto", w.err)
	}
	if os.IsTimeout(err) {
		err = nil
	}
	return w.n, err
}

func (w *directWrite) attempt(fd uintptr) bool {
	for w.n < len(w.p) {
		n, err := send(int(fd), w.p[w.n:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			w.err = err
			return true
		default:
			if w.n += n; w.n < len(w.p) {
				return true // the kernel's buffer is full: asking again would say so
			}
		}
	}
	return true
}

// read calls f when something may be there to read, at once and then again
// until it returns true.
func (d direct) read(f func(fd uintptr) bool) error { return d.raw.Read(f) }

// drain throws away what lies there unread, whatever the deadline, up to what a
// kernel usually holds.
func (d direct) drain() {
	if !d.ok() {
		return
	}
	buf := readBuffers.Get().(*[readBuffer]byte)
	defer readBuffers.Put(buf)
	_ = d.raw.Control(func(fd uintptr) {
		for range maxUnread / readBuffer {
			if n, _, err := readNow(fd, buf[:]); n == 0 || err != nil {
				return
			}
		}
	})
}

// readNow reads what there is. none means that nothing is; n is 0 without an
// error at the end of the stream.
func readNow(fd uintptr, p []byte) (n int, none bool, err error) {
	for {
		n, err := receive(int(fd), p)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return 0, true, nil
		case err != nil:
			return 0, false, os.NewSyscallError("recvfrom", err)
		default:
			return n, false, nil
		}
	}
}
