package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A Table is a set of scenarios, each of which a client of dog.v1 must get
// through. All times in it are milliseconds.
type Table struct {
	About []string `json:"about"` // for those who write a harness

	// Scale is by what both sides multiply every time when they run in real
	// time: the client its back-off, silences, limits and maximum age, and what
	// the server asks for in hello, b and Retry-After; the server the times of
	// the table.
	Scale float64 `json:"scale"`

	// Random is what the client uses in place of a random number in [0, 1), so
	// that its waits can be checked.
	Random float64 `json:"random"`

	Scenarios []Scenario `json:"scenarios"`
}

// A Scenario is what a server does, connection by connection, what the
// application does at the same time, and what it must have received at the end.
type Scenario struct {
	Name        string       `json:"name"`
	About       string       `json:"about"`
	Needs       []string     `json:"needs,omitempty"` // "status": sees the response that refuses a handshake
	Client      Client       `json:"client,omitzero"`
	App         []AppStep    `json:"app,omitempty"`
	Connections []Connection `json:"connections"`
	Quiet       int          `json:"quiet,omitempty"` // for so long after the last step, no connection may arrive

	Seen   []Seen   `json:"seen,omitempty"`   // messages and gaps, in order, without gaps with the reason first
	Sent   []Sent   `json:"sent,omitempty"`   // what became of the messages of App, in order
	States []string `json:"states,omitempty"` // of the client until the end of the scenario; none: not checked
	Final  *Final   `json:"final,omitempty"`  // why the client gave up; nil: it did not
}

// Client is with what the client is made.
type Client struct {
	After *string `json:"after,omitempty"` // the position to resume from; absent: from now
}

// An AppStep is one thing that the application does; one field is set.
type AppStep struct {
	Send  string `json:"send,omitempty"`  // sends this text, and does not wait for its acknowledgement
	Seen  int    `json:"seen,omitempty"`  // waits until so many of Seen have been seen
	State string `json:"state,omitempty"` // waits until the client has this state
	Delay int    `json:"delay,omitempty"` // waits
}

// Seen is a message or a gap that the application received.
type Seen struct {
	Message  string `json:"message,omitempty"`
	Binary   []byte `json:"binary,omitempty"` // in place of Message; base64 in JSON
	Position string `json:"position"`         // after the message; after a gap, the position from which messages follow
	Gap      string `json:"gap,omitempty"`    // the reason
	From     string `json:"from,omitempty"`   // the position before the gap
}

// Sent is what became of a message that the application sent.
type Sent struct {
	Data  string `json:"data"`
	Error string `json:"error,omitempty"` // "expired", "refused", "large"; "": it was acknowledged
}

// Final is why a client does not connect again.
type Final struct {
	Status int `json:"status,omitempty"` // of the response to the handshake
	Code   int `json:"code,omitempty"`   // with which the server closed the connection

	Reason string `json:"reason,omitempty"` // of the close; "": not checked
}

// A Connection is what the server does with one attempt of the client.
type Connection struct {
	After  *string `json:"after,omitempty"`  // that the client must send; absent: it must send none
	Wait   *int    `json:"wait,omitempty"`   // how long the client must have waited since the server ended the last one
	Hang   int     `json:"hang,omitempty"`   // the server does not answer; the client must give up after this time
	Refuse *Refuse `json:"refuse,omitempty"` // the server answers with a status
	Repeat int     `json:"repeat,omitempty"` // so many connections like this, each with Wait doubled
	Steps  []Step  `json:"steps,omitempty"`
}

// Refuse is a response in place of the handshake.
type Refuse struct {
	Status     int    `json:"status"`
	RetryAfter string `json:"retryAfter,omitempty"` // the header, in seconds
}

// A Step is one thing that the server does, or one that it waits for. One
// field is set, besides Cut and Reason.
type Step struct {
	Hello  *Hello `json:"hello,omitempty"`  // sends hello
	Send   string `json:"send,omitempty"`   // sends a text message, header and payload
	Binary []byte `json:"binary,omitempty"` // sends a binary message, header and payload; base64 in JSON
	Ack    string `json:"ack,omitempty"`    // acknowledges the message with this payload
	Cut    *Cut   `json:"cut,omitempty"`    // of Hello or Send: cuts the connection in that frame

	Receive string `json:"receive,omitempty"` // waits for a numbered message with this payload
	Nothing int    `json:"nothing,omitempty"` // for so long, the client must send nothing but p
	Delay   int    `json:"delay,omitempty"`   // waits
	Silent  bool   `json:"silent,omitempty"`  // does not answer p from now on
	Ping    int    `json:"ping,omitempty"`    // waits for p, which must come so long after the server's last message

	Drop  bool `json:"drop,omitempty"`  // cuts the connection
	Close int  `json:"close,omitempty"` // closes the connection with this code
	Lost  int  `json:"lost,omitempty"`  // the client must leave, so long after the server last sent something

	Reason string `json:"reason,omitempty"` // of Close; default "faults"
}

