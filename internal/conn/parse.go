package conn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// parser parses a client's byte stream, in pieces of any size (RFC 6455,
// section 5). It keeps only incomplete messages and headers of a piece. It is
// not safe for concurrent use.
type parser struct {
	// fixed
	limit   int64 // maximum bytes of a message
	deflate bool  // permessage-deflate was negotiated

	head    [14]byte // an incomplete header
	headLen uint8

	// the frame whose header has been read
	inFrame bool
	fin     bool
	op      byte
	key     uint32 // its mask, rotated so that its lowest byte applies to the next byte of the payload
	left    uint64 // bytes of the payload still missing

	// the message
	msgOp      Op // 0: none has begun
	compressed bool
	msg        []byte

	control []byte // payload of a control frame
}

// closing is the error for a received close frame.
type closing struct {
	code   int
	reason string
}

func (c *closing) Error() string { return fmt.Sprintf("the peer closes with %d %q", c.code, c.reason) }

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, args...))
}

// next parses p up to the end of the first message or ping, and returns the
// rest of p. op is Text, Binary or opPing, or 0 if all of p belongs to
// something incomplete. The caller owns data. The error is a *closing,
// [ErrTooBig], [ErrInvalidUTF8] or wraps [ErrProtocol]. After an error, next
// must not be called again.
func (r *parser) next(p []byte) (rest []byte, op byte, data []byte, err error) {
	for {
		if !r.inFrame {
			if p, err = r.header(p); err != nil || !r.inFrame {
				return p, 0, nil, err
			}
		}
		if len(p) == 0 && r.left > 0 {
			return nil, 0, nil, nil
		}
		payload := p[:min(uint64(len(p)), r.left)]
		p = p[len(payload):]
		if r.op&8 != 0 {
			r.control = r.take(r.control, payload)
		} else if r.msg == nil && r.left == uint64(len(payload)) && r.fin {
			r.msg = r.take(make([]byte, 0, len(payload)), payload) // complete: exactly as long as needed
		} else {
			r.msg = r.take(r.reserve(len(payload)), payload)
		}
		if r.left > 0 {
			return p, 0, nil, nil
		}
		r.inFrame = false
		switch {
		case r.op == opPong:
			r.control = nil
		case r.op&8 != 0:
			data, r.control = r.control, nil
			if r.op == opClose {
				return p, 0, nil, parseClose(data)
			}
			return p, opPing, data, nil
		case r.fin:
			data, err = r.message()
			op, r.msgOp = byte(r.msgOp), 0
			return p, op, data, err
		}
	}
}

// take appends the unmasked payload to b.
func (r *parser) take(b, payload []byte) []byte {
	r.left -= uint64(len(payload))
	n := len(b)
	b = append(b, payload...)
	r.key = unmask(b[n:], r.key)
	return b
}

// minReserve is the minimum room reserved for a message whose length is unknown
// or not yet trusted.
const minReserve = 4 << 10

// reserve makes room for n bytes in the message. If the frame is short, it
// makes room for all of it. Otherwise it at most doubles the message, so that a
// header alone costs no memory.
func (r *parser) reserve(n int) []byte {
	if cap(r.msg)-len(r.msg) >= n && cap(r.msg) > 0 {
		return r.msg
	}
	want := min(r.left, uint64(max(minReserve, len(r.msg), n)))
	if grown := len(r.msg) + int(want); cap(r.msg) == 0 {
		return make([]byte, 0, grown)
	}
	return slices.Grow(r.msg, int(want))
}

// room returns the part of the message into which the next bytes of the payload
// may be read without parsing, or nil if fewer than atLeast bytes are missing.
// The caller must then call took and next.
func (r *parser) room(atLeast int) []byte {
	if !r.inFrame || r.op&8 != 0 || r.left < uint64(atLeast) {
		return nil
	}
	r.msg = r.reserve(1)
	return r.msg[len(r.msg):min(uint64(cap(r.msg)), uint64(len(r.msg))+r.left)]
}

