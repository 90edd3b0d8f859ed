package wire

import (
	"encoding/binary"
	"errors"
)

// The part of centrifuge's Protobuf protocol that a client needs to send
// messages and to count publications. A frame holds commands, or replies, each
// with its length before it; an empty one is a ping or the answer to it.

// Field numbers of the protocol's definition, client.proto.
const (
	commandID      = 1
	commandConnect = 4
	commandSend    = 12
	sendData       = 1
	replyError     = 2
	replyPush      = 4
	pushPub        = 4
	pushMessage    = 8
	pubData        = 4
	messageData    = 1
)

// CentrifugeConnect is the command with which a client begins.
var CentrifugeConnect = delimited(append(varintField(nil, commandID, 1), bytesField(nil, commandConnect, nil)...))

// CentrifugePong answers a ping.
var CentrifugePong = []byte{0}

var errCentrifuge = errors.New("malformed or failed centrifuge reply")

// AppendCentrifugeSend appends the command that sends a message.
func AppendCentrifugeSend(b, message []byte) []byte {
	send := bytesField(nil, sendData, message)
	return append(b, delimited(bytesField(nil, commandSend, send))...)
}

// CentrifugeMessages calls each for the data of the publications and messages
// in a frame's payload, and reports whether there was a ping among the replies.
func CentrifugeMessages(payload []byte, each func(data []byte)) (ping bool, err error) {
	for len(payload) > 0 {
		reply, rest, ok := takeBytes(payload)
		if !ok {
			return ping, errCentrifuge
		}
		payload = rest
		if len(reply) == 0 {
			ping = true
			continue
		}
		if _, failed := field(reply, replyError); failed {
			return ping, errCentrifuge
		}
		push, ok := field(reply, replyPush)
		if !ok {
			continue
		}
		if pub, ok := field(push, pushPub); ok {
			data, _ := field(pub, pubData)
			each(data)
		} else if message, ok := field(push, pushMessage); ok {
			data, _ := field(message, messageData)
			each(data)
		}
	}
	return ping, nil
}

// Wire types of Protocol Buffers.
const (
	typeVarint = 0
	typeBytes  = 2
)

// field finds the first length-delimited field of a number.
func field(b []byte, number uint64) (value []byte, found bool) {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, false
		}
		b = b[n:]
		switch tag & 7 {
		case typeVarint:
			if _, n = binary.Uvarint(b); n <= 0 {
				return nil, false
			}
			b = b[n:]
		case typeBytes:
			v, rest, ok := takeBytes(b)
			if !ok {
				return nil, false
			}
			if tag>>3 == number {
				return v, true
			}
			b = rest
		default:
			return nil, false
		}
	}
	return nil, false
}

func takeBytes(b []byte) (value, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size)], b[n+int(size):], true
}

func delimited(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }

func bytesField(b []byte, number uint64, value []byte) []byte {
	b = binary.AppendUvarint(b, number<<3|typeBytes)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

func varintField(b []byte, number, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, number<<3|typeVarint), value)
}
