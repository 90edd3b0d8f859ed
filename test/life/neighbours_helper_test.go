package life_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
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
	engine  *storetest.Engine // whose commits wait; nil: they do not

	hung atomic.Bool // a place that hangs the first time only

	mu      sync.Mutex
	running map[string]int // lives that OnStop has not ended, by name. guarded by mu
	stops   int            // guarded by mu
}

// at hangs if this is the place and the bad one is there.
func (s *hangTest) at(place, name string) {
	switch {
	case place != s.hang || name != "bad":
	case place == "Clusterize" || strings.HasSuffix(place, ".New") || place == "Schema":
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
	return o.keep("stopped")
}

// keep stores something. If the disk hangs, it would wait for the disk, too:
// then it reads what was stored before.
func (o *hangObject) keep(what string) error {
	if o.test.hang != "disk" {
		return o.Storage().Put(what, []byte("yes"))
	}
	_, found, err := o.Storage().Get("kept")
	if err == nil && !found {
		err = errors.New("what was stored is not there")
	}
	return err
}

// Keep stores what keep reads.
func (o *hangObject) Keep(context.Context) error { return o.Storage().Put("kept", nil) }

func (o *hangObject) OnAlarm(context.Context, dog.Alarm) error {
	o.test.at("OnAlarm", o.Name())
	return nil
}

func (o *hangObject) Knock(ctx context.Context) error {
	o.test.at("handler", o.Name())
	if o.Name() != "bad" {
		return o.keep("knocked")
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
	case "Encode", "Decode":
		m := dog.MapOf[string](o.Storage(), "").With(hangCodec{o.test})
		err := o.Storage().Put("a", nil)
		_, _, get := m.Get("a")
		return errors.Join(err, get, m.Put("b", "text"))
	case "disk":
		return o.Keep(ctx)
	}
	return nil
}

// hangCodec is a dog.Codec that hangs.
type hangCodec struct{ test *hangTest }

func (c hangCodec) Encode(v any) ([]byte, error) {
	c.test.at("Encode", "bad")
	return []byte(v.(string)), nil
}

func (c hangCodec) Decode([]byte, any) error {
	c.test.at("Decode", "bad")
	return nil
}

func (o *hangObject) Receive(w http.ResponseWriter, _ *http.Request) error {
	o.test.at("Receive", o.Name())
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

func (g *hangGroup) OnStart(context.Context) error {
	g.test.at("OnStart of a group", g.Name())
	return nil
}

func (g *hangGroup) OnStop(context.Context, dog.StopReason) error {
	g.test.at("OnStop of a group", g.Name())
	return nil
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

func (r *hangReplica) OnStart(context.Context) error {
	r.test.at("OnStart of a replica", r.GroupName())
	return nil
}

func (r *hangReplica) OnStop(context.Context, dog.StopReason) error {
	r.test.at("OnStop of a replica", r.GroupName())
	return nil
}

func (r *hangReplica) Receive(w http.ResponseWriter, req *http.Request) error {
	r.test.at("Receive of a replica", r.GroupName())
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
		s.engine = storetest.New()
		keep = fixture.OpenedStore(s.engine)
		go func() {
			<-s.until
			s.engine.Prompt()
		}()
	}
	s.rt = dogtest.New(t, dog.Options{
		Store:      keep,
		EvictAfter: time.Minute, MaxObjects: 750, StartTimeout: -1,
		Logger: slog.New(holdingLog{slog.DiscardHandler, s}),
		Trace: &dog.Trace{
			ObjectStarted: func(o dog.ObjectInfo) { s.at("Trace.ObjectStarted", o.Name) },
			ObjectStopped: func(o dog.ObjectInfo, _ error) { s.at("Trace.ObjectStopped", o.Name) },
			EventBegin: func(ctx context.Context, e dog.EventInfo) context.Context {
				s.at("Trace.EventBegin", e.Object.Name)
				return ctx
			},
			EventDone:    func(_ context.Context, e dog.EventInfo) { s.at("Trace.EventDone", e.Object.Name) },
			SocketOpened: func(c *dog.Socket) { s.at("Trace.SocketOpened", c.UID()) },
			SocketClosed: func(c *dog.Socket, _ *dog.CloseError) { s.at("Trace.SocketClosed", c.UID()) },
		},
	})
	s.objects, err = dog.RegisterObject(
		s.rt, "object", &dog.ObjectOptions[hangObject]{
			New:    func() *hangObject { s.at("ObjectOptions.New", "bad"); return &hangObject{test: s} },
			Schema: schema,
		},
	)
	require.NoError(t, err)
	replicas, err := dog.RegisterReplica(
		s.rt, "replica", &dog.ReplicaOptions[hangReplica]{New: func() *hangReplica {
			s.at("ReplicaOptions.New", "bad")
			return &hangReplica{test: s}
		}},
	)
	require.NoError(t, err)
	s.groups, err = dog.RegisterGroup(
		s.rt, "group", replicas,
		&dog.GroupOptions[hangGroup]{
			New: func() *hangGroup { s.at("GroupOptions.New", "bad"); return &hangGroup{test: s} }, Limit: 10,
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
	case "disk":
		s.keepAll(t)
		go func() { _ = dog.CallErr0(context.Background(), s.objects.Named("bad"), (*hangObject).Knock) }()
	case "Receive":
		go fixture.Get(s.objects.Named("bad"))
	case "answer":
		go s.objects.Named("bad").
			ServeHTTP(slowReader{httptest.NewRecorder(), s}, httptest.NewRequest("GET", "/", nil))
	case "Identify", "Clusterize", "OnOpen", "OnMessage", "OnError", "OnClose",
		"Trace.SocketOpened", "Trace.SocketClosed",
		"OnGossip", "OnPresence", "ReplicaOptions.New", "GroupOptions.New", "Receive of a replica",
		"OnStart of a group", "OnStart of a replica", "OnStop of a group", "OnStop of a replica":
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
			case "OnClose", "Trace.SocketClosed", "OnStop of a group", "OnStop of a replica":
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
