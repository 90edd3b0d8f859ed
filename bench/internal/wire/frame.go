// Package wire is what the servers, the load generator and the runner have to
// agree upon: WebSocket frames, the messages in them, and what the processes
// report to each other.
package wire

import (
	"encoding/binary"
	"errors"
)

// Opcodes of RFC 6455.
const (
	Continuation = 0x0
	Text         = 0x1
	Binary       = 0x2
	Close        = 0x8
	Ping         = 0x9
	Pong         = 0xA
)

const (
	fin    = 0x80
	masked = 0x80
)

// Mask is the key of all masked frames. Servers unmask alike whatever the key,
// as long as it is not zero.
var Mask = [4]byte{0x1f, 0x2e, 0x3d, 0x4c}

// A Frame is a whole WebSocket frame; its payload is unmasked and part of the
// bytes it was read from.
type Frame struct {
	Op      byte
	Payload []byte
}

// ErrFragmented is a message in several frames, which no server here has a
// reason to send.
var ErrFragmented = errors.New("fragmented message")

// Next takes the first frame from b and returns what it takes up, 0 when the
// frame is not whole yet.
func Next(b []byte) (f Frame, size int, err error) {
	if len(b) < 2 {
		return Frame{}, 0, nil
	}
	f.Op = b[0] & 0x0f
	if b[0]&fin == 0 || f.Op == Continuation {
		return Frame{}, 0, ErrFragmented
	}
	n, at := int(b[1]&^masked), 2
	switch n {
	case 126:
		if len(b) < 4 {
			return Frame{}, 0, nil
		}
		n, at = int(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return Frame{}, 0, nil
		}
		n, at = int(binary.BigEndian.Uint64(b[2:])), 10
	}
	var key []byte
	if b[1]&masked != 0 {
		if len(b) < at+4 {
			return Frame{}, 0, nil
		}
		key = b[at : at+4]
		at += 4
	}
	if n < 0 || n > len(b)-at {
		return Frame{}, 0, nil
	}
	f.Payload = b[at : at+n]
	for i := range key {
		for j := i; j < n; j += 4 {
			f.Payload[j] ^= key[i]
		}
	}
	return f, at + n, nil
}

// AppendFrame appends a frame as a server sends it.
func AppendFrame(b []byte, op byte, payload []byte) []byte {
	return append(appendHeader(b, op, len(payload), 0), payload...)
}

// AppendMasked appends a frame as a client sends it.
func AppendMasked(b []byte, op byte, payload []byte) []byte {
	b = append(appendHeader(b, op, len(payload), masked), Mask[:]...)
	for i, c := range payload {
		b = append(b, c^Mask[i&3])
	}
	return b
}

func appendHeader(b []byte, op byte, n int, mask byte) []byte {
	b = append(b, fin|op)
	switch {
	case n < 126:
		return append(b, mask|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
}