// took records that n bytes were read into the result of room.
func (r *parser) took(n int) {
	at := len(r.msg)
	r.msg = r.msg[:at+n]
	r.key = unmask(r.msg[at:], r.key)
	r.left -= uint64(n)
}

// header parses a header, and sets inFrame if it is complete.
func (r *parser) header(p []byte) ([]byte, error) {
	h := p
	if r.headLen > 0 || len(p) < len(r.head) {
		n := copy(r.head[r.headLen:], p)
		h = r.head[:int(r.headLen)+n]
	}
	if len(h) < 2 {
		r.headLen = uint8(len(h))
		return nil, nil
	}
	if err := r.check(h[0], h[1]); err != nil {
		return p, err
	}
	size, length := 2+4, uint64(h[1]&^maskBit)
	switch length {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if len(h) < size {
		r.headLen = uint8(len(h))
		return nil, nil
	}
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		length = binary.BigEndian.Uint64(h[2:])
	}
	if length > 1<<63-1 {
		return p, violation("a frame of %d bytes", length)
	}
	p = p[size-int(r.headLen):]
	r.headLen = 0
	r.inFrame, r.fin, r.op, r.left = true, h[0]&finBit != 0, h[0]&0xF, length
	r.key = binary.LittleEndian.Uint32(h[size-4:])
	if r.op&8 != 0 {
		return p, nil
	}
	if r.op != opContinuation {
		r.msgOp, r.compressed = Op(r.op), h[0]&rsv1Bit != 0
	}
	limit := r.limit
	if r.compressed {
		limit = maxDeflated(limit)
	}
	if length > uint64(limit-int64(len(r.msg))) {
		return p, ErrTooBig
	}
	return p, nil
}

// check validates the first two bytes of a frame.
func (r *parser) check(first, second byte) error {
	op, fin := first&0xF, first&finBit != 0
	data := op == byte(Text) || op == byte(Binary)
	switch {
	case first&rsvBits != 0 && (first&rsvBits != rsv1Bit || !r.deflate || !data):
		return violation("reserved bits %#x", first&rsvBits)
	case second&maskBit == 0:
		return violation("a frame without a mask")
	case op == opClose || op == opPing || op == opPong:
		if !fin {
			return violation("a fragmented control frame")
		}
		if second&^maskBit > maxControl {
			return violation("a control frame over %d bytes", maxControl)
		}
	case op == opContinuation:
		if r.msgOp == 0 {
			return violation("a continuation of nothing")
		}
	case !data:
		return violation("opcode %d", op)
	case r.msgOp != 0:
		return violation("a message within a message")
	}
	return nil
}

// message returns the completed message.
func (r *parser) message() ([]byte, error) {
	data := r.msg
	r.msg = nil
	if r.compressed {
		var err error
		switch data, err = inflate(data, r.limit); {
		case errors.Is(err, errDeflate):
			return nil, violation("%w", err)
		case err != nil:
			return nil, err
		}
	}
	if r.msgOp == Text && !utf8.Valid(data) {
		return nil, ErrInvalidUTF8
	}
	return data, nil
}

// parseClose returns the content of a close frame as a *closing, or an error if
// it is invalid.
func parseClose(payload []byte) error {
	if len(payload) == 0 {
		return &closing{code: noStatus}
	}
	if len(payload) == 1 {
		return violation("a close frame of one byte")
	}
	code, reason := int(binary.BigEndian.Uint16(payload)), payload[2:]
	if !allowedCode(code) {
		return violation("close code %d", code)
	}
	if !utf8.Valid(reason) {
		return ErrInvalidUTF8
	}
	return &closing{code: code, reason: string(reason)}
}

// unmask removes the mask from b, and returns the key for the data that
// follows.
func unmask(b []byte, key uint32) uint32 {
	long := uint64(key)<<32 | uint64(key)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^long)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key)
		key = key>>8 | key<<24
	}
	return key
}
