package outbox_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/client"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

// A handler is what a device does with commands.
type handler func(ctx context.Context, c client.Command) (any, error)

// A network is a way to a server that can be cut, or lead to another server.
type network struct {
	mu     sync.Mutex
	server *dogtest.Server // nil: there is none
	conns  []io.Closer
}

// RoundTrip implements [http.RoundTripper].
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	server := n.server
	n.mu.Unlock()
	if server == nil {
		return nil, errors.New("the server is away")
	}
	response, err := server.Client().Transport.RoundTrip(r)
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.conns = append(n.conns, response.Body)
	}
	return response, err
}

// lead makes new connections lead to a server, and cuts all others.
func (n *network) lead(to *dogtest.Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.server = to
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

// cut cuts all connections.
func (n *network) cut() { n.lead(n.server) }

// run runs a device with package client until the test ends.
func (s *site) run(n *network, options client.Options, h handler) *client.Client {
	s.t.Helper()
	if n == nil {
		n = &network{}
	}
	n.server = s.server
	options.HTTPClient = &http.Client{Transport: n}
	options.OnCommand = func(ctx context.Context, c client.Command) (any, error) {
		s.meet()
		defer s.meet()
		return h(ctx, c)
	}
	c, err := client.New(dogtest.URL+"/?d=d&u=dev", options)
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	synctest.Wait()
	s.meet()
	return c
}

// meet orders what handlers of clients and the test do before and after it.
func (s *site) meet() {
	s.mu.Lock()
	defer s.mu.Unlock()
}

// elapse lets time pass and waits until all goroutines are idle.
func (s *site) elapse(d time.Duration) {
	s.meet()
	fixture.Elapse(d)
	s.meet()
}

func TestClient_CarriesOutCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Window: 4}})
		s.put("one")
		s.put("two")
		var done []string
		s.run(nil, client.Options{}, func(_ context.Context, c client.Command) (any, error) {
			done = append(done, string(c.Data))
			switch string(c.Data) {
			case "fail":
				return nil, errors.New("jammed")
			case "unfit":
				return func() {}, nil
			case "nothing":
				return nil, nil
			}
			return "did " + string(c.Data), nil
		})
		require.Equal(t, []string{"one", "two"}, done)
		require.Equal(t, answer{"did three", nil}, <-s.ask(0, "three"))
		require.Equal(t, answer{"", nil}, <-s.ask(0, "nothing"))
		require.ErrorContains(t, (<-s.ask(0, "fail")).err, "jammed")
		require.ErrorContains(t, (<-s.ask(0, "unfit")).err, "unsupported type")
	})
}

func TestClient_RetryKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Window: 3}})
		for _, body := range []string{"a", "b", "c", "d"} {
			s.put(body)
		}
		var did []string
		tries := 0
		s.run(nil, client.Options{}, func(_ context.Context, c client.Command) (any, error) {
			if tries++; string(c.Data) == "b" && tries < 5 {
				return nil, client.Retry(errors.New("busy"))
			}
			did = append(did, string(c.Data))
			return nil, nil
		})
		require.Equal(t, []string{"a"}, did)
		s.elapse(10 * time.Second)
		require.Equal(t, []string{"a", "b", "c", "d"}, did)
		require.Empty(t, s.waiting())
	})
}

func TestClient_LongWorkIsNoSilenceAndSurvivesABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Deliver: 2, Window: 2}})
		got := s.ask(0, "long")
		s.put("next")
		n := &network{}
		begun := 0
		s.run(n, client.Options{}, func(_ context.Context, c client.Command) (any, error) {
			begun++
			if string(c.Data) == "long" {
				time.Sleep(time.Hour)
			}
			return "done", nil
		})
		s.elapse(10 * time.Minute)
		n.cut()
		s.elapse(50 * time.Minute)
		require.Equal(t, answer{"done", nil}, <-got)
		synctest.Wait()
		require.Equal(t, 2, begun)
		require.Empty(t, s.waiting())
	})
}

// A reply is lost with its connection. The command comes again, and is not
// carried out again, by this process or the next.
func TestClient_LostReplyIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		n := &network{}
		did := 0
		var last client.CommandID
		h := func(_ context.Context, c client.Command) (any, error) {
			did++
			last = c.ID
			n.cut() // before the reply can leave
			return "opened", nil
		}
		got := s.ask(0, "open")
		s.run(n, client.Options{}, h)
		s.elapse(time.Minute)
		require.Equal(t, answer{"opened", nil}, <-got)
		require.Equal(t, 1, did)

		dies := s.dial() // replaces the client for good
		got = s.ask(0, "close")
		f := dies.one()
		dies.Vanish() // it has closed, and dies before it replies
		stored := client.CommandID{Epoch: f.epoch, Number: uint64(f.number)}
		require.Equal(t, last.Epoch, stored.Epoch)
		s.run(n, client.Options{LastCommand: stored, LastReply: "closed"}, h)
		require.Equal(t, answer{"closed", nil}, <-got)
		require.Equal(t, 1, did)
		s.put("again")
		synctest.Wait()
		require.Equal(t, 2, did)
	})
}

func TestClient_ForeignEpochForgetsTheLastCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("a")
		did := 0
		s.run(nil, client.Options{LastCommand: client.CommandID{Epoch: "aaaaaaaaaaaa", Number: 99}},
			func(context.Context, client.Command) (any, error) {
				did++
				return nil, nil
			})
		require.Equal(t, 1, did)
		require.Empty(t, s.waiting())
	})
}

func TestClient_ExpiredCommandIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Window: 3}})
		s.put("slow", outbox.TTL(time.Hour))
		s.put("urgent", outbox.TTL(time.Minute))
		s.put("last")
		var did []string
		s.run(nil, client.Options{}, func(ctx context.Context, c client.Command) (any, error) {
			did = append(did, string(c.Data))
			if string(c.Data) == "slow" {
				time.Sleep(5 * time.Minute)
			}
			return nil, nil
		})
		s.elapse(5*time.Minute + 2*time.Second)
		require.Equal(t, []string{"slow", "last"}, did)
		require.Empty(t, s.waiting())
	})
}

func TestClient_ReplacedIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		c := s.run(nil, client.Options{}, func(context.Context, client.Command) (any, error) { return nil, nil })
		s.dial()
		for {
			if _, err := c.Receive(t.Context()); err != nil {
				var refused *client.RefusedError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, 4001, refused.Code)
				return
			}
		}
	})
}
