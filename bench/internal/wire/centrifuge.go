package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The part of centrifuge's Protobuf protocol that a client needs to send
// messages and to count publications. A frame holds commands, or replies, each
// with its length before it; an empty one is a ping or the answer to it.

// Field numbers of the protocol's definition, client.proto.
const (
	commandID       = 1
	commandConnect  = 4
	commandSend     = 12
	connectSubs     = 3
	subRecover      = 3
	subEpoch        = 6
	subOffset       = 7
	sendData        = 1
	replyError      = 2
	replyPush       = 4
	replyConnect    = 5
	connectedSubs   = 6
	mapKey          = 1
	mapValue        = 2
	subbedEpoch     = 6
	subbedPubs      = 7
	subbedRecovered = 8
	subbedOffset    = 9
	pushPub         = 4
	pushMessage     = 8
	pubData         = 4
	messageData     = 1
)

// CentrifugeChannel is the channel that the server subscribes all clients to.
const CentrifugeChannel = "b"

// AppendCentrifugeConnect appends the command with which a client begins. after
// is the position after which it wants all messages, as a reply to such a
// command has it; "": none.
func AppendCentrifugeConnect(b []byte, after string) ([]byte, error) {
	var connect []byte
	if after != "" {
		var at centrifugePosition
		if _, err := fmt.Sscanf(after, "%d-%s", &at.offset, &at.epoch); err != nil {
			return nil, fmt.Errorf("position %q: %w", after, err)
		}
		sub := varintField(nil, subRecover, 1)
		sub = append(bytesField(sub, subEpoch, []byte(at.epoch)), varintField(nil, subOffset, at.offset)...)
		entry := bytesField(bytesField(nil, mapKey, []byte(CentrifugeChannel)), mapValue, sub)
		connect = bytesField(nil, connectSubs, entry)
	}
	return append(b, delimited(bytesField(varintField(nil, commandID, 1), commandConnect, connect))...), nil
}

// centrifugePosition is a place in a history.
type centrifugePosition struct {
	epoch  string
	offset uint64
}

func (p centrifugePosition) String() string { return fmt.Sprintf("%d-%s", p.offset, p.epoch) }

// CentrifugePong answers a ping.
var CentrifugePong = []byte{0}

var errCentrifuge = errors.New("malformed or failed centrifuge reply")

// AppendCentrifugeSend appends the command that sends a message.
func AppendCentrifugeSend(b, message []byte) []byte {
	send := bytesField(nil, sendData, message)
	return append(b, delimited(bytesField(nil, commandSend, send))...)
}

// A CentrifugeFrame is what [ParseCentrifuge] finds besides messages.
type CentrifugeFrame struct {
	Ping      bool   // the server asks for [CentrifugePong]
	Connected bool   // there was a reply to the command that connects
	Position  string // of the history in that reply; "": it has none
}

// ParseCentrifuge calls each for the data of the publications and messages in a
// frame's payload, also of those that were missed. It fails if the server
// reports an error, or that it does not have all that were missed; resumed is
// whether the client had a position.
func ParseCentrifuge(payload []byte, resumed bool, each func(data []byte)) (f CentrifugeFrame, err error) {
	for len(payload) > 0 {
		reply, rest, ok := takeBytes(payload)
		if !ok {
			return f, errCentrifuge
		}
		payload = rest
		if len(reply) == 0 {
			f.Ping = true
			continue
		}
		if _, failed := field(reply, replyError); failed {
			return f, errCentrifuge
		}
		if connected, ok := field(reply, replyConnect); ok {
			f.Connected = true
			if f.Position, err = recovered(connected.bytes, resumed, each); err != nil {
				return f, err
			}
			continue
		}
		push, ok := field(reply, replyPush)
		if !ok {
			continue
		}
		if pub, ok := field(push.bytes, pushPub); ok {
			data, _ := field(pub.bytes, pubData)
			each(data.bytes)
		} else if message, ok := field(push.bytes, pushMessage); ok {
			data, _ := field(message.bytes, messageData)
			each(data.bytes)
		}
	}
	return f, nil
}

// recovered passes on the messages in the reply to the command that connects,
// and returns the position of the history.
func recovered(connected []byte, resumed bool, each func(data []byte)) (position string, err error) {
	entry, subscribed := field(connected, connectedSubs)
	sub, _ := field(entry.bytes, mapValue)
	ok, _ := field(sub.bytes, subbedRecovered)
	if resumed && (!subscribed || ok.varint != 1) {
		return "", errors.New("messages are missing")
	}
	if epoch, has := field(sub.bytes, subbedEpoch); has {
		offset, _ := field(sub.bytes, subbedOffset)
		position = centrifugePosition{string(epoch.bytes), offset.varint}.String()
	}
	for b := sub.bytes; len(b) > 0; {
		number, v, rest, ok := takeField(b)
		if !ok {
			return "", errCentrifuge
		}
		b = rest
		if number == subbedPubs {
			data, _ := field(v.bytes, pubData)
			each(data.bytes)
		}
	}
	return position, nil
}

// Wire types of Protocol Buffers.
const (
	typeVarint = 0
	typeBytes  = 2
)

// A value is that of a field: a number, or bytes.
type value struct {
	varint uint64
	bytes  []byte
}

// field finds the first field of a number.
func field(b []byte, number uint64) (v value, found bool) {
	for len(b) > 0 {
		n, v, rest, ok := takeField(b)
		if !ok {
			return value{}, false
		}
		if n == number {
			return v, true
		}
		b = rest
	}
	return value{}, false
}

func takeField(b []byte) (number uint64, v value, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, value{}, nil, false
	}
	b = b[n:]
	switch tag & 7 {
	case typeVarint:
		if v.varint, n = binary.Uvarint(b); n > 0 {
			return tag >> 3, v, b[n:], true
		}
	case typeBytes:
		v.bytes, rest, ok = takeBytes(b)
		return tag >> 3, v, rest, ok
	}
	return 0, value{}, nil, false
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
