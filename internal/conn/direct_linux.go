package conn

import (
	"net"
	"os"
	"syscall"
)

// direct is a plain TCP or Unix connection, read and written without blocking.
// Its methods are safe for concurrent use, also with closing.
type direct struct{ raw syscall.RawConn }

// directly returns the direct form of a connection. Its ok method returns false
// if there is none.
func directly(nc net.Conn) direct {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn: // a wrapper may do more than these types
		if raw, err := nc.(syscall.Conn).SyscallConn(); err == nil {
			return direct{raw}
		}
	}
	return direct{}
}

func (d direct) ok() bool { return d.raw != nil }

// unacked returns the number of bytes held by the kernel that the other end's
// kernel has not received yet.
func (d direct) unacked() int { return unacked(d.raw) }

// directWrite is the state of a write. It is reused because a new function for
// RawConn would be allocated each time.
type directWrite struct {
	p   []byte
	n   int
	err error
	f   func(fd uintptr) bool
}

// write writes as much of p as the kernel accepts immediately. An expired
// deadline is treated like a kernel that accepts nothing.
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
				return true // the kernel's buffer is full: another call would return EAGAIN
			}
		}
	}
	return true
}

// read calls f when there may be something to read: immediately, and then
// repeatedly until it returns true.
func (d direct) read(f func(fd uintptr) bool) error { return d.raw.Read(f) }

// drain discards unread data regardless of the deadline, up to the usual size
// of a kernel buffer.
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

// readNow reads the available data. none means that there is none. At the end
// of the stream n is 0, without an error.
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
