package load_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// watcher counts the guests of each replica without using the roster. A guest
// enters when Receive begins and leaves just before whatever makes the library
// give its place back, so that the count is never above the real one.
type watcher struct {
	limit int

	mu     sync.Mutex
	inside map[dog.ID]map[string]bool // guests by replica. guarded by mu, like all below
	where  map[string]dog.ID          // replica by guest
	most   int
}

func (w *watcher) enter(replica dog.ID, guest string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inside[replica] == nil {
		w.inside[replica] = make(map[string]bool)
	}
	w.inside[replica][guest] = true
	w.where[guest] = replica
	w.most = max(w.most, len(w.inside[replica]))
	if n := len(w.inside[replica]); n > w.limit {
		return fmt.Errorf("%d on a replica for %d", n, w.limit)
	}
	return nil
}

func (w *watcher) leave(guest string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.inside[w.where[guest]], guest)
}

// load is rooms on a real network, and what happens there.
type load struct {
	*fixture.Rooms
	url     string
	watch   watcher
	guests  atomic.Int64
	entered atomic.Int64 // sockets

	mu      sync.Mutex
	records map[*dog.Socket]*record // guarded by mu
	faults  []error                 // guarded by mu
}

func (l *load) check(err error) {
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.faults = append(l.faults, err)
	}
}

func (l *load) on(s *dog.Socket, change func(*record)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.records[s] == nil {
		l.records[s] = &record{}
	}
	change(l.records[s])
}

func (l *load) hooks() *fixture.Hooks {
	return &fixture.Hooks{
		Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
			guest := req.URL.Query().Get("guest")
			l.check(l.watch.enter(r.ID(), guest))
			if req.URL.Path != "/ws" {
				_, err := r.Gossip(req.Context(), "who is there?") // a wait in which others come and go
				l.check(err)
				l.watch.leave(guest)
				return
			}
			if _, err := r.Connect(w, req, &dog.SocketOptions{Tags: []string{guest}}); err != nil {
				l.watch.leave(guest)
			}
		},
		Open: func(ctx context.Context, r *fixture.Room, s *dog.Socket) error {
			l.on(s, func(r *record) { r.onOpen++ })
			if l.entered.Add(1)%10 == 0 {
				l.watch.leave(s.Tags()[0])
				return errors.New("not you")
			}
			return r.Broadcast("hello")
		},
		Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
			if m.String() == "close" {
				l.watch.leave(s.Tags()[0])
				return s.Close(4000, "requested")
			}
			return r.Broadcast(m)
		},
		Close: func(ctx context.Context, _ *fixture.Room, s *dog.Socket, _ int, _ string) error {
			l.on(s, func(r *record) { r.onClose++ })
			return s.Broadcast("bye")
		},
	}
}

// client is one guest's connection.
type client struct {
	*websocket.Conn
	guest string
}

// act does n random things, one after the other. Connections stay open for
// Shutdown to close.
func (l *load) act(seed uint64, n int, readers *sync.WaitGroup) {
	random := rand.New(rand.NewPCG(seed, 1))
	background := context.Background()
	var open []client
	for range n {
		uid := fmt.Sprint("u", random.IntN(8))
		guest := fmt.Sprint(l.guests.Add(1))
		query := fmt.Sprintf("?u=%s&guest=%s", uid, guest)
		switch kind := random.IntN(10); {
		case kind < 3 || len(open) == 0 && kind < 7:
			ws, _, err := websocket.Dial(background, l.url+"/ws"+query, nil)
			if err != nil {
				continue // its replica was being drained
			}
			open = append(open, client{ws, guest})
			readers.Go(func() {
				for {
					if _, _, err := ws.Read(background); err != nil {
						return
					}
				}
			})
		case kind < 5:
			_ = open[random.IntN(len(open))].Write(background, websocket.MessageText, []byte("hello"))
		case kind < 7:
			i := random.IntN(len(open))
			c := open[i]
			open = slices.Delete(open, i, i+1)
			switch random.IntN(3) {
			case 0:
				l.watch.leave(c.guest)
				_ = c.Close(websocket.StatusNormalClosure, "")
			case 1:
				l.watch.leave(c.guest)
				_ = c.CloseNow()
			case 2:
				_ = c.Write(background, websocket.MessageText, []byte("close"))
			}
		case kind < 8:
			answer, err := http.Get(l.url + query)
			l.check(err)
			if err == nil {
				answer.Body.Close()
			}
		case kind < 9:
			stub, err := l.Identify(background, uid)
			l.check(err)
			if random.IntN(2) == 0 {
				stub.Release()
			}
		case random.IntN(5) == 0:
			for r := range l.Group.Replicas() {
				_ = l.Group.Drain(context.Background(), r.ID) // it may be gone
				break
			}
		}
	}
}

// The same over TCP, in real time, on several processors.
func TestRandom_LoadOverTCP(t *testing.T) {
	const limit, actors, things = 3, 12, 60
	l := &load{records: make(map[*dog.Socket]*record)}
	l.watch = watcher{limit: limit, inside: make(map[dog.ID]map[string]bool), where: make(map[string]dog.ID)}
	l.Rooms = fixture.NewRoomsWith(t, dog.Options{
		Logger: slog.New(slog.DiscardHandler),
		Trace: &dog.Trace{
			SocketOpened: func(s *dog.Socket) { l.on(s, func(r *record) { r.opened++ }) },
			SocketClosed: func(s *dog.Socket, _ *dog.CloseError) { l.on(s, func(r *record) { r.closed++ }) },
		},
	}, dog.GroupOptions[fixture.Lobby]{Limit: limit}, l.hooks())
	server := httptest.NewServer(l.Rooms)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	l.url = server.URL

	var acting, reading sync.WaitGroup
	for i := range actors {
		acting.Go(func() { l.act(uint64(i), things, &reading) })
	}
	acting.Wait()
	require.NoError(t, l.Runtime.Shutdown(context.Background()))
	reading.Wait()

	require.NoError(t, errors.Join(l.faults...))
	require.Equal(t, limit, l.watch.most, "the load was high enough to mean something")
	require.NotEmpty(t, l.records)
	for s, r := range l.records {
		require.Equal(t, record{1, 1, 1, 1}, *r, s.ID())
	}
	stats := l.Runtime.Stats()
	require.Zero(t, stats.Sockets)
	require.Zero(t, stats.QueuedBytes)
	for _, r := range stats.Groups[0].Replicas {
		require.Equal(t, r.Reserved, r.Load)
	}
}