// Hello is the first frame. Absent fields are those of an ordinary server.
type Hello struct {
	Position string `json:"pos"`
	Gap      string `json:"gap"`
	In       string `json:"in,omitempty"`   // the payload of the greatest message handled; "": none
	Ping     *int   `json:"ping,omitempty"` // default 25,000
	Max      int    `json:"max,omitempty"`  // default 65,536
}

// Cut says where a frame is cut: after so many bytes of it, with the frame's
// own header. In a file it may also be the text "each": then the scenario is
// one for every byte of the frame, named NAME-0, NAME-1 and so on.
type Cut struct {
	Bytes int
	Each  bool
}

// UnmarshalJSON reads a number or the text "each".
func (c *Cut) UnmarshalJSON(data []byte) error {
	if string(data) == `"each"` {
		*c = Cut{Each: true}
		return nil
	}
	return json.Unmarshal(data, &c.Bytes)
}

// MarshalJSON writes a number.
func (c Cut) MarshalJSON() ([]byte, error) { return json.Marshal(c.Bytes) }

// Read reads a table and expands what stands for several scenarios or
// connections.
func Read(r io.Reader) (Table, error) {
	var t Table
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return Table{}, fmt.Errorf("faults: %w", err)
	}
	var all []Scenario
	for _, s := range t.Scenarios {
		s.Connections = repeated(s.Connections)
		all = append(all, s.eachCut()...)
	}
	t.Scenarios = all
	names := make(map[string]bool)
	for _, s := range all {
		if names[s.Name] {
			return Table{}, fmt.Errorf("faults: two scenarios %s", s.Name)
		}
		names[s.Name] = true
		if err := s.check(); err != nil {
			return Table{}, fmt.Errorf("faults: scenario %s: %w", s.Name, err)
		}
	}
	return t, nil
}

func repeated(connections []Connection) (all []Connection) {
	for _, c := range connections {
		n := max(c.Repeat, 1)
		c.Repeat = 0
		for range n {
			all = append(all, c)
			if c.Wait != nil {
				doubled := *c.Wait * 2
				c.Wait = &doubled
			}
		}
	}
	return all
}

// eachCut returns the scenarios for which this one stands.
func (s Scenario) eachCut() []Scenario {
	for i, c := range s.Connections {
		for j, step := range c.Steps {
			if step.Cut == nil || !step.Cut.Each {
				continue
			}
			var all []Scenario
			for n := range frameLen(step.text(nil)) {
				one := s
				one.Name = fmt.Sprintf("%s-%d", s.Name, n)
				one.Connections = append([]Connection(nil), s.Connections...)
				one.Connections[i].Steps = append([]Step(nil), c.Steps...)
				one.Connections[i].Steps[j].Cut = &Cut{Bytes: n}
				all = append(all, one)
			}
			return all
		}
	}
	return []Scenario{s}
}

// frameLen returns the length of an unmasked WebSocket frame.
func frameLen(payload string) int {
	switch n := len(payload); {
	case n < 126:
		return 2 + n
	case n < 1<<16:
		return 4 + n
	default:
		return 10 + n
	}
}

// text returns the WebSocket message that a step sends. The map has the numbers
// of the client's messages by their payloads.
func (s Step) text(numbers map[string]uint64) string {
	switch {
	case s.Hello != nil:
		hello := struct {
			Version  int    `json:"v"`
			Position string `json:"pos"`
			Gap      string `json:"gap"`
			In       uint64 `json:"in"`
			Ping     int    `json:"ping"`
			Max      int    `json:"max"`
		}{1, s.Hello.Position, s.Hello.Gap, numbers[s.Hello.In], 25000, 65536}
		if s.Hello.Ping != nil {
			hello.Ping = *s.Hello.Ping
		}
		if s.Hello.Max != 0 {
			hello.Max = s.Hello.Max
		}
		data, err := json.Marshal(hello)
		if err != nil { // none of its fields can fail
			return err.Error()
		}
		return "h" + string(data)
	case s.Ack != "":
		return fmt.Sprint("a", numbers[s.Ack])
	case s.Binary != nil:
		return string(s.Binary)
	}
	return s.Send
}

// check returns an error if the scenario cannot be run.
func (s Scenario) check() error {
	if s.Name == "" || strings.Contains(s.Name, "/") || len(s.Connections) == 0 {
		return errors.New("no name or no connection")
	}
	for i, c := range s.Connections {
		if c.Refuse != nil || c.Hang > 0 {
			continue
		}
		for j, step := range c.Steps {
			last := j == len(c.Steps)-1
			if step.ends() && !last {
				return fmt.Errorf("connection %d: steps after its end", i+1)
			}
			if last && !step.ends() && i < len(s.Connections)-1 {
				return fmt.Errorf("connection %d does not end", i+1)
			}
		}
	}
	return nil
}

// ends reports whether the connection is over after the step.
func (s Step) ends() bool { return s.Drop || s.Close != 0 || s.Lost != 0 || s.Cut != nil }
