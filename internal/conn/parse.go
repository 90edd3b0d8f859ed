package conn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// parser takes a client's stream of bytes apart, in whatever pieces it arrives
// (RFC 6455, section 5). It keeps nothing of a piece but what belongs to a
// message, or a header, that is not complete. It is not safe for concurrent
// use.
type parser struct {
	// fixed
	limit   int64 // bytes of a message
	deflate bool  // permessage-deflate was agreed upon

	head    [14]byte // the part of a header that has arrived
	headLen uint8

	// the frame whose header has been read
	inFrame bool
	fin     bool
	op      byte
	key     uint32 // its mask, turned so that the next byte of the payload is masked with the lowest byte
	left    uint64 // bytes of the payload that are missing

	// the message
	msgOp      Op // 0: none has begun
	compressed bool
	msg        []byte

	control []byte // payload of a control frame
}

// closing is the error that a close frame stands for.
type closing struct {
	code   int
	reason string
}

func (c *closing) Error() string { return fmt.Sprintf("the peer closes with %d %q", c.code, c.reason) }

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, args...))
}

// next reads p until the first message or ping is complete, and returns what
// follows it in p. op is Text, Binary or opPing, and data is the caller's to
// keep, or 0 when all of p belongs to what is not complete. The error is a
// *closing, [ErrTooBig], [ErrInvalidUTF8] or wraps [ErrProtocol]; after it
// nothing may be read any more.
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
			r.msg = r.take(make([]byte, 0, len(payload)), payload) // whole: as long as it is
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

// take appends the payload to b, unmasked.
func (r *parser) take(b, payload []byte) []byte {
	r.left -= uint64(len(payload))
	n := len(b)
	b = append(b, payload...)
	r.key = unmask(b[n:], r.key)
	return b
}

// minReserve is the least room that a message gets whose length is not known,
// or is not believed yet.
const minReserve = 4 << 10

// reserve makes room for n bytes in the message: for all of the frame when it
// is short, else at most for as much again as there is, so that a header alone
// costs no memory.
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

// room returns where in the message the next bytes of the payload may be read
// to without being parsed, nil when fewer than atLeast are missing. took and
// next must follow.
func (r *parser) room(atLeast int) []byte {
	if !r.inFrame || r.op&8 != 0 || r.left < uint64(atLeast) {
		return nil
	}
	r.msg = r.reserve(1)
	return r.msg[len(r.msg):min(uint64(cap(r.msg)), uint64(len(r.msg))+r.left)]
}

// took says that n bytes were read into what room returned.
func (r *parser) took(n int) {
	at := len(r.msg)
	r.msg = r.msg[:at+n]
	r.key = unmask(r.msg[at:], r.key)
	r.left -= uint64(n)
}

// header reads a header, and sets inFrame when it is complete.
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

// check judges the first two bytes of a frame.
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

// message returns the message that is complete.
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

// parseClose returns what a close frame says, a *closing, or what is wrong with
// it.
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

// unmask undoes the mask of b, and returns the key for what follows.
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
