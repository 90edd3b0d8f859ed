package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/client"
)

// A modelServer is a server of dog.v1 with one history, as simple as possible.
type modelServer struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when there is something to send
	epoch    string
	log      []string // the message at the place i+1
	first    int      // so many of log are not kept any more
	sessions map[string]uint64
	handled  map[string]int    // how often a client's message took effect
	all      map[string]int    // the positions of all messages there ever were, in order
	data     map[string]string // the messages by their positions
	lose     string            // "before" or "after": when the connection of the next client's message is cut
	late     time.Duration     // of acknowledgements
}

func newModelServer() *modelServer {
	return &modelServer{
		changed: make(chan struct{}), epoch: "aaaaaaaaaaaa", sessions: make(map[string]uint64),
		handled: make(map[string]int), all: make(map[string]int), data: make(map[string]string),
	}
}

func (s *modelServer) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func place(n int) string {
	digits := strconv.Itoa(n)
	return string(rune('a'+len(digits)-1)) + digits
}

func (s *modelServer) position(n int) string { return s.epoch + "-" + place(n) }

func (s *modelServer) publish() {
	s.change(func() {
		data := fmt.Sprint("message ", len(s.all))
		s.log = append(s.log, data)
		s.all[s.position(len(s.log))] = len(s.all)
		s.data[s.position(len(s.log))] = data
	})
}

func (s *modelServer) trim() { s.change(func() { s.first = len(s.log) }) }

// forget begins another history, in which the numbers of sessions stay.
func (s *modelServer) forget() {
	s.change(func() {
		s.epoch = "a" + s.epoch[:10] + string(s.epoch[11]+1)
		s.log, s.first = nil, 0
	})
}

// resume returns the place from which messages follow, and the reason of a gap.
// s.mu is held.
func (s *modelServer) resume(r *http.Request) (from int, gap string) {
	after := r.URL.Query().Get("after")
	epoch, at, _ := strings.Cut(after, "-")
	switch {
	case !r.URL.Query().Has("after"):
		return len(s.log), "first"
	case after == "":
		return s.first, "first"
	case epoch != s.epoch:
		return s.first, "epoch"
	}
	n, _ := strconv.Atoi(at[1:])
	if n < s.first {
		return s.first, "expired"
	}
	return n, ""
}

func (s *modelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"dog.v1"}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	session := r.URL.Query().Get("session")
	s.mu.Lock()
	from, gap := s.resume(r)
	epoch := s.epoch
	hello, _ := json.Marshal(map[string]any{
		"v": 1, "pos": s.position(from), "gap": gap, "in": s.sessions[session], "ping": 20000, "max": 65536,
	})
	s.mu.Unlock()
	write := func(text string) error { return ws.Write(ctx, websocket.MessageText, []byte(text)) }
	if write("h"+string(hello)) != nil {
		return
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer cancel()
		for {
			_, data, err := ws.Read(ctx)
			if err != nil || s.frame(session, string(data), write) != nil {
				return
			}
		}
	})
	defer reading.Wait()
	defer cancel()
	for {
		s.mu.Lock()
		changed, text := s.changed, ""
		switch {
		case epoch != s.epoch:
			text = fmt.Sprintf(`g{"from":"%s-%s","to":"%s","why":"epoch"}`, epoch, place(from), s.position(s.first))
			epoch, from = s.epoch, s.first
		case from < s.first:
			text = fmt.Sprintf(`g{"from":"%s","to":"%s","why":"slow"}`, s.position(from), s.position(s.first))
			from = s.first
		case from < len(s.log):
			from++
			text = "m" + place(from) + "\n" + s.log[from-1]
		}
		s.mu.Unlock()
		if text == "" {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		if write(text) != nil {
			return
		}
	}
}

// frame handles what a client has sent.
func (s *modelServer) frame(session, data string, write func(string) error) error {
	if data == "p" {
		return write("q")
	}
	header, payload, _ := strings.Cut(data, "\n")
	n, err := strconv.ParseUint(strings.TrimPrefix(header, "m"), 10, 64)
	if err != nil {
		return err
	}
	s.mu.Lock()
	lose, late := s.lose, s.late
	s.lose = ""
	if lose != "before" && n > s.sessions[session] {
		s.sessions[session] = n
		s.handled[payload]++
	}
	s.mu.Unlock()
	if lose != "" {
		return net.ErrClosed
	}
	time.Sleep(late)
	return write("a" + strconv.FormatUint(n, 10))
}

// modelStep is something that happens to a client.
type modelStep struct {
	what string
	wait time.Duration
}

