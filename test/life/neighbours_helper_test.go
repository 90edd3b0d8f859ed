package life_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// street is a runtime with many good neighbours, and a bad one that hangs at
// one place until it is let go.
type street struct {
	rt        *dog.Runtime
	neighbors *dog.Namespace[neighbor]
	terraces  *dog.Groups[terrace, cottage]
	srv       *dogtest.Server
	hang      string // fixed
	until     chan struct{}

	hung atomic.Bool // a place that hangs the first time only

	mu      sync.Mutex
	running map[string]int // lives that OnStop has not ended, by name. guarded by mu
	stops   int            // guarded by mu
}

// at hangs if this is the place and the bad one is there.
func (s *street) at(place, name string) {
	switch {
	case place != s.hang || name != "bad":
	case place == "Clusterize" || place == "New" || place == "Schema":
		if s.hung.CompareAndSwap(false, true) {
			<-s.until
		}
	default:
		<-s.until
	}
}

// alive returns how many good neighbours are not stopped, and how often one
// was.
func (s *street) alive() (alive, stops int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, n := range s.running {
		if name != "bad" {
			alive += n
		}
	}
	return alive, s.stops
}

type neighbor struct {
	dog.Object
	street *street
}

func (n *neighbor) OnStart(context.Context) error {
	n.street.at("OnStart", n.Name())
	n.street.mu.Lock()
	defer n.street.mu.Unlock()
	n.street.running[n.Name()]++
	return nil
}

func (n *neighbor) OnStop(context.Context, dog.StopReason) error {
	n.street.at("OnStop", n.Name())
	n.street.mu.Lock()
	defer n.street.mu.Unlock()
	n.street.running[n.Name()]--
	n.street.stops++
	if n.street.hang == "disk" { // it would wait for the disk, too
		return nil
	}
	return n.Storage().Put("stopped", []byte("yes"))
}

func (n *neighbor) OnAlarm(context.Context, dog.Alarm) error {
	n.street.at("OnAlarm", n.Name())
	return nil
}

func (n *neighbor) Knock(ctx context.Context) error {
	n.street.at("handler", n.Name())
	if n.Name() != "bad" {
		return nil
	}
	switch n.street.hang {
	case "log":
		panic("on purpose")
	case "await":
		return dog.Await(ctx, func() error { <-n.street.until; return nil })
	case "loop":
		return dog.Go(ctx, func(ctx context.Context) error {
			for {
				if err := dog.Await(ctx, func() error { return sleep(ctx, time.Second) }); err != nil {
					return err
				}
			}
		})
	case "OnAlarm":
		return n.Storage().Alarms().Set(time.Now())
	case "timer":
		n.After(time.Nanosecond, func(context.Context) error { n.street.at("timer", n.Name()); return nil })
	case "disk":
		return n.Storage().Put("knocked", nil)
	}
	return nil
}

func (n *neighbor) Receive(w http.ResponseWriter, _ *http.Request) error {
	_, _ = w.Write([]byte("hello"))
	return nil
}

// sleep waits, as long as ctx lasts.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// terrace is a group of cottages with every handler that a group may have.
type terrace struct {
	dog.Group
	street *street
}

func (w *terrace) Identify(req *http.Request) (string, error) {
	w.street.at("Identify", w.Name())
	return req.URL.Query().Get("u"), nil
}

func (w *terrace) Clusterize(context.Context, string) (string, error) {
	w.street.at("Clusterize", w.Name())
	return "one", nil
}

func (w *terrace) OnPresence(context.Context, dog.PresenceChange) error {
	w.street.at("OnPresence", w.Name())
	return nil
}

type cottage struct {
	dog.Replica
	street *street
}

func (b *cottage) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := b.Connect(w, req, nil)
	return err
}

func (b *cottage) OnOpen(context.Context, *dog.Socket) error {
	b.street.at("OnOpen", b.GroupName())
	return nil
}

func (b *cottage) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	b.street.at("OnMessage", b.GroupName())
	return s.Send(m)
}

func (b *cottage) OnError(context.Context, *dog.Socket, error) error {
	b.street.at("OnError", b.GroupName())
	return nil
}

func (b *cottage) OnClose(context.Context, *dog.Socket, int, string) error {
	b.street.at("OnClose", b.GroupName())
	return nil
}

func (b *cottage) OnGossip(context.Context, dog.Message) (any, error) {
	b.street.at("OnGossip", b.GroupName())
	return nil, nil
}

// holdingLog is a slog.Handler that hangs with the record of the bad one.
type holdingLog struct {
	slog.Handler
	street *street
}

func (h holdingLog) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h holdingLog) Enabled(context.Context, slog.Level) bool { return true }

func (h holdingLog) Handle(context.Context, slog.Record) error { h.street.at("log", "bad"); return nil }

// slowReader is an answer that its client does not read.
type slowReader struct {
	*httptest.ResponseRecorder
	street *street
}

