package conn

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/godurable/dog/internal/frame"
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
	finBit  = frame.Final
	rsv1Bit = 0x40 // the message is compressed, RFC 7692
	rsvBits = 0x70
	maskBit = 0x80 // of the second byte
)

// maxControl is the maximum payload of a control frame in bytes.
const maxControl = 125

// pingFrame is shared by all connections.
var pingFrame = []byte{finBit | opPing, 0}

// form is a way to write a message.
type form uint8

const (
	deflated form = 1 << iota // compressed, if that makes it shorter
	marked                    // with a header of dog.v1 before the payload
	forms         = iota * 2

	raw form = 0xFF // the same for all connections
)

// noMark is the header of a message that is not kept.
const noMark = "m\n"

// Frame is a message that is framed once for any number of connections. It is
// safe to share, and does not change once it has been sent.
type Frame struct {
	wire []byte // header and payload
	made form   // the form of wire: 0, marked for kept messages, or raw

	messages int32  // in wire
	offset   uint64 // in the history; 0: the message is not kept
	fleeting bool   // not for connections that are behind

	mu    sync.Mutex
	other atomic.Pointer[[forms][]byte] // further forms, nil until needed. Replaced under mu
}

// NewFrame copies payload into one unmasked, final frame. An op other than Text
// means Binary. The payload of a text must be UTF-8; this is not checked.
func NewFrame(op Op, payload []byte) *Frame {
	if op != Text {
		op = Binary
	}
	return &Frame{wire: frame.Append(nil, finBit|byte(op), payload), messages: 1}
}

// NewRaw returns a frame of ready WebSocket frames with this number of
// messages, which are written as they are.
func NewRaw(wire []byte, messages int) *Frame {
	return &Frame{wire: wire, made: raw, messages: int32(messages)}
}

// NewKept returns a frame of kept messages, which have marks.
func NewKept(wire []byte, messages int) *Frame {
	return &Frame{wire: wire, made: marked, messages: int32(messages)}
}

// NewControl returns a frame of dog.v1 with a text payload, which is written as
// it is.
func NewControl(payload []byte) *Frame { return NewHeaded(Text, payload) }

// NewHeaded returns a frame of dog.v1 whose payload begins with its header. It
// is written as it is.
func NewHeaded(op Op, payload []byte) *Frame {
	return NewRaw(frame.Append(nil, finBit|byte(op), payload), 1)
}

// Keep records that the message is kept in a history with this offset, and its
// frame there, which has the mark. It must be called before the frame is sent.
func (f *Frame) Keep(offset uint64, frame []byte) {
	f.offset = offset
	f.other.Store(&[forms][]byte{marked: frame})
}

// Fleeting keeps the message from connections that are behind. It must be
// called before the frame is sent.
func (f *Frame) Fleeting() { f.fleeting = true }

// Len returns the number of bytes that the frame counts toward
// Options.QueueBytes, which is its uncompressed length on the wire: the payload
// and a header of 2 to 10 bytes.
func (f *Frame) Len() int { return len(f.wire) }

// bytes returns the frame in wire format.
func (f *Frame) bytes(as form) []byte {
	if as == f.made || f.made == raw {
		return f.wire
	}
	if other := f.other.Load(); other != nil && other[as] != nil {
		return other[as]
	}
	return f.make(as)
}

// make makes the frame in another form.
func (f *Frame) make(as form) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	var other [forms][]byte
	if made := f.other.Load(); made != nil {
		other = *made
	}
	if f.made == marked { // several messages, which are not compressed again
		if as&marked != 0 {
			return f.wire
		}
		if other[0] == nil {
			other[0] = unmark(f.wire)
		}
		other[deflated] = other[0]
	}
	if as&marked != 0 && other[marked] == nil {
		other[marked] = frame.Append(nil, f.wire[0], append([]byte(noMark), f.Payload()...))
	}
	if as&deflated != 0 && other[as] == nil {
		whole := f.wire
		if as&marked != 0 {
			whole = other[marked]
		}
		if other[as] = deflate(whole); other[as] == nil {
			other[as] = whole
		}
	}
	f.other.Store(&other)
	return other[as]
}

// Payload returns the message, which must not be changed.
func (f *Frame) Payload() []byte { return frame.Payload(f.wire) }

// Op returns the kind of the message.
func (f *Frame) Op() Op { return Op(f.wire[0] & 0xF) }

// unmark returns kept frames without their marks, for a peer that does not
// speak dog.v1.
func unmark(frames []byte) []byte {
	out := make([]byte, 0, len(frames))
	for len(frames) > 0 {
		first := frames[0]
		var body []byte
		body, frames = frame.Cut(frames)
		_, message, _ := bytes.Cut(body, []byte{'\n'})
		out = frame.Append(out, first, message)
	}
	return out
}
