package life_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// sleepyLobby and sleepyRoom are a group and a replica that hibernate.
type sleepyLobby struct {
	dog.Group
	events *eventLog
}

func (i *sleepyLobby) OnStart(context.Context) error { i.events.note("start lobby"); return nil }

type sleepyRoom struct {
	dog.Replica
	events *eventLog
	count  int
}

func (c *sleepyRoom) OnStart(context.Context) error { c.events.note("start room"); return nil }

func (c *sleepyRoom) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := c.Connect(w, req, &dog.SocketOptions{Tags: []string{"guest"}, AutoRequest: "ping", AutoReply: "pong"})
	return err
}

func (c *sleepyRoom) OnOpen(_ context.Context, s *dog.Socket) error { return s.SetAttachment(s.UID()) }

func (c *sleepyRoom) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	c.count++
	var who string
	if err := s.Attachment(&who); err != nil {
		return err
	}
	n := len(slices.Collect(c.Sockets("guest")))
	return c.Broadcast(who + " says " + m.String() + " as number " + strconv.Itoa(c.count) + " to " + strconv.Itoa(n))
}

func (c *sleepyRoom) OnClose(context.Context, *dog.Socket, int, string) error {
	c.events.note("close")
	return nil
}

func (c *sleepyRoom) OnGossip(context.Context, dog.Message) (any, error) { return c.count, nil }

func newSleepyLobby(t *testing.T, events *eventLog) (*dog.Runtime, *dogtest.Server, func(user string) *dogtest.Client) {
	t.Helper()
	rt := dogtest.New(t, dog.Options{HibernateAfter: 10 * time.Second})
	rooms, err := dog.RegisterReplica(
		rt, "room",
		&dog.ReplicaOptions[sleepyRoom]{
			New: func() *sleepyRoom { return &sleepyRoom{events: events} }, Hibernate: true,
		},
	)
	require.NoError(t, err)
	lobbies, err := dog.RegisterGroup(
		rt, "lobby", rooms,
		&dog.GroupOptions[sleepyLobby]{
			New: func() *sleepyLobby { return &sleepyLobby{events: events} }, Limit: 2, Hibernate: true,
		},
	)
	require.NoError(t, err)
	srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		stub, err := lobbies.Named("main").Identify(req.Context(), req.URL.Query().Get("u"))
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
		events := new(eventLog)
		_, _, join := newSleepyLobby(t, events)
		ada, bob := join("ada"), join("bob")
		ada.Send("one")
		require.Equal(t, []string{"ada says one as number 1 to 2"}, fixture.Texts(bob))
		require.Equal(t, []string{"start lobby", "start room"}, events.read())
		fixture.Texts(ada)

		time.Sleep(time.Minute)
		ada.Send("ping")
		require.Equal(t, []string{"pong"}, fixture.Texts(ada))
		require.Empty(t, events.read(), "an auto-response wakes nobody")
		ada.Send("two")
		require.Equal(
			t, []string{"ada says two as number 1 to 2"}, fixture.Texts(bob),
			"memory went, sockets with tags and attachments stayed",
		)
		require.Equal(t, []string{"start room"}, events.read())
		fixture.Texts(ada)

		time.Sleep(time.Minute)
		bob.Close(1000, "")
		synctest.Wait()
		require.Equal(t, []string{"close", "start room"}, events.read())
		time.Sleep(time.Minute)
		ada.Send("three")
		require.Equal(t, []string{"ada says three as number 1 to 1"}, fixture.Texts(ada))
	})
}

// Fault 1 of the original: a group that left memory forgot its replicas.
func TestFault01_AHibernatedGroupKnowsItsReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := new(eventLog)
		rt, _, join := newSleepyLobby(t, events)
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
func TestFault02_AHibernatedReplicaKnowsItsNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, join := newSleepyLobby(t, new(eventLog))
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
		on := &fixture.Hooks{
			Message: func(context.Context, *fixture.Room, *dog.Socket, dog.Message) error { panic("no") },
		}
		rooms, err := dog.RegisterReplica(
			rt, "room",
			&dog.ReplicaOptions[fixture.Room]{
				New:       func() *fixture.Room { return &fixture.Room{On: on} },
				Hibernate: true,
			},
		)
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

func TestObject_WithoutHibernationKeepsItsMemoryWithItsSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		h := fixture.NewRooms(
			t, 2, &fixture.Hooks{Start: func(context.Context, *fixture.Room) error { starts++; return nil }},
		)
		ada := h.Enter("ada")
		time.Sleep(time.Hour)
		ada.Send("hello")
		synctest.Wait()
		require.Equal(t, 1, starts)
	})
}
