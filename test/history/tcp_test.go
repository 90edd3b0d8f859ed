package history_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

// tcpReplica sends a message as its first word says: to all, to all but the
// client that has sent it, or to the uid that it is.
type tcpReplica struct {
	dog.Replica
	talk *tcpTalk
}

// OnOpen counts the socket.
func (r *tcpReplica) OnOpen(_ context.Context, s *dog.Socket) error {
	r.talk.open[numberOf(s.UID())].Add(1)
	return nil
}

// OnClose no longer counts the socket.
func (r *tcpReplica) OnClose(_ context.Context, s *dog.Socket, _ int, _ string) error {
	r.talk.open[numberOf(s.UID())].Add(-1)
	return nil
}

// OnMessage sends the message.
func (r *tcpReplica) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	to, _, _ := strings.Cut(m.String(), " ")
	switch to {
	case "all":
		return r.Broadcast(m)
	case "others":
		return s.Broadcast(m)
	}
	if _, err := r.Whisper(ctx, to, m); !errors.Is(err, dog.ErrNoTarget) { // who is away gets it later
		return err
	}
	return nil
}

// Over TCP and TLS, clients that speak on all replicas, break their connections
// at any time and sometimes do not read get all messages that are for them,
// each once and in one order. Some read nothing until they are behind, again
// and again.
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
	party := &tcpTalk{}
	party.failed, party.fail = context.WithCancel(t.Context())
	rt, err := dog.New(dog.Options{LingerFor: -1})
	require.NoError(t, err)
	replicas, err := dog.RegisterReplica(rt, "replica", &dog.ReplicaOptions[tcpReplica]{
		New:     func() *tcpReplica { return &tcpReplica{talk: party} },
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
	srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if secure {
			c = c.(*tls.Conn).NetConn()
		}
		if err := c.(*net.TCPConn).SetWriteBuffer(16 << 10); err != nil { // clients are behind soon
			t.Error(err)
		}
		return ctx
	}
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	defer srv.Close()
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()

	party.srv, party.history, party.slowSockets = srv, main.History(), rt.SlowSockets
	var all []*tcpTalker
	var busy sync.WaitGroup
	for i := range talkers {
		c := &tcpTalker{tcpTalk: party, i: i, uid: uidOf(i)}
		if i < slowTalkers {
			c.slow = slowTimes
		}
		all = append(all, c)
		busy.Go(func() { c.converse(t) })
	}
	busy.Go(func() { party.speakOutside(t, main.Broadcast) })
	busy.Wait()
	if t.Failed() {
		return
	}
	places := map[string]string{} // of all messages
	for _, c := range all {
		require.NoError(t, c.complete())
		for _, m := range c.got {
			if text, known := places[m.place]; known {
				require.Equal(t, text, m.text, "two clients got the messages in different orders")
			}
			places[m.place] = m.text
		}
	}
	require.Len(t, places, talkers*spokenByEach+int(party.outside.Load()))
	t.Logf("%d messages, %d connections, %d with messages to catch up on, %d messages sent again",
		len(places), party.connections.Load(), party.missed.Load(), party.again.Load())
	require.Positive(t, party.missed.Load())
	require.EqualValues(t, slowTalkers*slowTimes, party.slowed.Load(), "they were behind while they were connected")
}

// speakOutside broadcasts messages from outside, until all slow clients have
// been slow.
func (p *tcpTalk) speakOutside(t *testing.T, broadcast func(context.Context, any, ...dog.SendOption) error) {
	for n, last := 0, false; !last && p.failed.Err() == nil; n++ {
		if last = n >= 1500 && p.slowed.Load() == slowTalkers*slowTimes; last {
			p.outside.Store(int64(n + 1))
		}
		if err := broadcast(t.Context(), said("all", talkers, n)); err != nil {
			t.Error(err)
		}
		if n%10 == 0 {
			time.Sleep(time.Millisecond) // others get a turn
		}
	}
}

// said is the n-th text of a speaker.
func said(to string, speaker, n int) string {
	return fmt.Sprintf("%s %d %d %s", to, speaker, n, strings.Repeat("x", rand.IntN(1000)))
}
