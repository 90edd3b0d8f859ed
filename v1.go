package dog

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/wire"
)

// This file serves clients that speak the subprotocol dog.v1, which
// docs/dog.v1.md describes.

// v1Client is what a socket has whose client speaks dog.v1.
type v1Client struct {
	// fixed before OnOpen
	session string // "" if the client has none
	latest  bool   // the client wants new messages only
	resume  Resume
	ping    time.Duration // 0: none
	max     int64
}

// v1Of returns what a request says in dog.v1. It returns nil if the client does
// not offer the subprotocol.
func v1Of(r *http.Request) (*v1Client, error) {
	if !wire.Offered(r.Header) {
		return nil, nil
	}
	q := r.URL.Query()
	v := &v1Client{session: q.Get("session"), latest: !q.Has("after")}
	v.resume.Asked = Position(q.Get("after"))
	if v.resume.Asked != "" {
		if _, err := wire.ParsePosition(string(v.resume.Asked)); err != nil {
			return nil, &StatusError{Status: http.StatusBadRequest, Text: "after is not a position", Err: err}
		}
	}
	if q.Has("session") && !wire.ValidSession(v.session) {
		return nil, &StatusError{
			Status: http.StatusBadRequest, Text: "session must be 8 to 64 letters, digits, - or _",
		}
	}
	return v, nil
}

// hello is the payload of the first frame to a client.
type hello struct {
	Version int       `json:"v"`
	From    Position  `json:"pos"`
	Gap     GapReason `json:"gap"`
	Handled uint64    `json:"in"`
	Ping    int64     `json:"ping"` // ms
	Max     int64     `json:"max"`
}

// greet sends hello.
func (s *Socket) greet() {
	data, err := json.Marshal(hello{
		Version: 1, From: s.v1.resume.From, Gap: s.v1.resume.Gap,
		Ping: s.v1.ping.Milliseconds(), Max: s.v1.max,
	})
	if err != nil {
		panic(err) // there is nothing that cannot be encoded
	}
	_ = s.conn.Send(conn.NewControl(append([]byte{wire.Hello}, data...)), "")
}

// joinSet lets the socket receive the messages to all sockets of its object,
// and before them those that it has missed.
func (s *Socket) joinSet(set *socketSet) {
	r := s.obj.record()
	if r == nil {
		if s.v1 != nil {
			s.v1.resume.Gap = GapFirst
			if s.v1.resume.Asked != "" {
				s.v1.resume.Gap = GapEpoch
			}
			s.greet()
		}
		set.join(s)
		return
	}
	r.order.Lock()
	defer r.order.Unlock()
	if s.v1 != nil {
		var from uint64
		s.v1.resume, from = r.resume(s.v1.resume.Asked, s.v1.latest)
		s.greet()
		s.conn.Follow(from)
	}
	set.join(s)
}

// unwrap returns the message in a frame of a client, and reports whether there
// is one.
func (s *Socket) unwrap(data []byte) (payload []byte, ok bool) {
	if s.v1 == nil {
		return data, true
	}
	f, err := wire.Parse(data)
	if err != nil || f.ID != 0 && s.v1.session == "" {
		s.close(closeMalformed, "not dog.v1", true)
		return nil, false
	}
	return f.Payload, f.Kind == wire.Message
}

// The codes with which dog.v1 closes a connection whose client should not come
// back.
const closeMalformed = 4003
