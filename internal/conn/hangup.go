package conn

import (
	"crypto/tls"
	"net"
	"time"
)

// This file ends the network connection. If data arrives at a closed TCP
// socket, or is unread when the socket is closed, the kernel sends a reset,
// which destroys data still on its way to the peer. The answer to one of our
// pings is enough to cause this. So we end our side of the stream first, which
// the peer sees after the close frame. Data that the peer still sends is read
// and discarded until the peer hangs up too (RFC 6455, section 7.1.1), or until
// the deadline of closing.

const (
	// maxDiscard is the maximum number of bytes to read and discard.
	maxDiscard = 64 << 20
	// maxMute is how long a peer that cannot see the end of our side may be
	// silent before we hang up. It may be waiting for us to do so.
	maxMute = time.Second
)

// past is a deadline that ends pending reads and writes.
var past = time.Unix(1, 0)

// hangUp ends the connection. It is called when the reader has ended and
// everything was written or dropped.
func (c *Conn) hangUp() {
	c.unwatch()
	c.mu.Lock()
	dead, how := c.dead, c.ending
	c.mu.Unlock()
	if dead {
		c.cut()
		c.over()
		return
	}
	c.mute = !c.shut(how.deadline)
	c.transport().SetReadDeadline(how.deadline)
	c.discard()
}

// transport returns the connection used to close, and to read bytes that are
// discarded. For TLS it is the underlying connection, because TLS would first
// send an alert to a peer that may be gone. Any other wrapper must see the
// close itself.
func (c *Conn) transport() net.Conn {
	if t, ok := c.nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c.nc
}

// shut ends our side of the stream, and reports whether the peer can see that.
func (c *Conn) shut(deadline time.Time) bool {
	half, ok := c.nc.(halfCloser)
	if !ok {
		return false
	}
	raw := c.transport()
	if raw == c.nc {
		return half.CloseWrite() == nil
	}
	// The TLS close alert has a deadline of its own, which is later than ours.
	late := time.AfterFunc(time.Until(deadline), func() { raw.SetWriteDeadline(past) })
	defer late.Stop()
	if half.CloseWrite() != nil {
		return false
	}
	if half, ok := raw.(halfCloser); ok {
		_ = half.CloseWrite() // a failure here shows up when reading from the peer
	}
	return true
}

type halfCloser interface{ CloseWrite() error }

// discard reads and discards data that the peer still sends. It ends the
// connection when the peer has hung up or its time is up. If possible, it
// leaves waiting for data to the Poller.
func (c *Conn) discard() {
	buf := readBuffers.Get().(*[readBuffer]byte)
	defer readBuffers.Put(buf)
	for c.discarded < maxDiscard {
		n, none, err := c.readEnd(buf[:])
		if none {
			if c.rest() {
				return
			}
			n, err = c.nc.Read(buf[:])
		}
		c.discarded += n
		if n == 0 || err != nil {
			break
		}
	}
	c.over()
}

// readEnd reads the available data. none means that there is none. It is set
// only with a Poller; otherwise readEnd blocks.
func (c *Conn) readEnd(p []byte) (n int, none bool, err error) {
	switch {
	case c.direct.ok() && c.opts.Poller != nil:
		failed := c.direct.read(func(fd uintptr) bool {
			n, none, err = readNow(fd, p)
			return true
		})
		if failed != nil {
			return 0, false, failed
		}
		return n, none, err
	case c.mute:
		deadline := time.Now().Add(maxMute)
		if c.ending.deadline.Before(deadline) {
			deadline = c.ending.deadline
		}
		c.nc.SetReadDeadline(deadline)
	}
	n, err = c.transport().Read(p)
	return n, false, err
}

// rest leaves waiting for the peer to the Poller, and reports whether that was
// possible.
func (c *Conn) rest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || !c.opts.Poller.arm(c) {
		return false
	}
	c.resting = true
	return true
}

// over closes the network connection if it is still open, and ends its last
// part.
func (c *Conn) over() {
	c.opts.Poller.forget(c)
	c.mu.Lock()
	first := !c.gone
	c.gone = true
	if c.ending != nil {
		c.ending.late.Stop()
	}
	c.mu.Unlock()
	if first {
		_ = c.transport().Close() // the connection is gone even if Close fails
	}
	c.leave()
}

// cut closes the network connection without a close frame, and does not block.
// Unread data is discarded first, because the kernel would send a reset for it,
// unless nothing is worth delivering.
func (c *Conn) cut() {
	raw := c.transport()
	bare := false
	switch raw.(type) {
	case *net.TCPConn, *net.UnixConn:
		bare = true
	}
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return
	}
	c.gone = true
	hard := c.hard
	if !bare {
		c.parts++
	}
	c.mu.Unlock()
	if t, ok := raw.(interface{ SetLinger(seconds int) error }); ok && hard {
		_ = t.SetLinger(0) // otherwise the kernel would keep the unsent data of a dead peer for minutes
	}
	if bare {
		if !hard {
			directly(raw).drain()
		}
		_ = raw.Close()
		return
	}
	raw.SetDeadline(past) // for a wrapper whose Close waits for its peer
	go func() {
		_ = raw.Close()
		c.leave()
	}()
}

// leave ends one part of the connection.
func (c *Conn) leave() {
	c.mu.Lock()
	c.parts--
	last, f := c.parts == 0, c.onEnd
	c.mu.Unlock()
	if !last {
		return
	}
	if f != nil {
		f()
	}
	c.ended.Done()
}

// OnEnd sets f to be called once, when all goroutines of the connection have
// ended and the network connection is closed. If that is already the case, f is
// called immediately. Until then, queued messages and the close frame have up
// to Options.CloseTimeout to be sent, and the peer has the same time to hang
// up. f must not block. OnEnd must be called at most once.
func (c *Conn) OnEnd(f func()) {
	c.mu.Lock()
	over := c.parts == 0
	if !over {
		c.onEnd = f
	}
	c.mu.Unlock()
	if over {
		f()
	}
}

// Wait waits until the connection has ended in the sense of OnEnd. Read must
// have returned its error.
func (c *Conn) Wait() { c.ended.Wait() }
