package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/client"
	"github.com/godurable/dog/client/internal/faults"
)

const (
	from = "k3f9q2ab7c1d-c118" // where the server of most tests begins
	next = "k3f9q2ab7c1d-c119"
)

// begin is hello with the position from.
var begin = faults.Step{Hello: &faults.Hello{Position: from, Gap: "first"}}

// connection is a connection with hello and other steps.
func connection(steps ...faults.Step) faults.Connection {
	return faults.Connection{Steps: append([]faults.Step{begin}, steps...)}
}

// A script is a server that does what a test says, and its client.
type script struct {
	t       *testing.T
	network *http.Client
	c       *client.Client
	states  *recorder
}

// run starts a server and a client in a bubble. At the end, it closes the
// client and checks that the server is content.
func run(t *testing.T, options client.Options, connections []faults.Connection, f func(t *testing.T, s *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := faults.New(faults.Table{Scenarios: []faults.Scenario{{Name: "test", Connections: connections}}}, 1)
		s := &script{t: t, network: serve(t, server), states: newRecorder()}
		options.HTTPClient, options.OnState = s.network, s.states.record
		var err error
		s.c, err = newClient(address+"test?room=a", options, func() float64 { return 0.5 })
		require.NoError(t, err)
		defer s.c.Close()
		f(t, s)
		require.JSONEq(t, `{"ok":true}`, string(get(t, s.network, address+"test/verdict")))
	})
}

// receive returns the next message, which must come.
func (s *script) receive() client.Message {
	s.t.Helper()
	for {
		event, err := s.c.Receive(s.t.Context())
		require.NoError(s.t, err)
		if m, is := event.(client.Message); is {
			return m
		}
	}
}

func TestNew_RefusesWhatNoServerAccepts(t *testing.T) {
	for name, try := range map[string]struct {
		url     string
		options client.Options
	}{
		"a URL that is none":     {url: "http://[::1"},
		"another scheme":         {url: "ftp://example.com/"},
		"no host":                {url: "ws:///rooms"},
		"a short session":        {url: address, options: client.Options{Session: "1234567"}},
		"a session with a space": {url: address, options: client.Options{Session: "123456 78"}},
		"a long session":         {url: address, options: client.Options{Session: strings.Repeat("a", 65)}},
		"a long position":        {url: address, options: client.Options{After: new(strings.Repeat("a", 35))}},
		"a negative age":         {url: address, options: client.Options{MaxAge: -1}},
		"a negative queue":       {url: address, options: client.Options{QueueMessages: -1}},
		"negative bytes":         {url: address, options: client.Options{QueueBytes: -1}},
		"a negative limit":       {url: address, options: client.Options{ReadLimit: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.New(try.url, try.options)
			require.ErrorIs(t, err, client.ErrInvalid)
			require.Nil(t, c)
		})
	}
}

func TestClient_KeepsTheQueryAndSendsHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := make(chan *http.Request, 10)
		network := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests <- r
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		tokens := 0
		c, err := client.New("ws://dog.test/rooms?u=ada&after=x&session=y#part", client.Options{
			Session: "my-session", After: new(""), HTTPClient: network, Header: http.Header{"X-Room": {"a"}},
			Token: func(context.Context) (string, error) {
				tokens++
				if tokens == 2 {
					return "", errors.New("no token at the moment")
				}
				return "secret" + string(rune('0'+tokens)), nil
			},
		})
		require.NoError(t, err)
		defer c.Close()
		for _, token := range []string{"secret1", "secret3"} {
			r := <-requests
			require.Equal(t, "/rooms", r.URL.Path)
			require.Equal(t, "after=&session=my-session&u=ada", r.URL.RawQuery)
			require.Equal(t, "Bearer "+token, r.Header.Get("Authorization"))
			require.Equal(t, "a", r.Header.Get("X-Room"))
			require.Equal(t, "dog.v1", r.Header.Get("Sec-WebSocket-Protocol"))
		}
	})
}

func TestClient_CloseSendsACloseFrameAndWaits(t *testing.T) {
	run(t, client.Options{}, []faults.Connection{connection(faults.Step{Lost: 1000})},
		func(t *testing.T, s *script) {
			s.states.wait("open", 0)
			time.Sleep(time.Second)
			s.c.Close()
			s.c.Close()
			_, err := s.c.Receive(t.Context())
			require.ErrorIs(t, err, client.ErrClosed)
			require.ErrorIs(t, s.c.Send(t.Context(), "x"), client.ErrClosed)
			require.Equal(t, []string{"connecting", "open", "closed"}, s.states.all())
		})
}

func TestClient_CloseDoesNotWaitForADeadNetwork(t *testing.T) {
	for name, weak := range map[string]weakness{
		"in the handshake":    {reads: 1, writes: 1000, silent: true},
		"before hello":        {reads: 150, writes: 1000, silent: true},
		"after hello":         {reads: 320, writes: 1000, silent: true},
		"the client's writes": {reads: 10000, writes: 400, silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newModelWorld(t, []weakness{weak}, []float64{0})
				w.start()
				for range 10 {
					w.server.publish()
				}
				w.send(strings.Repeat("x", 300), time.Hour)
				synctest.Wait()
				began := time.Now()
				w.stop()
				w.sending.Wait()
				require.LessOrEqual(t, time.Since(began), time.Second)
			})
		})
	}
}

