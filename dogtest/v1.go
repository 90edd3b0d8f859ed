package dogtest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/wire"
)

// A V1Client is a test's client that speaks dog.v1: it has a position in a
// history, and its messages take effect once. Unlike dog.js and package client,
// it never reconnects by itself: [V1Client.Vanish] breaks the connection, and
// [V1Client.Again] connects again. All methods except Vanish must be called
// from the test's goroutine.
type V1Client struct {
	Hello Hello // the first frame of the server

	c       *Client
	server  *Server
	path    string
	options V1Options

	position dog.Position
	last     uint64        // number of the last message
	acked    uint64        // greatest number that the server has acknowledged
	sent     []dog.Message // those that are not acknowledged, up to last
	arrived  []arrival     // and not taken
}

// V1Options configures a client that speaks dog.v1. DialV1 sets Subprotocols to
// dog.v1.
type V1Options struct {
	DialOptions

	// After is the position from which the client resumes, "" for all kept
	// messages. Nil: the client gets new messages only.
	After *dog.Position

	// Session is the name of the client's session. Default: a random one.
	Session string
}

// Hello is the first frame of the server.
type Hello struct {
	Position dog.Position  `json:"pos"` // from which messages follow
	Gap      dog.GapReason `json:"gap"` // why messages before it are missing
	Handled  uint64        `json:"in"`  // the number of the last message of the session that was handled
}

// A Gap takes the place of messages that the client does not get.
type Gap struct {
	From   dog.Position  `json:"from"`
	To     dog.Position  `json:"to"`
	Reason dog.GapReason `json:"why"`
}

// arrival is a message, or a gap if that is set.
type arrival struct {
	message  dog.Message
	gap      *Gap
	position dog.Position // after it
}

// DialV1 connects a client that speaks dog.v1 to a path.
func (s *Server) DialV1(path string, options V1Options) *V1Client {
	s.t.Helper()
	if options.Session == "" {
		options.Session = rand.Text()
	}
	c := &V1Client{server: s, path: path, options: options}
	c.dial()
	return c
}

// Again connects the client again, after [V1Client.Vanish]. It continues its
// session from the position of the last message that it has received, and sends
// the messages again that the server has not handled. The result replaces c.
func (c *V1Client) Again() *V1Client {
	c.server.t.Helper()
	again := &V1Client{
		server: c.server, path: c.path, options: c.options, last: c.last, acked: c.acked, sent: c.sent,
	}
	if c.position != "" {
		again.options.After = &c.position
	}
	again.dial()
	for i, m := range again.sent {
		again.write(again.last-uint64(len(again.sent)-1-i), m)
	}
	return again
}

// dial connects and receives hello.
func (c *V1Client) dial() {
	t := c.server.t
	t.Helper()
	path, query, _ := strings.Cut(c.path, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatalf("dogtest: dial %s: %v", c.path, err)
	}
	values.Set("session", c.options.Session)
	if c.options.After != nil {
		values.Set("after", string(*c.options.After))
	}
	options := c.options.DialOptions
	options.Subprotocols = []string{wire.Protocol}
	c.c = c.server.DialWith(path+"?"+values.Encode(), options)
	if c.c.Subprotocol() != wire.Protocol {
		t.Fatalf("dogtest: dial %s: the server does not speak %s", c.path, wire.Protocol)
	}
	first := c.c.Receive()
	kind, header, _ := cutFrame(first.Data)
	if kind != wire.Hello {
		t.Fatalf("dogtest: dial %s: the first frame is %q", c.path, first)
	}
	c.decode(header, &c.Hello)
	c.position = c.Hello.Position
	c.acknowledge(c.Hello.Handled)
}

// cutFrame returns the parts of a frame.
func cutFrame(data []byte) (kind byte, header string, payload []byte) {
	head, payload, _ := bytes.Cut(data, []byte{'\n'})
	if len(head) == 0 {
		return 0, "", payload
	}
	return head[0], string(head[1:]), payload
}

func (c *V1Client) decode(header string, v any) {
	c.server.t.Helper()
	if err := json.Unmarshal([]byte(header), v); err != nil {
		c.server.t.Fatalf("dogtest: receive %q: %v", header, err)
	}
}

// acknowledge removes the messages that the server has handled.
func (c *V1Client) acknowledge(number uint64) {
	c.acked = max(c.acked, number)
	c.last = max(c.last, number)
	if waits := c.last - c.acked; waits < uint64(len(c.sent)) {
		c.sent = c.sent[uint64(len(c.sent))-waits:]
	}
}

