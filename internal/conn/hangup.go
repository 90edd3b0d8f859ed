package conn

import (
	"crypto/tls"
	"net"
	"time"
)

// How the network connection ends. The kernel answers what arrives at a closed
// TCP socket, or lies there unread when it is closed, with a reset, and that
// destroys what is still on its way to the peer: the answer to one of our pings
// is enough. So our side of the stream ends first, which the peer sees behind
// the close frame; what it still sends is read and thrown away until it hangs
// up too (RFC 6455, section 7.1.1). Who does not gets until the deadline of
// closing.

const (
	// maxDiscard bounds the bytes that are read and thrown away.
	maxDiscard = 64 << 20
	// maxMute is how long a peer that cannot be told of the end may be silent
	// before we hang up: it may be waiting for just that.
	maxMute = time.Second
)

// past is a deadline that ends what waits.
var past = time.Unix(1, 0)

// hangUp ends the connection after the reader has ended and everything was
// written or given up.
func (c *Conn) hangUp() {
	c.unwatch()
	c.mu.Lock()
	dead, how := c.dead, c.farewell
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

// transport returns what the network connection is closed by, and read when its
// bytes do not matter. TLS would want to say goodbye first, to a peer that may
// be gone. Any other wrapper has to know of its end.
func (c *Conn) transport() net.Conn {
	if t, ok := c.nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c.nc
}

// shut ends our side of the stream, and reports whether the peer sees that.
func (c *Conn) shut(deadline time.Time) bool {
	half, ok := c.nc.(halfCloser)
	if !ok {
		return false
	}
	raw := c.transport()
	if raw == c.nc {
		return half.CloseWrite() == nil
	}
	// The goodbye of TLS has a deadline of its own, which is later than ours.
	late := time.AfterFunc(time.Until(deadline), func() { raw.SetWriteDeadline(past) })
	defer late.Stop()
	if half.CloseWrite() != nil {
		return false
	}
	if half, ok := raw.(halfCloser); ok {
		_ = half.CloseWrite() // what fails here fails when the peer is read, too
	}
	return true
}

type halfCloser interface{ CloseWrite() error }

// discard reads and throws away what the peer still sends, and ends the
// connection when it has hung up, or has had its time. While nothing comes the
// Poller waits for it where it can.
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

// readEnd reads what there is. none means that nothing is; otherwise it waits.
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
		if c.farewell.deadline.Before(deadline) {
			deadline = c.farewell.deadline
		}
		c.nc.SetReadDeadline(deadline)
	}
	n, err = c.transport().Read(p)
	return n, false, err
}

// rest leaves waiting for the peer to the Poller, and reports whether it could.
func (c *Conn) rest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || !c.opts.Poller.arm(c) {
		return false
	}
	c.resting = true
	return true
}

// over closes the network connection, if that has not been done, and ends the
// last part of it.
func (c *Conn) over() {
	c.opts.Poller.forget(c)
	c.mu.Lock()
	first := !c.gone
	c.gone = true
	if c.farewell != nil {
		c.farewell.late.Stop()
	}
	c.mu.Unlock()
	if first {
		_ = c.transport().Close() // whatever it says, the connection is gone
	}
	c.leave()
}

// cut closes the network connection without a farewell, and does not wait. What
// lies there unread is thrown away, unless nothing is worth delivering: the
// kernel would answer it with a reset.
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
		_ = t.SetLinger(0) // else the kernel would keep the unsent data of a dead peer for minutes
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

// OnEnd has f called once, when no goroutine of the connection is left and the
// network connection is closed, at once if that is so. Until then what was
// queued and the close frame have up to Options.CloseTimeout to leave, and the
// peer has the same time to hang up. f must not wait. Call it at most once.
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

// Wait waits for what OnEnd tells of. Read must have returned its error.
func (c *Conn) Wait() { c.ended.Wait() }
