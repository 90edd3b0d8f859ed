package api_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// What a type is when it has been registered: what New makes, and what answers
// where it has no Receive.

func TestRegister_NewRunsForRealObjectsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := map[string]int{}
		rt := dogtest.New(t, dog.Options{})
		cells, err := dog.RegisterObject(rt, "cell", &dog.ObjectOptions[fixture.Object]{
			New: func() *fixture.Object { made["cell"]++; return new(fixture.Object) },
		})
		require.NoError(t, err)
		rooms, err := dog.RegisterReplica(rt, "room", &dog.ReplicaOptions[good]{
			New: func() *good { made["room"]++; return new(good) },
		})
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "group", rooms, &dog.GroupOptions[plainGroup]{
			New: func() *plainGroup { made["group"]++; return new(plainGroup) }, Limit: 1,
		})
		require.NoError(t, err)
		stub, group := cells.Named("a"), groups.Named("a")
		synctest.Wait()
		require.Empty(t, made)
		for range 2 {
			require.NoError(t, dog.CallErr0(t.Context(), stub, (*fixture.Object).Nothing))
			room, err := group.Identify(t.Context(), "ada")
			require.NoError(t, err)
			fixture.Get(room)
		}
		require.Equal(t, map[string]int{"cell": 1, "group": 1, "room": 1}, made)
	})
}

func TestRegister_EmbeddedTypeCanBeRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		objects, err := dog.RegisterObject[dog.Object](rt, "object", nil)
		require.NoError(t, err)
		replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[dog.Group]{Limit: 2})
		require.NoError(t, err)
		status, _ := dogtest.Serve(t, objects.Named("a")).Get("/")
		require.Equal(t, http.StatusNotFound, status)
		group := groups.Named("main")
		stub, err := group.Identify(t.Context(), "ada")
		require.NoError(t, err)
		ada := dogtest.Serve(t, stub).Dial("/")
		synctest.Wait()
		require.NoError(t, group.Broadcast(t.Context(), "hello"))
		require.Equal(t, []string{"hello"}, fixture.Texts(ada))
	})
}

// opens is a replica without Receive, deaf an object without, listens one with
// a handler of sockets.
type opens struct{ dog.Replica }

func (*opens) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error { return s.Send(m) }

type deaf struct{ dog.Object }

type listens struct{ dog.Object }

func (*listens) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error { return s.Send(m) }

func TestRegister_TypeWithSocketHandlersConnectsWithoutReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		replicas, err := dog.RegisterReplica[opens](rt, "opens", nil)
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[plainGroup]{Limit: 2})
		require.NoError(t, err)
		objects, err := dog.RegisterObject[listens](rt, "listens", nil)
		require.NoError(t, err)
		others, err := dog.RegisterObject[deaf](rt, "deaf", nil)
		require.NoError(t, err)

		replica, err := groups.Named("a").Identify(t.Context(), "ada")
		require.NoError(t, err)
		for name, stub := range map[string]http.Handler{"replica": replica, "object": objects.Named("a")} {
			srv := dogtest.Serve(t, stub)
			status, _ := srv.Get("/")
			require.Equal(t, http.StatusUpgradeRequired, status, name)
			c := srv.Dial("/anywhere")
			c.Send("hello")
			require.Equal(t, []string{"hello"}, fixture.Texts(c), name)
		}
		for name, stub := range map[string]http.Handler{"group": groups.Named("a"), "object": others.Named("a")} {
			status, _ := dogtest.Serve(t, stub).Get("/")
			require.Equal(t, http.StatusNotFound, status, name)
		}
	})
}

// shop is a replica with a dependency.
type shop struct {
	dog.Replica
	prices map[string]string
}

func (s *shop) Receive(w http.ResponseWriter, req *http.Request) error {
	price, found := s.prices[req.URL.Path]
	if !found {
		return errors.New("no such thing")
	}
	_, err := w.Write([]byte(s.GroupName() + ": " + price))
	return err
}

func TestRegister_NewInjectsDependencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prices := map[string]string{"/tea": "3"}
		rt := dogtest.New(t, dog.Options{})
		shops, err := dog.RegisterReplica(
			rt, "shop", &dog.ReplicaOptions[shop]{New: func() *shop { return &shop{prices: prices} }},
		)
		require.NoError(t, err)
		malls, err := dog.RegisterGroup(rt, "mall", shops, &dog.GroupOptions[plainGroup]{Limit: 1})
		require.NoError(t, err)
		for _, uid := range []string{"ada", "bob"} {
			stub, err := malls.Named("north").Identify(t.Context(), uid)
			require.NoError(t, err)
			status, body := dogtest.Serve(t, stub).Get("/tea")
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "north: 3", body)
		}
	})
}
