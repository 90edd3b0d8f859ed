package conn

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// ErrParked is returned by Read if the connection has been idle for so long
// that its goroutine should end. Options.Wake is called when Read should be
// called again.
var ErrParked = errors.New("conn: parked")

const (
	// readBuffer is the size of one read. Buffers are held only while they
	// contain data.
	readBuffer = 8 << 10
	// smallBuffer is the size of the buffer for a connection that can only be
	// read by blocking with a buffer.
	smallBuffer = 1 << 10
)

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// input is the reading side of a connection. All fields are owned by the
// reader.
type input struct {
	parser
	rest   []byte             // read and not yet parsed
	buf    *[readBuffer]byte  // contains rest; nil if rest is elsewhere or empty
	small  *[smallBuffer]byte // for connections that are not direct; nil until needed
	active bool               // a message has arrived since the connection was last parked
	end    *CloseError        // the error that Read has failed with

	// the result of ready
	n    int
	err  error
	none bool
	f    func(fd uintptr) bool // ready as a function value, created once
}

// Read returns the next data message, which the caller owns. It blocks until
// there is one, and must not be called concurrently. Pings, pongs, the closing
// handshake and automatic requests are handled while Read runs.
//
// The error is [ErrParked], or a [*CloseError], which every later call also
// returns.
func (c *Conn) Read() (Op, []byte, error) {
	if c.in.end != nil {
		return 0, nil, c.in.end
	}
	if c.phase.Load()%2 == 0 { // otherwise it was parked
		c.phase.Add(1)
	}
	for {
		op, data, err := c.readMessage()
		if err == ErrParked {
			return 0, nil, err
		}
		if err != nil {
			c.dropBuffer()
			c.in.rest, c.in.parser = nil, parser{}
			c.in.end = c.finish(err)
			c.phase.Add(1)
			return 0, nil, c.in.end
		}
		c.in.active = true
		c.messagesIn.Add(1)
		c.opts.Traffic.MessageIn(c.stripe)
		if c.closing.Load() {
			continue
		}
		if op == Text && c.opts.AutoRequest != "" && c.opts.AutoReply != "" && string(data) == c.opts.AutoRequest {
			c.lastAuto.Store(time.Now().UnixNano())
			reply := NewFrame(Text, []byte(c.opts.AutoReply))
			if c.opts.Marked { // the reply is a frame of dog.v1 itself
				reply = NewControl([]byte(c.opts.AutoReply))
			}
			_ = c.Send(reply, "") // after a failure the next read fails
			continue
		}
		if len(c.in.rest) == 0 {
			c.dropBuffer() // the handler may take a long time
		}
		c.phase.Add(1)
		return op, data, nil
	}
}

// readMessage returns the next message.
func (c *Conn) readMessage() (Op, []byte, error) {
	in := &c.in
	for {
		rest, op, data, err := in.next(in.rest)
		in.rest = rest
		switch {
		case err != nil:
			return 0, nil, err
		case op == opPing:
			c.sendPong(data)
		case op != 0:
			return Op(op), data, nil
		default:
			if err := c.fill(); err != nil {
				return 0, nil, err
			}
		}
	}
}

// fill reads the available data, and waits if there is none. Everything read
// before must have been parsed.
func (c *Conn) fill() error {
	if c.direct.ok() {
		return c.fillDirect()
	}
	in := &c.in
	if p := in.room(smallBuffer); p != nil {
		n, err := c.nc.Read(p)
		in.took(n)
		return c.received(n, err)
	}
	if in.small == nil {
		in.small = new([smallBuffer]byte)
	}
	n, err := c.nc.Read(in.small[:])
	in.rest = in.small[:n]
	return c.received(n, err)
}

// received counts the received bytes. It drops an error that comes with data,
// because the next read returns it again.
func (c *Conn) received(n int, err error) error {
	c.bytesIn.Add(uint64(n))
	c.opts.Traffic.BytesIn(c.stripe, uint64(n))
	switch {
	case n > 0 || err == nil:
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF // there was no close frame
	default:
		return err
	}
}

// fillDirect is fill without holding a buffer while it waits.
func (c *Conn) fillDirect() error {
	in := &c.in
	if in.f == nil {
		in.f = c.ready
	}
	for {
		in.n, in.err, in.none = 0, nil, false
		err := c.direct.read(in.f)
		if err == nil {
			err = in.err
		}
		if in.none || errors.Is(err, os.ErrDeadlineExceeded) {
			parked, again := c.park()
			if parked {
				return ErrParked
			}
			if again {
				continue
			}
		}
		if err == nil && in.n == 0 {
			err = io.EOF
		}
		return c.received(in.n, err)
	}
}

// ready reads the available data. It reports whether there is a result.
// Otherwise it is called again when data has arrived.
func (c *Conn) ready(fd uintptr) bool {
	in := &c.in
	p := in.room(readBuffer)
	whole := p == nil
	if whole {
		if in.buf == nil {
			in.buf = readBuffers.Get().(*[readBuffer]byte)
		}
		p = in.buf[:]
	}
	n, none, err := readNow(fd, p)
	if none {
		c.dropBuffer()
		in.none = c.opts.Poller != nil && !in.active
		return in.none
	}
	in.n, in.err = n, err
	if whole {
		in.rest = p[:n]
	} else {
		in.took(n)
	}
	return true
}

// dropBuffer releases the buffer. Its content must have been parsed.
func (c *Conn) dropBuffer() {
	if c.in.buf != nil {
		readBuffers.Put(c.in.buf)
		c.in.buf = nil
	}
}
