package life_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// chronicle notes what happens to objects.
type chronicle struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (d *chronicle) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// read returns what has been noted since the last time, sorted.
func (d *chronicle) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := slices.Sorted(slices.Values(d.lines))
	d.lines = nil
	return lines
}

// box is a plain object that notes its life and answers GET with how often it
// was asked in this life and in all.
type box struct {
	dog.Object
	diary *chronicle
	asked int
	stop  func(ctx context.Context, b *box) error
}

func (b *box) OnStart(context.Context) error {
	b.diary.note("start " + b.Name())
	return nil
}

func (b *box) Receive(w http.ResponseWriter, _ *http.Request) error {
	b.asked++
	all, err := dog.MapOf[int](b.Storage(), "").Update("asked", func(n int) (int, error) { return n + 1, nil })
	if err != nil {
		dog.WriteError(w, err)
		return nil
	}
	_, _ = io.WriteString(w, strconv.Itoa(b.asked)+" "+strconv.Itoa(all))
	return nil
}

// stoppingBox is a box that is told of its end.
type stoppingBox struct{ box }

func (b *stoppingBox) OnStop(ctx context.Context, reason dog.StopReason) error {
	b.diary.note("stop " + b.Name() + " " + reason.String())
	if b.stop != nil {
		return b.stop(ctx, &b.box)
	}
	return nil
}

func TestObject_IdleObjectLeavesMemoryAndKeepsWhatItStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(chronicle)
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Minute})
		boxes, err := dog.RegisterObject(rt, "box", &dog.ObjectOptions[box]{New: func() *box { return &box{diary: d} }})
		require.NoError(t, err)
		red := boxes.Named("red")
		require.Equal(t, "1 1", fixture.Get(red))
		require.Equal(t, "2 2", fixture.Get(red))
		require.Len(t, slices.Collect(boxes.Objects()), 1)
		time.Sleep(50 * time.Second)
		require.Equal(t, "3 3", fixture.Get(red), "it was used in time")
		time.Sleep(2 * time.Minute)
		require.Empty(t, slices.Collect(boxes.Objects()))
		require.Equal(t, "1 4", fixture.Get(red), "the stub is good for the next life")
		require.Equal(t, []string{"start red", "start red"}, d.read())
	})
}

func TestObject_TooManyObjectsDropThoseIdleLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Hour, MaxObjects: 100})
		boxes, err := dog.RegisterObject(rt, "box", &dog.ObjectOptions[box]{New: func() *box { return &box{diary: new(chronicle)} }})
		require.NoError(t, err)
		for i := range 1000 {
			require.Equal(t, "1 1", fixture.Get(boxes.Named(strconv.Itoa(i))))
			time.Sleep(time.Second)
			require.LessOrEqual(t, len(slices.Collect(boxes.Objects())), 113)
		}
		synctest.Wait()
		live := slices.Collect(boxes.Objects())
		require.LessOrEqual(t, len(live), 100)
		for _, o := range live {
			i, err := strconv.Atoi(o.Name)
			require.NoError(t, err)
			require.Greater(t, i, 850, "the older ones went first")
		}
	})
}

func TestObject_StaysWhileSomethingGoesOnThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		d := new(chronicle)
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Second, Store: fixture.StoreOf(engine)})
		boxes, err := dog.RegisterObject(rt, "box", &dog.ObjectOptions[box]{New: func() *box { return &box{diary: d} }})
		require.NoError(t, err)
		answered := make(chan string, 1)
		go func() { answered <- fixture.Get(boxes.Named("red")) }()
		time.Sleep(time.Minute)
		require.Len(t, slices.Collect(boxes.Objects()), 1, "what it stored is not durable")
		require.Empty(t, answered)
		engine.Prompt()
		require.Equal(t, "1 1", <-answered)
		time.Sleep(time.Minute)
		require.Empty(t, slices.Collect(boxes.Objects()))
	})
}

func TestObject_IsToldBeforeItGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(chronicle)
		rt, err := dog.New(dog.Options{EvictAfter: time.Second})
		require.NoError(t, err)
		boxes, err := dog.RegisterObject(rt, "box", &dog.ObjectOptions[stoppingBox]{New: func() *stoppingBox {
			return &stoppingBox{box{diary: d, stop: func(_ context.Context, b *box) error {
				return b.Storage().Put("last words", []byte("bye"))
			}}}
		}})
		require.NoError(t, err)
		require.Equal(t, "1 1", fixture.Get(boxes.Named("red")))
		time.Sleep(time.Minute)
		require.Equal(t, []string{"start red", "stop red idle"}, d.read())
		require.Empty(t, slices.Collect(boxes.Objects()))
		require.Equal(t, "1 2", fixture.Get(boxes.Named("red")))
		require.Equal(t, "1 1", fixture.Get(boxes.Named("blue")))
		require.NoError(t, rt.Shutdown(context.Background()))
		require.Equal(t, []string{"start blue", "start red", "stop blue shutdown", "stop red shutdown"}, d.read())
	})
}

