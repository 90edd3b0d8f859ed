package history_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// kinds are the owners of sockets that keep a history.
var kinds = []string{"an object", "a replica"}

var plainDial = dogtest.DialOptions{}

// hello is the first frame of a connection.
type hello struct {
	V    int
	Pos  string
	Gap  string
	In   uint64
	Ping int64
	Max  int64
}

// client speaks dog.v1, frame by frame.
type client struct {
	*dogtest.Client
	t     testing.TB
	hello hello
	pos   string // of the last message
}

// dial connects a client of a uid. after is the parameter of the query with its
// name, or "".
func dial(t testing.TB, srv *dogtest.Server, uid, after string) *client {
	t.Helper()
	return dialWith(t, srv, "/?u="+uid+after, dogtest.DialOptions{})
}

func dialWith(t testing.TB, srv *dogtest.Server, path string, options dogtest.DialOptions) *client {
	t.Helper()
	options.Subprotocols = []string{"dog.v1"}
	c := &client{Client: srv.DialWith(path, options), t: t}
	require.Equal(t, "dog.v1", c.Subprotocol())
	kind, text := c.frame()
	require.Equal(t, "h", kind)
	require.NoError(t, json.Unmarshal([]byte(text), &c.hello))
	require.Equal(t, 1, c.hello.V)
	c.pos = c.hello.Pos
	return c
}

func after(position string) string { return "&after=" + url.QueryEscape(position) }

// frame returns the kind of the next frame, and the rest. A message's place is
// added to the position.
func (c *client) frame() (kind, rest string) {
	c.t.Helper()
	return c.parse(c.Receive())
}

func (c *client) parse(m dog.Message) (kind, rest string) {
	c.t.Helper()
	text := m.String()
	require.NotEmpty(c.t, text)
	kind, rest = text[:1], text[1:]
	if kind != "m" {
		return kind, rest
	}
	place, payload, found := strings.Cut(rest, "\n")
	require.True(c.t, found)
	if place != "" {
		epoch, _, _ := strings.Cut(c.pos, "-")
		next := epoch + "-" + place
		require.Greater(c.t, next, c.pos, "positions grow")
		c.pos = next
	}
	return kind, payload
}

// message returns the next message.
func (c *client) message() string {
	c.t.Helper()
	kind, payload := c.frame()
	require.Equal(c.t, "m", kind, payload)
	return payload
}

// messages returns what has arrived.
func (c *client) messages() (all []string) {
	c.t.Helper()
	for _, m := range c.Received() {
		kind, payload := c.parse(m)
		require.Equal(c.t, "m", kind, payload)
		all = append(all, payload)
	}
	return all
}

// numbered returns the texts "from" to "to".
func numbered(from, to int) (all []string) {
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// over runs a test for each kind of owner, in a bubble.
func over(t *testing.T, on *fixture.OwnerHooks, options dog.Options, f func(t *testing.T, v *fixture.Owners)) {
	forEachKind(t, func(t *testing.T, kind string) { f(t, fixture.NewOwners(t, kind, options, on)) })
}

// forEachKind runs a test for the name of each kind of owner, in a bubble.
func forEachKind(t *testing.T, f func(t *testing.T, kind string)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, kind) })
		})
	}
}