func (w slowReader) Write(p []byte) (int, error) {
	w.street.at("answer", "bad")
	return w.ResponseRecorder.Write(p)
}

func newStreet(t *testing.T, hang string) *street {
	s := &street{hang: hang, until: make(chan struct{}), running: make(map[string]int)}
	var err error
	var keep dog.Store
	schema := dog.Schema(nil)
	switch hang {
	case "Schema":
		keep, schema = fixture.OpenedStore(&streetEngine{fixture.PromptEngine(), s}), dog.Schema{"a step"}
	case "disk":
		engine := storetest.New()
		keep = fixture.OpenedStore(engine)
		go func() {
			<-s.until
			engine.Prompt()
		}()
	}
	s.rt = dogtest.New(t, dog.Options{
		Store:      keep,
		EvictAfter: time.Minute, MaxObjects: 750, StartTimeout: -1,
		Logger: slog.New(holdingLog{slog.DiscardHandler, s}),
		Trace: &dog.Trace{
			ObjectStarted: func(o dog.ObjectInfo) { s.at("ObjectStarted", o.Name) },
			ObjectStopped: func(o dog.ObjectInfo, _ error) { s.at("ObjectStopped", o.Name) },
			EventDone:     func(e dog.EventInfo) { s.at("EventDone", e.Object.Name) },
			SocketOpened:  func(c *dog.Socket) { s.at("SocketOpened", c.UID()) },
			SocketClosed:  func(c *dog.Socket, _ *dog.CloseError) { s.at("SocketClosed", c.UID()) },
		},
	})
	s.neighbors, err = dog.RegisterObject(
		s.rt, "neighbor", &dog.ObjectOptions[neighbor]{
			New:    func() *neighbor { s.at("New", "bad"); return &neighbor{street: s} },
			Schema: schema,
		},
	)
	require.NoError(t, err)
	cottages, err := dog.RegisterReplica(
		s.rt, "cottage", &dog.ReplicaOptions[cottage]{New: func() *cottage { return &cottage{street: s} }},
	)
	require.NoError(t, err)
	s.terraces, err = dog.RegisterGroup(
		s.rt, "terrace", cottages,
		&dog.GroupOptions[terrace]{
			New: func() *terrace { return &terrace{street: s} }, Limit: 10, Presence: dog.Presence{Grace: time.Second},
		},
	)
	require.NoError(t, err)
	s.srv = dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.terraces.Named(req.URL.Query().Get("terrace")).ServeHTTP(w, req)
	}))
	return s
}

// provoke brings the bad neighbour to the place where it hangs, or will.
func (s *street) provoke(t *testing.T) {
	t.Helper()
	switch s.hang {
	case "answer":
		go s.neighbors.Named("bad").
			ServeHTTP(slowReader{httptest.NewRecorder(), s}, httptest.NewRequest("GET", "/", nil))
	case "Identify", "Clusterize", "OnOpen", "OnMessage", "OnError", "OnClose", "SocketOpened", "SocketClosed",
		"OnGossip", "OnPresence":
		go func() {
			c, _, err := s.srv.TryDial("/?terrace=bad&u=bad", dogtest.DialOptions{})
			if err != nil {
				return // it hangs, or is let in too late
			}
			switch s.hang {
			case "OnMessage":
				c.Send("hello")
			case "OnError":
				c.Vanish()
			case "OnClose", "SocketClosed":
				c.Close(1000, "")
			case "OnGossip":
				_, _ = s.terraces.Named("bad").Gossip(context.Background(), "hello")
			}
		}()
	default:
		go func() { _ = dog.CallErr0(context.Background(), s.neighbors.Named("bad"), (*neighbor).Knock) }()
	}
	if s.hang == "timer" {
		time.Sleep(time.Nanosecond)
	}
	synctest.Wait()
}

// streetEngine opens databases in which nothing happens, except that the first
// one hangs at a step of its schema.
type streetEngine struct {
	store.Engine
	street *street
}

func (e *streetEngine) OpenSQL(store.Pages, store.SQLLimits) (store.SQL, error) {
	return streetSQL{street: e.street}, nil
}

type streetSQL struct {
	store.SQL
	street *street
}

func (q streetSQL) Run(_ string, _ []any, write func() error) (store.Rows, error) {
	q.street.at("Schema", "bad")
	return noRows{}, write()
}

func (streetSQL) Allow(time.Duration, int) {}
func (streetSQL) Savepoint(int) error      { return nil }
func (streetSQL) Release(int) error        { return nil }
func (streetSQL) LastInsertID() int64      { return 0 }
func (streetSQL) Changes() int64           { return 0 }
func (streetSQL) Commit() error            { return nil }
func (streetSQL) Rollback() error          { return nil }
func (streetSQL) Close() error             { return nil }

type noRows struct{ store.Rows }

func (noRows) Next() bool   { return false }
func (noRows) Err() error   { return nil }
func (noRows) Close() error { return nil }