func TestObject_WhatComesWhileAnObjectStopsGoesToItsNextLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(chronicle)
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Second})
		boxes, err := dog.RegisterObject(rt, "box", &dog.ObjectOptions[stoppingBox]{New: func() *stoppingBox {
			return &stoppingBox{box{diary: d, stop: func(ctx context.Context, _ *box) error {
				return dog.Await(ctx, func() error { time.Sleep(5 * time.Second); return nil })
			}}}
		}})
		require.NoError(t, err)
		red := boxes.Named("red")
		require.Equal(t, "1 1", fixture.Get(red))
		time.Sleep(3 * time.Second) // it is stopping
		before := time.Now()
		require.Equal(t, "1 2", fixture.Get(red))
		require.Greater(t, time.Since(before), time.Second, "it waited for the end of OnStop, which keeps the turn")
		require.Equal(t, []string{"start red", "start red", "stop red idle"}, d.read())
	})
}

func TestObject_AbortResetsAnObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("enough")
		h := fixture.NewRooms(t, 2, &fixture.Hooks{Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
			if err := fixture.Put(r); err != nil {
				return err
			}
			r.Abort(reason)
			require.ErrorIs(t, r.Storage().Put("more", nil), dog.ErrReset)
			require.ErrorIs(t, r.Storage().Put("more", nil), reason)
			return nil
		}, Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/ws" {
				r.Connect(w, req, nil)
				return
			}
			_, found, err := r.Storage().Get("said")
			require.NoError(t, err)
			_, _ = io.WriteString(w, strconv.FormatBool(found))
		}})
		ada := h.Enter("ada")
		ada.Send("go")
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		_, body := fixture.Request(t, h.Server, "GET", "/", nil)
		require.Equal(t, "false", body, "what it stored in the handler that aborted is undone")
	})
}

// inn and chamber are a group and a replica that hibernate.
type inn struct {
	dog.Group
	diary *chronicle
}

func (i *inn) OnStart(context.Context) error { i.diary.note("start inn"); return nil }

type chamber struct {
	dog.Replica
	diary *chronicle
	said  int
}

func (c *chamber) OnStart(context.Context) error { c.diary.note("start chamber"); return nil }

func (c *chamber) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := c.Connect(w, req, &dog.SocketOptions{Tags: []string{"guest"}, AutoRequest: "ping", AutoReply: "pong"})
	return err
}

func (c *chamber) OnOpen(_ context.Context, s *dog.Socket) error { return s.SetAttachment(s.UID()) }

func (c *chamber) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	c.said++
	var who string
	if err := s.Attachment(&who); err != nil {
		return err
	}
	n := len(slices.Collect(c.Sockets("guest")))
	return c.Broadcast(who + " says " + m.String() + " as number " + strconv.Itoa(c.said) + " to " + strconv.Itoa(n))
}

func (c *chamber) OnClose(context.Context, *dog.Socket, int, string) error {
	c.diary.note("close")
	return nil
}

func (c *chamber) OnGossip(context.Context, dog.Message) (any, error) { return c.said, nil }

func newInn(t *testing.T, d *chronicle) (*dog.Runtime, *dogtest.Server, func(user string) *dogtest.Client) {
	t.Helper()
	rt := dogtest.New(t, dog.Options{HibernateAfter: 10 * time.Second})
	chambers, err := dog.RegisterReplica(rt, "chamber", &dog.ReplicaOptions[chamber]{New: func() *chamber { return &chamber{diary: d} }, Hibernate: true})
	require.NoError(t, err)
	inns, err := dog.RegisterGroup(rt, "inn", chambers, &dog.GroupOptions[inn]{New: func() *inn { return &inn{diary: d} }, Limit: 2, Hibernate: true})
	require.NoError(t, err)
	srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		stub, err := inns.Named("main").Identify(req.Context(), req.URL.Query().Get("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, req)
	}))
	return rt, srv, func(user string) *dogtest.Client {
		c := srv.Dial("/?u=" + user)
		synctest.Wait()
		return c
	}
}

