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

// hangTest is a runtime with many good neighbours, and a bad one that hangs at
// one place until it is let go.
type hangTest struct {
	rt      *dog.Runtime
	objects *dog.Namespace[hangObject]
	groups  *dog.Groups[hangGroup, hangReplica]
	srv     *dogtest.Server
	hang    string // fixed
	until   chan struct{}

	hung atomic.Bool // a place that hangs the first time only

	mu      sync.Mutex
	running map[string]int // lives that OnStop has not ended, by name. guarded by mu
	stops   int            // guarded by mu
}

// at hangs if this is the place and the bad one is there.
func (s *hangTest) at(place, name string) {
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
func (s *hangTest) alive() (alive, stops int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, n := range s.running {
		if name != "bad" {
			alive += n
		}
	}
	return alive, s.stops
}

type hangObject struct {
	dog.Object
	test *hangTest
}

func (o *hangObject) OnStart(context.Context) error {
	o.test.at("OnStart", o.Name())
	o.test.mu.Lock()
	defer o.test.mu.Unlock()
	o.test.running[o.Name()]++
	return nil
}

func (o *hangObject) OnStop(context.Context, dog.StopReason) error {
	o.test.at("OnStop", o.Name())
	o.test.mu.Lock()
	defer o.test.mu.Unlock()
	o.test.running[o.Name()]--
	o.test.stops++
	if o.test.hang == "disk" { // it would wait for the disk, too
		return nil
	}
	return o.Storage().Put("stopped", []byte("yes"))
}

func (o *hangObject) OnAlarm(context.Context, dog.Alarm) error {
	o.test.at("OnAlarm", o.Name())
	return nil
}

func (o *hangObject) Knock(ctx context.Context) error {
	o.test.at("handler", o.Name())
	if o.Name() != "bad" {
		return nil
	}
	switch o.test.hang {
	case "log":
		panic("on purpose")
	case "await":
		return dog.Await(ctx, func() error { <-o.test.until; return nil })
	case "loop":
		return dog.Go(ctx, func(ctx context.Context) error {
			for {
				if err := dog.Await(ctx, func() error { return sleep(ctx, time.Second) }); err != nil {
					return err
				}
			}
		})
	case "OnAlarm":
		return o.Storage().Alarms().Set(time.Now())
	case "timer":
		o.After(time.Nanosecond, func(context.Context) error { o.test.at("timer", o.Name()); return nil })
	case "disk":
		return o.Storage().Put("knocked", nil)
	}
	return nil
}

func (o *hangObject) Receive(w http.ResponseWriter, _ *http.Request) error {
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

// hangGroup is a group of replicas with every handler that a group may have.
type hangGroup struct {
	dog.Group
	test *hangTest
}

func (g *hangGroup) Identify(req *http.Request) (string, error) {
	g.test.at("Identify", g.Name())
	return req.URL.Query().Get("u"), nil
}

func (g *hangGroup) Clusterize(context.Context, string) (string, error) {
	g.test.at("Clusterize", g.Name())
	return "one", nil
}

func (g *hangGroup) OnPresence(context.Context, dog.PresenceChange) error {
	g.test.at("OnPresence", g.Name())
	return nil
}

type hangReplica struct {
	dog.Replica
	test *hangTest
}

func (r *hangReplica) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := r.Connect(w, req, nil)
	return err
}

func (r *hangReplica) OnOpen(context.Context, *dog.Socket) error {
	r.test.at("OnOpen", r.GroupName())
	return nil
}

func (r *hangReplica) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	r.test.at("OnMessage", r.GroupName())
	return s.Send(m)
}

func (r *hangReplica) OnError(context.Context, *dog.Socket, error) error {
	r.test.at("OnError", r.GroupName())
	return nil
}

func (r *hangReplica) OnClose(context.Context, *dog.Socket, int, string) error {
	r.test.at("OnClose", r.GroupName())
	return nil
}

func (r *hangReplica) OnGossip(context.Context, dog.Message) (any, error) {
	r.test.at("OnGossip", r.GroupName())
	return nil, nil
}

