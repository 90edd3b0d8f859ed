package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// V1Subprotocol is the name of dog's subprotocol in a handshake.
const V1Subprotocol = "dog.v1"

var errV1 = errors.New("malformed dog.v1 frame")

// A V1Frame is what a server sends in one WebSocket message of dog.v1.
type V1Frame struct {
	Kind byte   // m: a message, h: hello, g: a gap
	Data []byte // the message, or the JSON
}

// ParseV1 parses the payload of a WebSocket frame.
func ParseV1(payload []byte) (V1Frame, error) {
	if len(payload) == 0 {
		return V1Frame{}, errV1
	}
	f := V1Frame{Kind: payload[0], Data: payload[1:]}
	if f.Kind != 'm' {
		return f, nil
	}
	var found bool
	if _, f.Data, found = bytes.Cut(f.Data, []byte{'\n'}); !found { // the place
		return V1Frame{}, errV1
	}
	return f, nil
}

// Position returns the position in a hello. It fails if messages are missing
// and the client was not new.
func (f V1Frame) Position() (string, error) {
	var hello struct{ Pos, Gap string }
	if err := json.Unmarshal(f.Data, &hello); err != nil {
		return "", err
	}
	if hello.Gap != "" && hello.Gap != "first" {
		return "", fmt.Errorf("a gap: %s", hello.Gap)
	}
	return hello.Pos, nil
}

// AppendV1 appends a message without a number, as a client sends it.
func AppendV1(b, message []byte) []byte { return append(append(b, "m\n"...), message...) }
