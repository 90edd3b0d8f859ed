package conn

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// wire is the network connection as coder/websocket sees it.
type wire struct {
	net.Conn
	conn *Conn

	early []byte // owned by the reader: what net/http had read ahead
	err   error  // owned by the reader: what reading the network failed with
}

// Read counts what arrives. An end of the stream is always unexpected: coder/websocket would take io.EOF inside of a message
// for the end of that message.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(p, w.early)
		if w.early = w.early[n:]; len(w.early) == 0 {
			w.early = nil
		}
		w.conn.bytesIn.Add(uint64(n))
		return n, nil
	}
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.conn.bytesIn.Add(uint64(n))
		return n, nil // an error comes again
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	w.err = err
	return 0, err
}

// Write takes one control frame of coder/websocket. Close frames are left out: finish knows better which one to send.
func (w *wire) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] == pongByte {
		w.conn.sendPong(p)
	}
	return len(p), nil
}

// Close ends reading only, what waits to be written still leaves. coder/websocket calls it as soon as it has "written" its
// close frame, and from a timer when a control frame arrives too slowly.
func (w *wire) Close() error {
	w.conn.mu.Lock()
	defer w.conn.mu.Unlock()
	w.conn.readCut = true
	return w.Conn.SetReadDeadline(time.Unix(1, 0))
}

// Read returns the next data message, which is the caller's to keep. It blocks until there is one, and must not be called by
// two goroutines at a time. Pings, pongs, the closing handshake and automatic requests are handled while it runs.
//
// The error is always a [*CloseError], and the same for every later call.
func (c *Conn) Read() (Op, []byte, error) {
	if c.err != nil {
		return 0, nil, c.err
	}
	c.phase.Add(1)
	defer c.phase.Add(1)
	for {
		op, data, err := c.readMessage()
		if err != nil {
			c.err = c.finish(err)
			return 0, nil, c.err
		}
		c.messagesIn.Add(1)
		if c.muted() {
			continue
		}
		if op == Text && c.opts.AutoRequest != "" && c.opts.AutoReply != "" && string(data) == c.opts.AutoRequest {
			c.lastAuto.Store(time.Now().UnixNano())
			_ = c.Send(NewFrame(Text, []byte(c.opts.AutoReply)), "") // a failure ends the next read
			continue
		}
		return op, data, nil
	}
}

// scratches hold messages whose length is not known before their end.
var scratches = sync.Pool{New: func() any { b := make([]byte, 4<<10); return &b }}

const maxScratch = 64 << 10

func (c *Conn) readMessage() (Op, []byte, error) {
	// A context that can end would cost a timer function for each step: deadlines of the connection end the read.
	typ, r, err := c.ws.Reader(context.Background())
	if err != nil {
		return 0, nil, err
	}
	scratch := scratches.Get().(*[]byte)
	buf := (*scratch)[:0]
	defer func() {
		if cap(buf) <= maxScratch {
			*scratch = buf[:cap(buf)]
			scratches.Put(scratch)
		}
	}()
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, cap(buf))
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, nil, err
		}
	}
	if typ == websocket.MessageText && !utf8.Valid(buf) {
		return 0, nil, ErrInvalidUTF8
	}
	data := make([]byte, len(buf))
	copy(data, buf)
	return Op(typ), data, nil
}
