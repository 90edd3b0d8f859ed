package socket_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

type (
	onlyOpens    struct{ dog.Object }
	onlyListens  struct{ dog.Object }
	onlyFails    struct{ dog.Object }
	onlyCloses   struct{ dog.Object }
	onlyStarts   struct{ dog.Object }
	onlyGathers  struct{ dog.Group }
	onlyPromotes struct{ onlyOpens }
)

func (*onlyOpens) OnOpen(context.Context, *dog.Socket) error                   { return nil }
func (*onlyListens) OnMessage(context.Context, *dog.Socket, dog.Message) error { return nil }
func (*onlyFails) OnError(context.Context, *dog.Socket, error) error           { return nil }
func (*onlyCloses) OnClose(context.Context, *dog.Socket, int, string) error    { return nil }
func (*onlyStarts) OnStart(context.Context) error                              { return nil }

func TestSocket_TypeWithSocketHandlersConnectsWithoutReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		opens, err := dog.RegisterObject[onlyOpens](rt, "opens", nil)
		require.NoError(t, err)
		listens, err := dog.RegisterObject[onlyListens](rt, "listens", nil)
		require.NoError(t, err)
		fails, err := dog.RegisterObject[onlyFails](rt, "fails", nil)
		require.NoError(t, err)
		closes, err := dog.RegisterObject[onlyCloses](rt, "closes", nil)
		require.NoError(t, err)
		promotes, err := dog.RegisterObject[onlyPromotes](rt, "promotes", nil)
		require.NoError(t, err)
		starts, err := dog.RegisterObject[onlyStarts](rt, "starts", nil)
		require.NoError(t, err)
		objects, err := dog.RegisterObject[dog.Object](rt, "objects", nil)
		require.NoError(t, err)
		replicas, err := dog.RegisterReplica[dog.Replica](rt, "replicas", nil)
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "groups", replicas, &dog.GroupOptions[onlyGathers]{Limit: 5})
		require.NoError(t, err)
		replica, err := groups.Named("a").Identify(t.Context(), "ada")
		require.NoError(t, err)

		for name, c := range map[string]struct {
			to     http.Handler
			status int
		}{
			"OnOpen":                     {opens.Named("a"), http.StatusSwitchingProtocols},
			"OnMessage":                  {listens.Named("a"), http.StatusSwitchingProtocols},
			"OnError":                    {fails.Named("a"), http.StatusSwitchingProtocols},
			"OnClose":                    {closes.Named("a"), http.StatusSwitchingProtocols},
			"promoted from another type": {promotes.Named("a"), http.StatusSwitchingProtocols},
			"a replica without any":      {replica, http.StatusSwitchingProtocols},
			"an object with OnStart":     {starts.Named("a"), http.StatusNotFound},
			"an object without any":      {objects.Named("a"), http.StatusNotFound},
			"a group":                    {groups.Named("a"), http.StatusNotFound},
		} {
			srv := dogtest.Serve(t, c.to)
			client, answer, err := srv.TryDial("/", dogtest.DialOptions{})
			if c.status == http.StatusSwitchingProtocols {
				require.NoError(t, err, name)
				client.Vanish()
				continue
			}
			require.Error(t, err, name)
			require.Equal(t, c.status, answer.StatusCode, name)
			require.Equal(t, 404, statusOf(t, srv, "GET", "/", nil), name)
		}
	})
}

// statusOf requests a path and returns the status of the answer.
func statusOf(t *testing.T, srv *dogtest.Server, method, path string, header map[string]string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, dogtest.URL+path, http.NoBody)
	require.NoError(t, err)
	for name, value := range header {
		req.Header.Set(name, value)
	}
	answer, err := srv.Client().Do(req)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	return answer.StatusCode
}

// handshakeHeader is the header of a right handshake, with changes.
func handshakeHeader(changes ...string) map[string]string {
	header := map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	}
	for i := 0; i < len(changes); i += 2 {
		header[changes[i]] = changes[i+1]
	}
	return header
}

