package conn

import (
	"encoding/binary"
	"sync"
)

// Op is the kind of a data message.
type Op byte

// The kinds of data messages, with the values of RFC 6455.
const (
	Text   Op = 1
	Binary Op = 2
)

// The other opcodes of RFC 6455.
const (
	opContinuation = 0x0
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// Bits in the first two bytes of a frame.
const (
	finBit  = 0x80
	rsv1Bit = 0x40 // the message is compressed, RFC 7692
	rsvBits = 0x70
	maskBit = 0x80 // of the second byte
)

// maxControl is the maximum payload of a control frame in bytes.
const maxControl = 125

// pingFrame is shared by all connections.
var pingFrame = []byte{finBit | opPing, 0}

// Frame is a message that is framed once for any number of connections. It is
// immutable and safe to share.
type Frame struct {
	wire []byte // header and payload

	once     sync.Once
	deflated []byte // wire format of the compressed message; nil if not shorter. set by once
}

// NewFrame copies payload into one unmasked, final frame. An op other than Text
// means Binary. The payload of a text must be UTF-8; this is not checked.
func NewFrame(op Op, payload []byte) *Frame {
	if op != Text {
		op = Binary
	}
	return &Frame{wire: appendFrame(make([]byte, 0, headerLen(len(payload))+len(payload)), finBit|byte(op), payload)}
}

// Len returns the number of bytes that the frame counts toward
// Options.QueueBytes, which is its uncompressed length on the wire: the payload
// and a header of 2 to 10 bytes.
func (f *Frame) Len() int { return len(f.wire) }

// bytes returns the frame in wire format.
func (f *Frame) bytes(deflate bool) []byte {
	if deflate {
		if f.once.Do(f.deflate); f.deflated != nil {
			return f.deflated
		}
	}
	return f.wire
}

// payload returns the message.
func (f *Frame) payload() []byte {
	header := 2
	switch f.wire[1] {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	return f.wire[header:]
}

// headerLen returns the length of the header of an unmasked frame.
func headerLen(payload int) int {
	switch {
	case payload > 0xFFFF:
		return 10
	case payload > 125:
		return 4
	default:
		return 2
	}
}

// appendFrame appends an unmasked frame.
func appendFrame(b []byte, first byte, payload []byte) []byte {
	switch n := len(payload); headerLen(n) {
	case 10:
		b = binary.BigEndian.AppendUint64(append(b, first, 127), uint64(n))
	case 4:
		b = binary.BigEndian.AppendUint16(append(b, first, 126), uint16(n))
	default:
		b = append(b, first, byte(n))
	}
	return append(b, payload...)
}