// holdingLog is a slog.Handler that hangs with the record of the bad one.
type holdingLog struct {
	slog.Handler
	test *hangTest
}

func (h holdingLog) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h holdingLog) Enabled(context.Context, slog.Level) bool { return true }

func (h holdingLog) Handle(context.Context, slog.Record) error { h.test.at("log", "bad"); return nil }

// slowReader is an answer that its client does not read.
type slowReader struct {
	*httptest.ResponseRecorder
	test *hangTest
}

func (w slowReader) Write(p []byte) (int, error) {
	w.test.at("answer", "bad")
	return w.ResponseRecorder.Write(p)
}

func newHangTest(t *testing.T, hang string) *hangTest {
	s := &hangTest{hang: hang, until: make(chan struct{}), running: make(map[string]int)}
	var err error
	var keep dog.Store
	schema := dog.Schema(nil)
	switch hang {
	case "Schema":
		keep, schema = fixture.OpenedStore(&hangEngine{fixture.PromptEngine(), s}), dog.Schema{"a step"}
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
	s.objects, err = dog.RegisterObject(
		s.rt, "object", &dog.ObjectOptions[hangObject]{
			New:    func() *hangObject { s.at("New", "bad"); return &hangObject{test: s} },
			Schema: schema,
		},
	)
	require.NoError(t, err)
	replicas, err := dog.RegisterReplica(
		s.rt, "replica", &dog.ReplicaOptions[hangReplica]{New: func() *hangReplica { return &hangReplica{test: s} }},
	)
	require.NoError(t, err)
	s.groups, err = dog.RegisterGroup(
		s.rt, "group", replicas,
		&dog.GroupOptions[hangGroup]{
			New: func() *hangGroup { return &hangGroup{test: s} }, Limit: 10,
			Presence: dog.Presence{Grace: time.Second},
		},
	)
	require.NoError(t, err)
	s.srv = dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.groups.Named(req.URL.Query().Get("group")).ServeHTTP(w, req)
	}))
	return s
}

// provoke brings the bad neighbour to the place where it hangs, or will.
func (s *hangTest) provoke(t *testing.T) {
	t.Helper()
	switch s.hang {
	case "answer":
		go s.objects.Named("bad").
			ServeHTTP(slowReader{httptest.NewRecorder(), s}, httptest.NewRequest("GET", "/", nil))
	case "Identify", "Clusterize", "OnOpen", "OnMessage", "OnError", "OnClose", "SocketOpened", "SocketClosed",
		"OnGossip", "OnPresence":
		go func() {
			c, _, err := s.srv.TryDial("/?group=bad&u=bad", dogtest.DialOptions{})
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
				_, _ = s.groups.Named("bad").Gossip(context.Background(), "hello")
			}
		}()
	default:
		go func() { _ = dog.CallErr0(context.Background(), s.objects.Named("bad"), (*hangObject).Knock) }()
	}
	if s.hang == "timer" {
		time.Sleep(time.Nanosecond)
	}
	synctest.Wait()
}

// hangEngine opens databases in which nothing happens, except that the first
// one hangs at a step of its schema.
type hangEngine struct {
	store.Engine
	test *hangTest
}

func (e *hangEngine) OpenSQL(store.Pages, store.SQLLimits) (store.SQL, error) {
	return hangSQL{test: e.test}, nil
}

type hangSQL struct {
	store.SQL
	test *hangTest
}

func (q hangSQL) Run(_ string, _ []any, write func() error) (store.Rows, error) {
	q.test.at("Schema", "bad")
	return noRows{}, write()
}

func (hangSQL) Allow(time.Duration, int) {}
func (hangSQL) Savepoint(int) error      { return nil }
func (hangSQL) Release(int) error        { return nil }
func (hangSQL) LastInsertID() int64      { return 0 }
func (hangSQL) Changes() int64           { return 0 }
func (hangSQL) Commit() error            { return nil }
func (hangSQL) Rollback() error          { return nil }
func (hangSQL) Close() error             { return nil }

type noRows struct{ store.Rows }

func (noRows) Next() bool   { return false }
func (noRows) Err() error   { return nil }
func (noRows) Close() error { return nil }