func TestSocket_RefusedClientGetsTheReason(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var refusals []error
		on := &fixture.OwnerHooks{}
		on.Receive = func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
			s, err := o.Connect(w, req, nil)
			require.Equal(t, err == nil, s != nil)
			if err != nil {
				refusals = append(refusals, err)
			}
			return err // which has been answered
		}
		v := fixture.NewOwners(t, kind, dog.Options{}, on)
		for name, c := range map[string]struct {
			method, path string
			header       map[string]string
			status       int
		}{
			"a plain request":             {"GET", "/?u=ada", nil, 426},
			"another method":              {"POST", "/?u=ada", handshakeHeader(), 405},
			"another origin":              {"GET", "/?u=ada", handshakeHeader("Origin", "https://evil.test"), 403},
			"a key that is none":          {"GET", "/?u=ada", handshakeHeader("Sec-WebSocket-Key", "short"), 400},
			"a version that is none":      {"GET", "/?u=ada", handshakeHeader("Sec-WebSocket-Version", "12"), 400},
			"control characters":          {"GET", "/?u=a%00b", handshakeHeader(), 400},
			"a uid that is invalid UTF-8": {"GET", "/?u=%ff", handshakeHeader(), 400},
			"a uid that is too long":      {"GET", "/?u=" + strings.Repeat("u", 1025), handshakeHeader(), 400},
			"an origin of its own":        {"GET", "/?u=ada", handshakeHeader("Origin", dogtest.URL), 101},
			"a uid just not too long":     {"GET", "/?u=" + strings.Repeat("u", 1024), handshakeHeader(), 101},
		} {
			require.Equal(t, c.status, statusOf(t, v.Server, c.method, c.path, c.header), name)
		}
		synctest.Wait()
		require.Zero(t, v.Runtime.Stats().Sockets, "who was refused, or has gone, has no socket")
		for _, err := range refusals {
			require.Equal(t, dog.HTTPStatus(err) < 500, true, "%v", err)
		}

		stopped := make(chan error, 1)
		busy := make(chan struct{})
		on.Message = func(context.Context, fixture.Owner, *dog.Socket, dog.Message) error { <-busy; return nil }
		v.Enter("ada").Send("hold")
		synctest.Wait()
		go func() { stopped <- v.Runtime.Shutdown(context.Background()) }()
		synctest.Wait()
		require.Equal(t, 503, statusOf(t, v.Server, "GET", "/?u=bob", handshakeHeader()), "during shutdown")
		close(busy)
		require.NoError(t, <-stopped)
		require.Equal(t, 503, statusOf(t, v.Server, "GET", "/?u=bob", handshakeHeader()), "after shutdown")
	})
}

func TestSocket_UIDIsKnownBeforeTheObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var own string
		v := fixture.NewOwners(t, "an object with Receive and OnError", dog.Options{}, &fixture.OwnerHooks{
			Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				if !dog.IsUpgrade(req) {
					_, err := fmt.Fprintf(w, "you are %q", dog.UID(req.Context()))
					return err
				}
				_, err := o.Connect(w, req, &dog.SocketOptions{UID: own})
				return err
			},
			Open: func(ctx context.Context, o fixture.Owner, s *dog.Socket) error {
				require.Empty(t, dog.UID(ctx), "it is the request's")
				return s.Send(s.UID())
			},
		})
		status, body := v.Server.Get("/?u=ada")
		require.Equal(t, 200, status)
		require.Equal(t, `you are "ada"`, body)
		_, body = v.Server.Get("/")
		require.Equal(t, `you are ""`, body, "nobody was named")
		require.Equal(t, "ada", v.Enter("ada").Receive().String())
		require.Equal(t, "", v.Enter("").Receive().String())
		own = "bob"
		require.Equal(t, "bob", v.Enter("ada").Receive().String(), "the object knows better")
		require.Equal(t, "bob", v.Enter("").Receive().String())
	})
}

