// Package wire reads and writes the subprotocol dog.v1: the headers that mark
// the messages of a client that can catch up, and positions in a history.
//
// Each WebSocket message begins with a header of ASCII up to the first LF,
// whose first byte is the kind. The payload follows untouched. The package does
// not know sockets, histories or what a frame means to an object.
package wire

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Protocol is the name of the subprotocol.
const Protocol = "dog.v1"

// ErrMalformed is returned for a frame or position that does not have the form
// that the protocol asks for.
var ErrMalformed = errors.New("dog: malformed dog.v1")

// The kinds of frames.
const (
	Message = 'm' // a message

	// from the server
	Hello = 'h'
	Gap   = 'g'
	Ack   = 'a'
	Back  = 'b' // when to come back; see AppendBack

	Command = 'c' // see AppendCommand

	// from the client
	Ready = 'y' // it takes commands
	Reply = 'r' // see ParseReply
)

// The codes with which a connection is closed whose client should not come
// back.
const (
	CloseReplaced  = 4001 // by a newer connection
	CloseMalformed = 4003 // a frame was
)

// maxID is the greatest number of a message, which JavaScript has exactly.
const maxID = 1<<53 - 1

// A client asks with Ping whether the connection works, and gets Pong.
const (
	Ping = "p"
	Pong = "q"
)

// Offered reports whether a client offers the subprotocol.
func Offered(h http.Header) bool {
	for _, line := range h["Sec-Websocket-Protocol"] {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), Protocol) {
				return true
			}
		}
	}
	return false
}

// ValidSession reports whether a name may be that of a session.
func ValidSession(name string) bool {
	return len(name) >= 8 && len(name) <= 64 && strings.Trim(name, sessionChars) == ""
}

const sessionChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// maxHeader is the maximum length of a header in bytes, without the LF.
const maxHeader = 64

// A Frame is what a client has sent.
type Frame struct {
	Kind    byte
	ID      uint64 // of a message; 0: none
	Header  []byte // after the kind; shares memory with the message, like Payload
	Payload []byte
}

// Parse parses a message of a client. Kinds that it does not know are not an
// error, so that later versions may have more.
func Parse(data []byte) (Frame, error) {
	header, payload, _ := bytes.Cut(data[:min(len(data), maxHeader+1)], []byte{'\n'})
	if len(header) > maxHeader {
		return Frame{}, fmt.Errorf("%w: a header of more than %d bytes", ErrMalformed, maxHeader)
	}
	if len(header) == 0 {
		return Frame{}, fmt.Errorf("%w: no header", ErrMalformed)
	}
	if len(header) < len(data) {
		payload = data[len(header)+1:]
	}
	f := Frame{Kind: header[0], Header: header[1:], Payload: payload}
	if f.Kind < 'a' || f.Kind > 'z' {
		return Frame{}, fmt.Errorf("%w: a frame begins with a lower-case letter, not %q", ErrMalformed, header[:1])
	}
	if f.Kind != Message || len(header) == 1 {
		return f, nil
	}
	var err error
	if f.ID, err = parseNumber(string(header[1:])); err != nil {
		return Frame{}, err
	}
	if f.ID == 0 || f.ID > maxID {
		return Frame{}, fmt.Errorf("%w: the number %d of a message", ErrMalformed, f.ID)
	}
	return f, nil
}

// parseNumber parses decimal digits in the one form in which they are written.
func parseNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%w: the number %.24q", ErrMalformed, s)
	}
	return n, nil
}

// Clients come back after a shutdown at this rate, within these times.
const (
	returnsPerSecond = 2000
	minReturn        = 500 * time.Millisecond
	maxReturn        = 30 * time.Second
)

// AppendBack appends a frame with the time at which each of a number of clients
// has to come back: a random one, so that they do not all come at once.
func AppendBack(b []byte, clients int) []byte {
	within := min(max(time.Duration(clients)*time.Second/returnsPerSecond, minReturn), maxReturn)
	return fmt.Appendf(b, `%c{"in":[0,%d]}`, Back, within.Milliseconds())
}

// A Position is a place in a history: after the message with Offset, in the
// history with this Epoch. Clients treat its text as opaque. The texts of
// positions of one epoch sort like their offsets.
type Position struct {
	Epoch  string
	Offset uint64
}

// EpochLen is the length of an epoch, in letters of base32.
const EpochLen = 12

// EpochOf returns the epoch that a text stands for. Those of different texts
// differ.
func EpochOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:EpochLen])
}

// NewEpoch returns a random epoch.
func NewEpoch() string { return strings.ToLower(rand.Text()[:EpochLen]) }

const letters = "abcdefghijklmnopqrstuvwxyz234567" // in lower case

// String returns the text of a position.
func (p Position) String() string { return string(AppendPlace([]byte(p.Epoch+"-"), p.Offset)) }

// MaxPlace is the maximum length of a place.
const MaxPlace = 1 + 20

// AppendPlace appends the place of a message: the part of its position after
// the epoch.
func AppendPlace(b []byte, offset uint64) []byte {
	var d [20]byte
	digits := strconv.AppendUint(d[:0], offset, 10)
	return append(append(b, byte('a'+len(digits)-1)), digits...)
}

// ParsePosition parses the text of a position.
func ParsePosition(s string) (Position, error) {
	malformed := func() (Position, error) {
		return Position{}, fmt.Errorf("%w: the position %.40q", ErrMalformed, s)
	}
	if len(s) < EpochLen+3 || s[EpochLen] != '-' {
		return malformed()
	}
	if strings.Trim(s[:EpochLen], letters) != "" {
		return malformed()
	}
	n, err := ParsePlace(s[EpochLen+1:])
	if err != nil {
		return malformed()
	}
	return Position{Epoch: s[:EpochLen], Offset: n}, nil
}

// ParsePlace parses what AppendPlace has appended.
func ParsePlace(s string) (offset uint64, err error) {
	if s == "" || int(s[0])-'a'+1 != len(s)-1 {
		return 0, fmt.Errorf("%w: the place %.40q", ErrMalformed, s)
	}
	return parseNumber(s[1:])
}

// A Packed is a position in as few bytes as possible. Its zero value is none.
type Packed struct{ epoch, offset uint64 }

// Pack packs a position.
func (p Position) Pack() Packed {
	epoch := uint64(1) // none is 0
	for _, c := range []byte(p.Epoch) {
		epoch = epoch<<5 | uint64(strings.IndexByte(letters, c))
	}
	return Packed{epoch, p.Offset}
}

// String returns the text of the position, or "" if there is none.
func (p Packed) String() string {
	if p == (Packed{}) {
		return ""
	}
	var epoch [EpochLen]byte
	for i := range epoch {
		epoch[i] = letters[p.epoch>>(5*(EpochLen-1-i))&31]
	}
	return Position{Epoch: string(epoch[:]), Offset: p.offset}.String()
}
