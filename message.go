package dog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/godurable/dog/internal/conn"
)

// MessageType is the type of a message in a WebSocket.
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

// A Message is a message from a client or a replica. Its data belongs to the
// receiver.
type Message struct {
	Type MessageType // zero: Text
	Data []byte
}

// String returns the data as a string.
func (m Message) String() string { return string(m.Data) }

// Decode decodes the data as JSON into the value that v points to. It is
// [json.Unmarshal], since any client may have sent the data: a number that goes
// into an any becomes the nearest float64. [JSON] refuses to round an integer.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("dog: decode message: %w", err)
	}
	return nil
}

// Encode returns the message that Send, Emit, Broadcast and Whisper make of v.
// A string or a [json.RawMessage] becomes text as it is. A []byte becomes
// binary. A Message stays as it is. Any other value becomes JSON text, by
// [json.Marshal]: in a string inside the value, bytes that are not UTF-8 become
// U+FFFD. [JSON] refuses such strings.
//
// Encode fails if v has no JSON form. It returns a [UsageError] if text is not
// UTF-8, since every client would refuse it.
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
			return Message{}, misuse(
				"Encode", "text that is not UTF-8, which every client would refuse; send it as []byte",
			)
		}
	case Binary:
	default:
		return Message{}, misuse("Encode", "unknown %v", m.Type)
	}
	return m, nil
}

// encodeJSON returns v in the JSON form in which gossip carries it. A Message
// is the JSON that it holds.
func encodeJSON(v any) ([]byte, error) {
	m, ok := v.(Message)
	if !ok {
		return json.Marshal(v)
	}
	if !json.Valid(m.Data) {
		return nil, errors.New("the message is not JSON")
	}
	return slices.Clone(m.Data), nil // like Marshal: the owner of the message may change it
}

// A SendOption changes the recipients of a message or the way it is sent. The
// zero SendOption changes nothing.
type SendOption struct {
	except    string
	key       string
	transient bool
}

// ExceptUID leaves out all sockets of a uid. If it is given several times, the
// last one applies.
func ExceptUID(uid string) SendOption { return SendOption{except: uid} }

// Coalesce marks a message as the newest state of the thing named by key, such
// as "cursor:ada". On a socket with the policy [CoalesceSlow], the message
// replaces a waiting message with the same key, whether or not the client is
// slow. A history keeps only the newest message with a key.
func Coalesce(key string) SendOption { return SendOption{key: key} }

// outgoing is a message to be sent. It is encoded and framed once for all its
// sockets.
type outgoing struct {
	frame     *conn.Frame
	key       string
	except    conn.Except
	transient bool // is not kept
}

// newOutgoing makes a message for sockets other than sender, which may be nil.
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
		o.transient = o.transient || option.transient
	}
	if o.transient {
		o.frame.Fleeting()
	}
	return o, nil
}