func TestObject_SocketsOutliveTheHibernationOfTheirReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(chronicle)
		_, _, join := newInn(t, d)
		ada, bob := join("ada"), join("bob")
		ada.Send("one")
		require.Equal(t, []string{"ada says one as number 1 to 2"}, fixture.Texts(bob))
		require.Equal(t, []string{"start chamber", "start inn"}, d.read())
		fixture.Texts(ada)

		time.Sleep(time.Minute)
		ada.Send("ping")
		require.Equal(t, []string{"pong"}, fixture.Texts(ada))
		require.Empty(t, d.read(), "an auto-response wakes nobody")
		ada.Send("two")
		require.Equal(t, []string{"ada says two as number 1 to 2"}, fixture.Texts(bob), "memory went, sockets with tags and attachments stayed")
		require.Equal(t, []string{"start chamber"}, d.read())
		fixture.Texts(ada)

		time.Sleep(time.Minute)
		bob.Close(1000, "")
		synctest.Wait()
		require.Equal(t, []string{"close", "start chamber"}, d.read())
		time.Sleep(time.Minute)
		ada.Send("three")
		require.Equal(t, []string{"ada says three as number 1 to 1"}, fixture.Texts(ada))
	})
}

// Fault 1 of the original: a group that left memory forgot its replicas.
func TestFault1_AGroupThatHibernatedKnowsItsReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(chronicle)
		rt, _, join := newInn(t, d)
		ada, bob := join("ada"), join("bob")
		time.Sleep(time.Minute) // the group and its replica have no memory now
		eve := join("eve")      // the first replica is full
		require.Len(t, rt.Stats().Groups[0].Replicas, 2)
		eve.Send("hello")
		for _, c := range []*dogtest.Client{ada, bob, eve} {
			require.Equal(t, []string{"eve says hello as number 1 to 1"}, fixture.Texts(c))
		}
	})
}

// Fault 2 of the original: a replica that left memory forgot its neighbours,
// and its broadcasts reached nobody.
func TestFault2_AReplicaThatHibernatedKnowsItsNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, join := newInn(t, new(chronicle))
		ada, bob, eve := join("ada"), join("bob"), join("eve")
		time.Sleep(time.Minute)
		eve.Send("hello")
		for _, c := range []*dogtest.Client{ada, bob, eve} {
			require.Equal(t, []string{"eve says hello as number 1 to 1"}, fixture.Texts(c))
		}
	})
}

func TestObject_ResetAfterAHibernationClosesTheSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{HibernateAfter: time.Second})
		on := &fixture.Hooks{Message: func(context.Context, *fixture.Room, *dog.Socket, dog.Message) error { panic("no") }}
		rooms, err := dog.RegisterReplica(rt, "room", &dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: on} }, Hibernate: true})
		require.NoError(t, err)
		lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[fixture.Lobby]{Limit: 2})
		require.NoError(t, err)
		h := &fixture.Rooms{Runtime: rt, Lobbies: lobbies, Group: lobbies.Named("main")}
		h.Server = dogtest.Serve(t, h)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		time.Sleep(time.Minute)
		ada.Send("boom")
		code, _ := bob.Closed()
		require.Equal(t, 1011, code)
	})
}

func TestObject_RoomThatDoesNotHibernateKeepsItsMemoryWithItsSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		h := fixture.NewRooms(t, 2, &fixture.Hooks{Start: func(context.Context, *fixture.Room) error { starts++; return nil }})
		ada := h.Enter("ada")
		time.Sleep(time.Hour)
		ada.Send("hello")
		synctest.Wait()
		require.Equal(t, 1, starts)
	})
}

func TestObject_ReplicaWithoutANameTakesUpWhatAnEarlierOneStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		engine.Prompt()
		h := fixture.NewRoomsWith(t, dog.Options{Store: fixture.StoreOf(engine)}, dog.GroupOptions[fixture.Lobby]{Limit: 1}, &fixture.Hooks{
			Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
				if m.String() == "store" {
					return r.Storage().Put("said", []byte(s.UID()))
				}
				value, _, err := r.Storage().Get("said")
				return errors.Join(err, s.Send("stored by "+string(value)))
			},
		})
		ada, bob := h.Enter("ada"), h.Enter("bob")
		ada.Send("store")
		ada.Send("read")
		bob.Send("read")
		require.Equal(t, []string{"stored by ada"}, fixture.Texts(ada))
		require.Equal(t, []string{"stored by "}, fixture.Texts(bob), "a replica that is in memory is taken up by nobody")
		ada.Close(1000, "")
		bob.Close(1000, "")
		time.Sleep(10 * time.Minute)
		require.Empty(t, slices.Collect(h.Lobbies.Objects()), "the group is gone from memory, too")

		eve, fay := h.Enter("eve"), h.Enter("fay")
		eve.Send("read")
		fay.Send("read")
		require.ElementsMatch(t, []string{"stored by ada", "stored by "}, append(fixture.Texts(eve), fixture.Texts(fay)...))
	})
}