func TestSocket_OwnerSendsToItsSockets(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			SocketOptions: dog.SocketOptions{
				Tags:        []string{"b", "a", "b"},
				AutoRequest: "ping",
				AutoReply:   "pong",
				Attachment:  1,
			},
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				to, text, _ := strings.Cut(m.String(), " ")
				switch to {
				case "all":
					return o.Broadcast(text)
				case "others":
					return s.Emit(text)
				case "crowd":
					return s.Broadcast(text)
				case "whisper":
					n, err := fixture.Whisper(ctx, o, text, "psst")
					if errors.Is(err, dog.ErrNoTarget) {
						return s.Send("nobody")
					}
					return errors.Join(err, s.Send(n))
				case "socket-whisper":
					n, err := s.Whisper(ctx, text, "psst")
					if errors.Is(err, dog.ErrNoTarget) {
						return s.Send("nobody")
					}
					return errors.Join(err, s.Send(n))
				case "disconnect":
					n, err := fixture.Disconnect(ctx, o, text, 4000, "")
					if errors.Is(err, dog.ErrNoTarget) {
						return s.Send("nobody")
					}
					_, invalid := fixture.Disconnect(ctx, o, "bob", 1006, "")
					fixture.RequireUsage(t, invalid, "close code")
					return errors.Join(err, s.Send(n))
				case "count":
					all, tagged, none, own := 0, 0, 0, 0
					for range o.Sockets() {
						all++
					}
					for range o.Sockets("b", "a") {
						tagged++
					}
					for range o.Sockets("a", "c") {
						none++
					}
					for range o.SocketsOf(text) {
						own++
					}
					return s.Send(fmt.Sprint(all, tagged, none, own, s.Tags(), s.AutoReplied().IsZero()))
				case "attach":
					var n int
					require.NoError(t, s.Attachment(&n))
					fixture.RequireUsage(t, s.SetAttachment(strings.Repeat("x", 20_000)), "more than 16,384")
					return errors.Join(s.SetAttachment(n+1), s.Send(n))
				}
				return errors.New("unknown")
			},
		})
		ada, bob, tab := v.Enter("ada"), v.Enter("bob"), v.Enter("bob")
		send := func(c *dogtest.Client, text string) (ofAda, ofBob, ofTab []string) {
			c.Send(text)
			return fixture.Texts(ada), fixture.Texts(bob), fixture.Texts(tab)
		}
		requireHeard := func(c *dogtest.Client, text string, want ...[]string) {
			t.Helper()
			a, b, x := send(c, text)
			require.Equal(t, want, [][]string{a, b, x}, text)
		}
		requireHeard(ada, "all hi", []string{"hi"}, []string{"hi"}, []string{"hi"})
		requireHeard(bob, "others hi", []string{"hi"}, nil, []string{"hi"})
		requireHeard(bob, "crowd hi", []string{"hi"}, nil, []string{"hi"})
		for _, word := range []string{"whisper", "socket-whisper"} {
			requireHeard(ada, word+" bob", []string{"2"}, []string{"psst"}, []string{"psst"})
			requireHeard(ada, word+" ada", []string{"psst", "1"}, nil, nil)
			requireHeard(ada, word+" eve", []string{"nobody"}, nil, nil)
		}
		requireHeard(ada, "ping", []string{"pong"}, nil, nil)
		requireHeard(ada, "count bob", []string{"3 3 0 2 [a b] false"}, nil, nil)
		requireHeard(tab, "count eve", nil, nil, []string{"3 3 0 0 [a b] true"})
		requireHeard(ada, "attach", []string{"1"}, nil, nil)
		requireHeard(ada, "attach", []string{"2"}, nil, nil)
		requireHeard(ada, "disconnect eve", []string{"nobody"}, nil, nil)
		requireHeard(ada, "disconnect bob", []string{"2"}, nil, nil)
		code, _ := tab.Closed()
		require.Equal(t, 4000, code)
		requireHeard(ada, "count bob", []string{"1 1 0 0 [a b] false"}, nil, nil)
		require.Equal(t, 1, v.Runtime.Stats().Sockets)
	})
}
