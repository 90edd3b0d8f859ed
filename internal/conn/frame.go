package conn

import "encoding/binary"

// Op is the kind of a data message.
type Op byte

// The kinds of data messages, with the values of RFC 6455.
const (
	Text   Op = 1
	Binary Op = 2
)

// First bytes of the control frames that a server sends, final and unmasked.
const (
	closeByte = 0x88
	pingByte  = 0x89
	pongByte  = 0x8A
)

// pingFrame is shared by all connections.
var pingFrame = []byte{pingByte, 0}

// Frame is a message framed once for any number of connections. It is immutable and safe to share.
type Frame struct {
	wire []byte // header and payload
}

// NewFrame copies payload behind the header of one unmasked, final frame. An op other than Text means Binary; the payload of
// a text must be UTF-8, which is not checked.
func NewFrame(op Op, payload []byte) *Frame {
	if op != Text {
		op = Binary
	}
	n := len(payload)
	header := 2
	switch {
	case n > 0xFFFF:
		header = 10
	case n > 125:
		header = 4
	}
	wire := make([]byte, header+n)
	wire[0] = 0x80 | byte(op)
	switch header {
	case 2:
		wire[1] = byte(n)
	case 4:
		wire[1] = 126
		binary.BigEndian.PutUint16(wire[2:], uint16(n))
	case 10:
		wire[1] = 127
		binary.BigEndian.PutUint64(wire[2:], uint64(n))
	}
	copy(wire[header:], payload)
	return &Frame{wire: wire}
}

// Len returns the bytes that the frame takes on the wire and of Options.QueueBytes: the payload and a header of 2 to 10.
func (f *Frame) Len() int { return len(f.wire) }