// take handles a frame that has arrived.
func (c *V1Client) take(m dog.Message) {
	t := c.server.t
	t.Helper()
	kind, header, payload := cutFrame(m.Data)
	before := c.position
	if len(c.arrived) > 0 {
		before = c.arrived[len(c.arrived)-1].position
	}
	switch kind {
	case wire.Message:
		a := arrival{message: dog.Message{Type: m.Type, Data: payload}, position: before}
		if header != "" {
			history, _, _ := strings.Cut(string(before), "-")
			a.position = dog.Position(history + "-" + header)
			if _, err := wire.ParsePosition(string(a.position)); err != nil || a.position <= before {
				t.Fatalf("dogtest: receive: the position %q after %q", a.position, before)
			}
		}
		c.arrived = append(c.arrived, a)
	case wire.Gap:
		gap := new(Gap)
		c.decode(header, gap)
		c.arrived = append(c.arrived, arrival{gap: gap, position: gap.To})
	case wire.Ack:
		number, err := strconv.ParseUint(header, 10, 64)
		if err != nil {
			t.Fatalf("dogtest: receive %q: %v", m, err)
		}
		c.acknowledge(number)
	}
}

// next returns the next message or gap.
func (c *V1Client) next() arrival {
	c.server.t.Helper()
	for len(c.arrived) == 0 {
		c.take(c.c.Receive())
	}
	a := c.arrived[0]
	c.arrived = c.arrived[1:]
	c.position = a.position
	return a
}

// Receive returns the next message, without its header. It fails the test if
// none arrives soon, or if a gap comes first.
func (c *V1Client) Receive() dog.Message {
	c.server.t.Helper()
	a := c.next()
	if a.gap != nil {
		c.server.t.Fatalf("dogtest: receive: a gap from %s to %s: %s", a.gap.From, a.gap.To, a.gap.Reason)
	}
	return a.message
}

// ReceiveGap returns the next gap, which must arrive soon. Messages that arrive
// before are dropped.
func (c *V1Client) ReceiveGap() Gap {
	c.server.t.Helper()
	for {
		if a := c.next(); a.gap != nil {
			return *a.gap
		}
	}
}

// Received returns the messages that have arrived and have not been taken yet,
// up to the next gap, without waiting (see [Client.Received]).
func (c *V1Client) Received() []dog.Message {
	c.server.t.Helper()
	for _, m := range c.c.Received() {
		c.take(m)
	}
	n := slices.IndexFunc(c.arrived, func(a arrival) bool { return a.gap != nil })
	if n < 0 {
		n = len(c.arrived)
	}
	messages := make([]dog.Message, n)
	for i := range messages {
		messages[i] = c.next().message
	}
	return messages
}

// Position returns the position of the last received message or gap, "" if
// there is no history.
func (c *V1Client) Position() dog.Position { return c.position }

// Send sends v, encoded as by [dog.Encode], with the next number of the
// session, and returns the number. If the connection has ended, Send does not
// fail: [V1Client.Again] sends the message.
func (c *V1Client) Send(v any) (number uint64) {
	c.server.t.Helper()
	m, err := dog.Encode(v)
	if err != nil {
		c.server.t.Fatalf("dogtest: send: %v", err)
	}
	c.last++
	c.sent = append(c.sent, m)
	c.write(c.last, m)
	return c.last
}

// write sends a message with its number. If the connection has ended, Again
// sends the message.
func (c *V1Client) write(number uint64, m dog.Message) {
	header := append(strconv.AppendUint([]byte{wire.Message}, number, 10), '\n')
	_ = c.c.write(dog.Message{Type: m.Type, Data: append(header, m.Data...)})
}

// Acknowledged waits until the server has acknowledged a message. It fails the
// test if that does not happen soon.
func (c *V1Client) Acknowledged(number uint64) {
	c.server.t.Helper()
	for c.acked < number {
		c.take(c.c.Receive())
	}
}

// Closed is [Client.Closed].
func (c *V1Client) Closed() (code int, reason string) {
	c.server.t.Helper()
	return c.c.Closed()
}

// Close is [Client.Close].
func (c *V1Client) Close(code int, reason string) {
	c.server.t.Helper()
	c.c.Close(code, reason)
}

// Vanish is [Client.Vanish].
func (c *V1Client) Vanish() { c.c.Vanish() }