func TestClient_CloseEndsWhatWaits(t *testing.T) {
	run(t, client.Options{}, []faults.Connection{connection(faults.Step{Receive: "sent"})},
		func(t *testing.T, s *script) {
			var waiting sync.WaitGroup
			waiting.Go(func() {
				err := s.c.Send(t.Context(), "sent")
				require.ErrorIs(t, err, client.ErrUncertain)
				require.ErrorIs(t, err, client.ErrClosed)
			})
			waiting.Go(func() {
				for event, err := range s.c.Events(t.Context()) {
					if err == nil {
						require.IsType(t, client.Gap{}, event)
						continue
					}
					require.ErrorIs(t, err, client.ErrClosed)
				}
			})
			synctest.Wait()
			s.c.Close()
			waiting.Wait()
		})
}

func TestClient_ReportsItsStateAndWhyItIsNotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states []client.State
		var errs []string
		server := faults.New(faults.Table{Scenarios: []faults.Scenario{{Name: "test", Connections: []faults.Connection{
			{Refuse: &faults.Refuse{Status: 502}},
			{Steps: []faults.Step{begin, {Close: 1013}}},
			{After: new(from), Hang: 10000},
			{After: new(from), Steps: []faults.Step{begin, {Silent: true}, {Lost: 35000}}},
			{After: new(from), Refuse: &faults.Refuse{Status: 403}},
		}}}}, 1)
		c, err := client.New(address+"test", client.Options{
			HTTPClient: serve(t, server),
			OnState: func(s client.State, err error) {
				states = append(states, s)
				if err != nil {
					errs = append(errs, err.Error())
				}
			},
		})
		require.NoError(t, err)
		for _, err := range c.Events(t.Context()) {
			if err != nil {
				require.EqualError(t, err, "client: the server refused the connection with the status 403")
			}
		}
		c.Close()
		require.Equal(t, []client.State{
			client.Connecting, client.Waiting,
			client.Connecting, client.Open, client.Waiting,
			client.Connecting, client.Waiting,
			client.Connecting, client.Open, client.Waiting,
			client.Connecting, client.Closed,
		}, states)
		require.Len(t, errs, 5)
		for i, part := range []string{"502", "StatusTryAgainLater", "within 10 s", "does not answer", "403"} {
			require.Contains(t, errs[i], part)
		}
	})
}

func TestClient_ReportsAServerWithoutTheProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := make(chan error, 100)
		network := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if ws, err := websocket.Accept(w, r, nil); err == nil {
				_, _, _ = ws.Read(context.Background())
			}
		}))
		c, err := client.New(address, client.Options{HTTPClient: network, OnState: func(s client.State, err error) {
			if s == client.Waiting {
				errs <- err
			}
		}})
		require.NoError(t, err)
		defer c.Close()
		for range 3 {
			require.ErrorContains(t, <-errs, "does not speak dog.v1")
		}
	})
}

func TestClient_DropsAServerThatDoesNotSpeakTheProtocol(t *testing.T) {
	for name, hello := range map[string]string{
		"another frame":        "mc119\none",
		"no JSON":              "h{",
		"another version":      `h{"v":2,"pos":"","gap":"","in":0}`,
		"a position without -": `h{"v":1,"pos":"k3f9q2ab7c1d","gap":"","in":0}`,
		"a long position":      `h{"v":1,"pos":"` + strings.Repeat("a-", 20) + `","gap":"","in":0}`,
		"a huge number":        `h{"v":1,"pos":"","gap":"","in":9007199254740992}`,
		"a negative number":    `h{"v":1,"pos":"","gap":"","in":-1}`,
		"nothing":              "\n",
	} {
		t.Run(name, func(t *testing.T) {
			run(t, client.Options{}, []faults.Connection{
				{Steps: []faults.Step{{Send: hello}, {Lost: 1}}}, connection(),
			}, func(t *testing.T, s *script) { s.states.wait("open", 0) })
		})
	}
	for name, frame := range map[string]string{
		"a place without a history": "mc119\none",
		"a gap that is no JSON":     "g{",
		"a gap without an end":      `g{"from":"","why":"slow"}`,
		"no number":                 "a",
		"a signed number":           "a+1",
		"a number beyond 2⁵³":       "a9007199254740992",
		"a window of text":          `b{"in":["a","b"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			none := faults.Step{Hello: &faults.Hello{}}
			run(t, client.Options{}, []faults.Connection{
				{Steps: []faults.Step{none, {Send: frame}, {Lost: 1}}}, {Steps: []faults.Step{none}},
			}, func(t *testing.T, s *script) { s.states.wait("open", s.states.wait("open", 0)) })
		})
	}
}