// Whatever breaks, a client receives each kept message once and in order, or a
// gap in its place, and what it sends takes effect once if Send returns nil, at
// most once if that is uncertain, and never otherwise.
func TestClient_BehavesLikeItsModel(t *testing.T) {
	steps := rapid.Custom(func(t *rapid.T) modelStep {
		return modelStep{
			rapid.SampledFrom([]string{
				"publish", "publish", "publish", "publish", "send", "send", "send", "hurry", "wait",
				"trim", "forget", "restart", "lose before", "lose after", "late", "prompt",
			}).Draw(t, "what"),
			time.Duration(rapid.IntRange(0, 4).Draw(t, "wait")) * 3 * time.Second,
		}
	})
	weaknesses := rapid.Custom(func(t *rapid.T) weakness {
		return weakness{
			rapid.IntRange(1, 700).Draw(t, "reads"), rapid.IntRange(1, 700).Draw(t, "writes"),
			rapid.Bool().Draw(t, "silent"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOfN(steps, 1, 60).Draw(rt, "steps")
		weak := rapid.SliceOfN(weaknesses, 0, 12).Draw(rt, "connections")
		random := rapid.SliceOfN(rapid.Float64Range(0, 0.999), 1, 5).Draw(rt, "random")
		synctest.Test(t, func(t *testing.T) {
			newModelWorld(t, weak, random).play(plan)
		})
	})
}

// A modelWorld is a client with its server and the network between them.
type modelWorld struct {
	t       *testing.T
	server  *modelServer
	network *http.Client
	random  []float64
	sending sync.WaitGroup
	pending atomic.Int64 // calls of Send

	c         *client.Client
	receiving sync.WaitGroup
	saved     *string // by SavePosition; owned by the receiving goroutine, if there is one

	mu       sync.Mutex
	weak     []weakness // of the next connections
	picked   int        // of random
	outcomes map[string]error

	last   int  // of the messages received, in the order of server.all; -1: none. owned by the receiving goroutine
	gapped bool // there was a gap since. owned by the receiving goroutine
	again  bool // the client is a new one, which may receive the last event again
}

func (w *modelWorld) play(plan []modelStep) {
	w.start()
	for i, s := range plan {
		switch s.what {
		case "publish":
			w.server.publish()
		case "trim":
			w.server.trim()
		case "forget":
			w.server.forget()
		case "send":
			w.send(fmt.Sprint("send ", i), 3*time.Hour)
		case "hurry":
			w.send(fmt.Sprint("hurry ", i), time.Second)
		case "lose before", "lose after":
			w.server.change(func() { _, w.server.lose, _ = strings.Cut(s.what, " ") })
		case "late":
			w.server.change(func() { w.server.late = 2 * time.Second })
		case "prompt":
			w.server.change(func() { w.server.late = 0 })
		case "restart":
			w.stop()
			w.start()
		}
		time.Sleep(s.wait)
	}
	w.server.publish() // also ends a history that is empty
	time.Sleep(time.Hour)
	require.Zero(w.t, w.pending.Load(), "messages were not settled although the network works")
	w.stop()
	w.sending.Wait()

	require.Equal(w.t, len(w.server.all)-1, w.last, "the last message was received")
	for data, err := range w.outcomes {
		times := w.server.handled[data]
		switch {
		case err == nil:
			require.Equal(w.t, 1, times, data)
		case errors.Is(err, client.ErrUncertain):
			require.LessOrEqual(w.t, times, 1, data)
		default:
			require.Zero(w.t, times, "%s: %v", data, err)
		}
	}
}

// newModelWorld makes a world in which the first connections are weak.
func newModelWorld(t *testing.T, weak []weakness, random []float64) *modelWorld {
	w := &modelWorld{
		t: t, server: newModelServer(), weak: weak, random: random,
		outcomes: make(map[string]error), last: -1, saved: new(""),
	}
	w.network = serve(w.t, w.server)
	transport := w.network.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil || len(w.weak) == 0 {
			return c, err
		}
		weak := &weakConn{Conn: c, weakness: w.weak[0], closed: make(chan struct{})}
		w.weak = w.weak[1:]
		return weak, nil
	}
	return w
}

func (w *modelWorld) start() {
	var err error
	w.c, err = newClient(address, client.Options{
		After: w.saved, HTTPClient: w.network,
		SavePosition: func(_ context.Context, p string) error {
			w.saved = &p
			return nil
		},
	}, func() float64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.picked++
		return w.random[w.picked%len(w.random)]
	})
	require.NoError(w.t, err)
	w.again = true
	w.receiving.Go(func() {
		for event, err := range w.c.Events(context.Background()) {
			if err == nil {
				w.received(event)
			}
		}
	})
}

func (w *modelWorld) stop() {
	w.c.Close()
	w.receiving.Wait()
}

// received checks an event against the messages that there were.
func (w *modelWorld) received(event client.Event) {
	again := w.again
	w.again = false
	m, is := event.(client.Message)
	if !is {
		w.gapped = true
		return
	}
	w.server.mu.Lock()
	n, known := w.server.all[m.Position]
	data := w.server.data[m.Position]
	w.server.mu.Unlock()
	if !known || data != string(m.Data) {
		w.t.Errorf("%q at %s, which has %q", m.Data, m.Position, data)
	}
	switch {
	case n == w.last+1:
	case n > w.last && w.gapped:
	case n == w.last && again: // it was being handled
	default:
		w.t.Errorf("message %d after %d", n, w.last)
	}
	w.last, w.gapped = n, false
}

func (w *modelWorld) send(data string, patience time.Duration) {
	c := w.c
	w.pending.Add(1)
	w.sending.Go(func() {
		defer w.pending.Add(-1)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := c.Send(ctx, data)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.outcomes[data] = err
	})
}
