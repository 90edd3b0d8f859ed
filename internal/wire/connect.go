package wire

import (
	"encoding/json"
	"net/http"
	"strings"
)

// A Request is what a client asks for when it connects.
type Request struct {
	Session string // "" if the client has none
	Asked   Packed // none if the client has none
	Latest  bool   // the client wants new messages only
}

// A RequestError is an invalid parameter of a request.
type RequestError struct {
	Text string // for the client
	Err  error  // nil if Text says it all
}

func (e *RequestError) Error() string { return e.Text }

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Err }

// ParseRequest returns what a request asks for, or nil if the client does not
// offer the subprotocol. The error is a [RequestError].
func ParseRequest(r *http.Request) (*Request, error) {
	if !Offered(r.Header) {
		return nil, nil
	}
	q := r.URL.Query()
	// The session is remembered for long, and must not keep the URL.
	v := &Request{Session: strings.Clone(q.Get("session")), Latest: !q.Has("after")}
	if asked := q.Get("after"); asked != "" {
		p, err := ParsePosition(asked)
		if err != nil {
			return nil, &RequestError{Text: "after is not a position", Err: err}
		}
		v.Asked = p.Pack()
	}
	if q.Has("session") && !ValidSession(v.Session) {
		return nil, &RequestError{Text: "session must be 8 to 64 letters, digits, - or _"}
	}
	return v, nil
}

// version is that of the protocol.
const version = 1

// A Greeting is the content of the first frame to a client.
type Greeting struct {
	From    string `json:"pos"`  // the position after which the client gets all messages
	Gap     string `json:"gap"`  // why messages before that are missing
	Handled uint64 `json:"in"`   // greatest number of the client's messages that was handled
	Ping    int64  `json:"ping"` // ms between pings; 0: none
	Max     int64  `json:"max"`  // bytes of a message
}

// AppendHello appends the first frame to a client.
func AppendHello(b []byte, g Greeting) []byte {
	data, err := json.Marshal(struct {
		Version int `json:"v"`
		Greeting
	}{version, g})
	if err != nil {
		panic(err) // there is nothing that cannot be encoded
	}
	return append(append(b, Hello), data...)
}
