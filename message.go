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

// A Message is what a client or a replica sent. Its data belongs to the
// receiver.
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

// Encode returns v as the message that Send, Emit, Broadcast and Whisper make
// of it: a string or a [json.RawMessage] is text as it stands, a []byte is
// binary, a Message is itself, anything else becomes JSON text.
//
// It fails when v has no JSON form, and with a [UsageError] when text is not
// UTF-8, which every client would refuse.
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
			return Message{}, misuse("Encode", "text that is not UTF-8, which every client would refuse; send it as []byte")
		}
	case Binary:
	default:
		return Message{}, misuse("Encode", "unknown %v", m.Type)
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

// A SendOption changes to whom or how a message is sent. The zero SendOption
// changes nothing.
type SendOption struct {
	except string
	key    string
}

// ExceptUID leaves out all sockets of a uid. Of several the last one counts.
func ExceptUID(uid string) SendOption { return SendOption{except: uid} }

// Coalesce names the thing a message tells the newest state of, such as
// "cursor:ada". Where a socket is slow and its policy is [CoalesceSlow], a
// newer message replaces one of the same key that is still queued.
func Coalesce(key string) SendOption { return SendOption{key: key} }

// outgoing is a message on its way: encoded and framed once, however many
// sockets it goes to.
type outgoing struct {
	frame  *conn.Frame
	key    string
	except conn.Except
}

// newOutgoing makes a message that is not for its sender, nil for nobody.
func newOutgoing(v any, sender *Socket, options []SendOption) (outgoing, error) {
	m, err := Encode(v)
	if err != nil {
		return outgoing{}, err
	}
	o := outgoing{frame: conn.NewFrame(conn.Op(m.Type), m.Data)}
	if sender != nil {
		o.except.Conn = sender.conn
	}
	for _, option := range options {
		if option.except != "" {
			o.except.Owner = option.except
		}
		if option.key != "" {
			o.key = option.key
		}
	}
	return o, nil
}
