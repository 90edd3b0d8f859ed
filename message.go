package dog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/godurable/dog/internal/conn"
)

// MessageType says how a message travels in a WebSocket.
type MessageType byte

// The types of messages.
const (
	Text   = MessageType(conn.Text)   // UTF-8 text
	Binary = MessageType(conn.Binary) // any bytes
)

func (t MessageType) String() string {
	switch t {
	case Text:
		return "text"
	case Binary:
		return "binary"
	}
	return fmt.Sprintf("MessageType(%d)", byte(t))
}

// A Message is what a client or a replica sent. Its data belongs to the receiver.
type Message struct {
	Type MessageType // zero: Text
	Data []byte
}

// String returns the data as a string.
func (m Message) String() string { return string(m.Data) }

// Decode reads the data as JSON into the value that v points at.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("dog: decode message: %w", err)
	}
	return nil
}

// Encode returns v as the message that Send, Emit, Broadcast and Whisper make of it: a string or a [json.RawMessage]
// is text as it stands, a []byte is binary, a Message is itself, anything else becomes JSON text.
//
// It fails when v has no JSON form, and with [ErrInvalidUTF8] when text is not UTF-8, which every client would refuse.
func Encode(v any) (Message, error) {
	var m Message
	switch v := v.(type) {
	case Message:
		m = v
	case string:
		m.Data = []byte(v)
	case json.RawMessage:
		m.Data = v
	case []byte:
		m = Message{Type: Binary, Data: v}
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return Message{}, fmt.Errorf("dog: encode message: %w", err)
		}
		return Message{Type: Text, Data: data}, nil
	}
	switch m.Type {
	case 0, Text:
		m.Type = Text
		if !utf8.Valid(m.Data) {
			return Message{}, fmt.Errorf("dog: encode message: %w", ErrInvalidUTF8)
		}
	case Binary:
	default:
		return Message{}, fmt.Errorf("dog: encode message: unknown %v", m.Type)
	}
	return m, nil
}

// encodeJSON returns v as gossip carries it. A Message is the JSON it holds.
func encodeJSON(v any) ([]byte, error) {
	m, ok := v.(Message)
	if !ok {
		return json.Marshal(v)
	}
	if !json.Valid(m.Data) {
		return nil, errors.New("the message is not JSON")
	}
	return slices.Clone(m.Data), nil // as Marshal would: whoever has the message may change it
}

// A SendOption changes to whom or how a message is sent. The zero SendOption changes nothing.
type SendOption struct {
	includeSelf bool
	key         string
}

// IncludeSelf sends an Emit or a Broadcast of a socket to the sender too: to all sockets of its request id, this one included.
var IncludeSelf = SendOption{includeSelf: true}

// Coalesce names the thing a message tells the newest state of, such as "cursor:ada". Where a socket is slow and its policy is
// [CoalesceSlow], a newer message replaces one of the same key that is still queued.
func Coalesce(key string) SendOption { return SendOption{key: key} }

// outgoing is a message on its way: encoded and framed once, however many sockets it goes to.
type outgoing struct {
	frame       *conn.Frame
	key         string
	includeSelf bool
}

func newOutgoing(v any, opts []SendOption) (outgoing, error) {
	m, err := Encode(v)
	if err != nil {
		return outgoing{}, err
	}
	o := outgoing{frame: conn.NewFrame(conn.Op(m.Type), m.Data)}
	for _, opt := range opts {
		o.includeSelf = o.includeSelf || opt.includeSelf
		if opt.key != "" {
			o.key = opt.key
		}
	}
	return o, nil
}

// leaveOut returns the request id that does not get a message of sender: "" for nobody.
func (o outgoing) leaveOut(sender string) string {
	if o.includeSelf {
		return ""
	}
	return sender
}
