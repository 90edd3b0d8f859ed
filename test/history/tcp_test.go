package history_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

type tcpReplica struct{ dog.Replica }

// Over TCP and TLS, clients that break their connections at any time and
// sometimes do not read get all messages of all speakers, in one order. One
// reads nothing until it is behind.
func TestResume_RandomReconnects(t *testing.T) {
	for _, secure := range []bool{false, true} {
		name := "TCP"
		if secure {
			name = "TLS"
		}
		t.Run(name, func(t *testing.T) { reconnectAtRandom(t, secure) })
	}
}

func reconnectAtRandom(t *testing.T, secure bool) {
	const (
		clients  = 8
		speakers = 3
		messages = 1500 // of each speaker
	)
	rt, err := dog.New(dog.Options{LingerFor: -1})
	require.NoError(t, err)
	replicas, err := dog.RegisterReplica(rt, "replica", &dog.ReplicaOptions[tcpReplica]{
		Sockets: dog.SocketOptions{QueueBytes: 16 << 10, OriginPatterns: []string{"*"}},
	})
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(rt, "groups", replicas, &dog.GroupOptions[dog.Group]{
		Limit: 3, History: dog.HistoryOptions{Count: 1 << 20, Bytes: 64 << 20},
	})
	require.NoError(t, err)
	main := groups.Named("main")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stub, err := main.Identify(r.Context(), r.FormValue("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, r)
	})
	srv := httptest.NewUnstartedServer(handler)
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	defer srv.Close()
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()

	var order []string // in which the messages were kept: that of the first client
	var mu sync.Mutex
	var all sync.WaitGroup
	var spoken atomic.Int64
	party := &listening{srv: srv, history: main.History(), n: speakers * messages}
	party.behind = func() bool { return rt.Stats().Histories["groups"].Behind > 0 }
	for i := range clients {
		all.Go(func() {
			got := party.listen(t, fmt.Sprint("client-", i), i == 0)
			mu.Lock()
			defer mu.Unlock()
			if order == nil {
				order = got
			}
			if fmt.Sprint(order) != fmt.Sprint(got) {
				t.Error("two clients got the messages in different orders")
			}
		})
	}
	for i := range speakers {
		all.Go(func() {
			for n := range messages {
				text := fmt.Sprintf("%d-%d %s", i, n, strings.Repeat("x", rand.IntN(1000)))
				if err := main.Broadcast(t.Context(), text); err != nil {
					t.Error(err)
				}
				if spoken.Add(1)%50 == 0 {
					time.Sleep(time.Millisecond) // others get a turn
				}
			}
		})
	}
	all.Wait()
	require.Len(t, order, speakers*messages)
	next := map[string]int{}
	for _, text := range order {
		var n int
		speaker, rest, _ := strings.Cut(text, "-")
		_, err := fmt.Sscan(rest, &n)
		require.NoError(t, err)
		require.Equal(t, next[speaker], n, "speaker %s", speaker)
		next[speaker]++
	}
	t.Logf("%d connections, %d with messages to catch up on", party.connections.Load(), party.missed.Load())
	require.Positive(t, party.missed.Load())
	require.EqualValues(t, 1, party.slow.Load(), "one was behind while it was connected")
}

// listening is what clients do that receive n messages each.
type listening struct {
	srv     *httptest.Server
	history dog.History
	n       int
	behind  func() bool // whether a client is behind

	connections, missed, slow atomic.Int64 // all; those of clients that came back to more messages; slow ones
}

// wait waits until a client is behind.
func (l *listening) wait(t *testing.T) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if l.behind() {
			l.slow.Add(1)
			return
		}
	}
	t.Error("nobody is behind")
}

// listen receives messages over connections that it breaks, and returns them
// without their padding. If the client is slow, it reads nothing over the first
// connection until it is behind.
func (l *listening) listen(t *testing.T, uid string, slow bool) (all []string) {
	pos, srv, n := "", l.srv, l.n
	for len(all) < n && !t.Failed() {
		l.connections.Add(1)
		var nc net.Conn
		client := &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (_ net.Conn, err error) {
				nc, err = new(net.Dialer).DialContext(ctx, network, address)
				if err == nil && slow {
					err = nc.(*net.TCPConn).SetReadBuffer(4096)
				}
				return nc, err
			},
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a server of the test
		}}
		ws, resp, err := websocket.Dial(t.Context(), srv.URL+"/?u="+uid+"&after="+url.QueryEscape(pos),
			&websocket.DialOptions{Subprotocols: []string{"dog.v1"}, HTTPClient: client})
		if err != nil {
			t.Error(err)
			return all
		}
		if resp.Body != nil {
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		ws.SetReadLimit(1 << 20)
		if slow {
			l.wait(t)
			slow = false
		}
		for k := range rand.IntN(n / 4) {
			_, data, err := ws.Read(t.Context())
			if err != nil {
				t.Errorf("%s after %d: %v", uid, len(all), err)
				return all
			}
			header, payload, _ := strings.Cut(string(data), "\n")
			switch {
			case k == 0:
				var h hello
				err := json.Unmarshal([]byte(header[1:]), &h)
				if err != nil || pos != "" && (h.Gap != "" || h.Pos != pos) {
					t.Errorf("%s asked for %q: hello %s: %v", uid, pos, header, err)
				}
				if last, err := l.history.Position(); err != nil || pos != "" && string(last) > pos {
					l.missed.Add(1)
				}
				pos = h.Pos
			case header[0] == 'm' && len(header) > 1:
				pos = pos[:13] + header[1:]
				text, _, _ := strings.Cut(payload, " ")
				all = append(all, text)
				if fmt.Sprint(len(all)) != header[2:] {
					t.Errorf("%s got %q as its message %d", uid, header, len(all))
					return all
				}
			default:
				t.Errorf("%s got %q", uid, header)
			}
			if rand.IntN(500) == 0 {
				time.Sleep(20 * time.Millisecond) // it reads nothing for a while
			}
			if len(all) == n {
				break
			}
		}
		_ = nc.Close()
	}
	return all
}
