// Package frame writes the frames of WebSocket messages that a server sends,
// and reads them back: one frame for each message, without a mask (RFC 6455,
// section 5.2).
//
// It does not know connections, or what a message means. The frames of clients
// are parsed by package conn.
package frame

import (
	"encoding/binary"
	"slices"
)

// Final is the bit of the first byte that says that the frame is the last of
// its message. The lower four bits are the opcode.
const Final = 0x80

// Append appends a frame.
func Append(b []byte, first byte, payload []byte) []byte {
	b = slices.Grow(b, HeaderLen(len(payload))+len(payload))
	return append(AppendHeader(b, first, len(payload)), payload...)
}

// AppendHeader appends the header of a frame whose payload has n bytes.
func AppendHeader(b []byte, first byte, n int) []byte {
	switch HeaderLen(n) {
	case 10:
		return binary.BigEndian.AppendUint64(append(b, first, 127), uint64(n))
	case 4:
		return binary.BigEndian.AppendUint16(append(b, first, 126), uint16(n))
	}
	return append(b, first, byte(n))
}

// HeaderLen returns the length of the header for a payload of n bytes.
func HeaderLen(n int) int {
	switch {
	case n > 0xFFFF:
		return 10
	case n > 125:
		return 4
	}
	return 2
}

// Payload returns the payload of a single frame.
func Payload(frame []byte) []byte {
	payload, _ := Cut(frame)
	return payload
}

// Cut returns the payload of the first of some frames, and the other frames.
func Cut(frames []byte) (payload, rest []byte) {
	n, header := int(frames[1]), 2
	switch n {
	case 126:
		n, header = int(binary.BigEndian.Uint16(frames[2:])), 4
	case 127:
		n, header = int(binary.BigEndian.Uint64(frames[2:])), 10
	}
	return frames[header : header+n : header+n], frames[header+n:]
}
