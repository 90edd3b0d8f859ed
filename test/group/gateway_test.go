package group_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// The ways into a group: its stub as a gateway, with a Receive of its own, and
// from outside.

// gate is a group that identifies by the query's u.
type gate struct {
	dog.Group
	t testing.TB
}

var errStranger = errors.New("a stranger, according to the secret list")

func (g *gate) Identify(req *http.Request) (string, error) {
	switch uid := req.URL.Query().Get("u"); uid {
	case "stranger":
		return "", errStranger
	case "malformed":
		return "", fmt.Errorf("%w: secret", dog.ErrInvalidName)
	default:
		return uid, nil
	}
}

func (g *gate) Receive(http.ResponseWriter, *http.Request) error {
	g.t.Error("Receive of a gateway")
	return nil
}

func newGate(t *testing.T, on *fixture.Hooks) (group dog.GroupStub[gate, fixture.Room], srv *dogtest.Server) {
	rt := dogtest.New(t, dog.Options{})
	rooms, err := dog.RegisterReplica(
		rt, "room", &dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: on} }},
	)
	require.NoError(t, err)
	gates, err := dog.RegisterGroup(
		rt, "gate", rooms,
		&dog.GroupOptions[gate]{New: func() *gate { return &gate{t: t} }, Limit: 1, MaxReplicas: 2},
	)
	require.NoError(t, err)
	group = gates.Named("main")
	return group, dogtest.Serve(t, group)
}

func TestGateway_IdentifiesAndForwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group, srv := newGate(t, &fixture.Hooks{Message: fixture.Relay})
		status, body := srv.Get("/hello?u=ada")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "/hello", body)
		ada, bob := srv.Dial("/ws?u=ada"), srv.Dial("/ws?u=bob")
		synctest.Wait()
		ada.Send("whisper bob hi")
		require.Equal(t, []string{"hi"}, fixture.Texts(bob))
		var loads []int
		for r := range group.Replicas() {
			loads = append(loads, r.Load)
		}
		require.Equal(t, []int{1, 1}, loads)
		status, _ = srv.Get("/hello?u=cyd")
		require.Equal(t, http.StatusServiceUnavailable, status, "full")
	})
}

func TestGateway_Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group, srv := newGate(t, &fixture.Hooks{})
		refusals := []struct {
			query, body string
			status      int
		}{
			{"?u=stranger", "Forbidden\n", http.StatusForbidden},
			{"?u=malformed", "Bad Request\n", http.StatusBadRequest},
			{"?u=a%0ab", "Bad Request\n", http.StatusBadRequest},
			{"", "Bad Request\n", http.StatusBadRequest},
		}
		for _, r := range refusals {
			status, body := srv.Get("/hello" + r.query)
			require.Equal(t, r.status, status, r.query)
			require.Equal(t, r.body, body, r.query)
		}
		for range group.Replicas() {
			t.Error("a refused request made a replica")
		}
	})
}

func TestGateway_GroupNeedsReplicasOfItsRuntime(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	abroad, err := dog.RegisterReplica[fixture.Room](dogtest.New(t, dog.Options{}), "room", nil)
	require.NoError(t, err)
	tests := map[string]struct {
		replicas *dog.Replicas[fixture.Room]
		problem  string
	}{
		"none":               {nil, "it has no replicas"},
		"a zero value":       {new(dog.Replicas[fixture.Room]), "it has no replicas"},
		"of another runtime": {abroad, `its replicas "room" belong to another runtime`},
	}
	for name, test := range tests {
		_, err := dog.RegisterGroup(rt, "gate", test.replicas, &dog.GroupOptions[gate]{Limit: 1})
		require.ErrorAs(t, err, new(*dog.RegistrationError), name)
		var refused *dog.RegistrationError
		require.ErrorAs(t, err, &refused, name)
		require.Equal(t, "gate", refused.Namespace, name)
		require.Equal(t, "group_test.gate", refused.Type, name)
		require.Contains(t, refused.Problem, test.problem, name)
	}
	here, err := dog.RegisterReplica[fixture.Room](rt, "room", nil)
	require.NoError(t, err)
	_, err = dog.RegisterGroup(rt, "gate", here, &dog.GroupOptions[gate]{Limit: 1})
	require.NoError(t, err, "the refused name is free")
}

func TestGateway_GroupReceives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(t, fixture.LobbyLimit(1), &fixture.Hooks{}, nil)
		h.Receive = func(l *fixture.HookedLobby, w http.ResponseWriter, req *http.Request) {
			fmt.Fprint(w, l.Name(), req.URL.Path)
		}
		status, body := dogtest.Serve(t, h.Group).Get("/notice")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "main/notice", body)
		require.Empty(t, h.Loads())
	})
}

func TestGateway_GroupWithoutReceiveAnswers404(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		status, _ := dogtest.Serve(t, h.Group).Get("/")
		require.Equal(t, http.StatusNotFound, status)
	})
}

func TestGateway_ReplicaIsReachedByItsIDWhileItIsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		rooms, err := dog.RegisterReplica(
			rt, "room",
			&dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: &fixture.Hooks{}} }},
		)
		require.NoError(t, err)
		lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[fixture.Lobby]{Limit: 2})
		require.NoError(t, err)
		stub, err := lobbies.Named("main").Identify(t.Context(), "ada")
		require.NoError(t, err)
		byID, err := rooms.ByID(stub.ID())
		require.NoError(t, err)
		parsed, err := rooms.Parse(stub.ID().String())
		require.NoError(t, err)
		for _, way := range []dog.Stub[fixture.Room]{byID, parsed} {
			text, err := dog.Call(context.Background(), way, (*fixture.Room).Greet, "ada")
			require.NoError(t, err)
			require.Equal(t, "a room greets ada", text)
		}
		_, err = rooms.ByID(lobbies.Named("main").ID())
		require.ErrorIs(t, err, dog.ErrForeignID)
		_, err = rooms.Parse("kitchen")
		require.ErrorIs(t, err, dog.ErrForeignID)

		stub.Release()
		time.Sleep(5 * time.Minute) // it has been retired
		for _, way := range []dog.Stub[fixture.Room]{byID, parsed} {
			_, err := dog.Call(context.Background(), way, (*fixture.Room).Greet, "ada")
			require.ErrorIs(t, err, dog.ErrReplicaGone)
			status, _ := dogtest.Serve(t, way).Get("/")
			require.Equal(t, http.StatusServiceUnavailable, status)
		}
	})
}

func TestGateway_TwoGroupTypesShareAReplicaType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		rooms, err := dog.RegisterReplica(
			rt, "room",
			&dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: &fixture.Hooks{}} }},
		)
		require.NoError(t, err)
		lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[fixture.Lobby]{Limit: 1})
		require.NoError(t, err)
		gates, err := dog.RegisterGroup(
			rt, "gate", rooms, &dog.GroupOptions[gate]{New: func() *gate { return &gate{t: t} }, Limit: 1},
		)
		require.NoError(t, err)
		first, err := lobbies.Named("main").Identify(t.Context(), "ada")
		require.NoError(t, err)
		second, err := gates.Named("main").Identify(t.Context(), "ada")
		require.NoError(t, err)
		require.NotEqual(t, first.ID(), second.ID())
		srv := dogtest.Serve(t, first)
		ada := srv.Dial("/ws")
		require.NoError(t, gates.Named("main").Broadcast(t.Context(), "to the other group"))
		require.Empty(t, fixture.Texts(ada))
	})
}

func TestGateway_GroupsOfOneTypeAreSeparate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{Message: fixture.Relay})
		ada := h.Enter("ada")
		h.Group = h.Lobbies.Named("other")
		bob := h.Enter("bob")
		bob.Send("broadcast hello")
		bob.Send("whisper ada hello")
		require.Empty(t, fixture.Texts(ada))
		require.Contains(t, fixture.Texts(bob)[0], dog.ErrNoTarget.Error())
	})
}

func TestGateway_GroupIsReachedFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 1,
			&fixture.Hooks{Gossip: func(_ context.Context, r *fixture.Room, m dog.Message) (any, error) {
				return m.String() + fixture.UIDOf(r), nil
			}},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		require.NoError(t, h.Group.Broadcast(t.Context(), "all"))
		require.NoError(t, h.Group.Emit(context.Background(), h.ReplicaIDs()[1], "second"))
		reached, err := h.Group.Whisper(t.Context(), "ada", "ada alone")
		require.NoError(t, err)
		require.Equal(t, 1, reached)
		require.Equal(t, []string{"all", "ada alone"}, fixture.Texts(ada))
		require.Equal(t, []string{"all", "second"}, fixture.Texts(bob))
		require.ErrorIs(t, h.Group.Emit(context.Background(), dog.ID{}, "nobody"), dog.ErrReplicaGone)

		replies, err := h.Group.Gossip(t.Context(), 7)
		require.NoError(t, err)
		var answers []string
		for i, reply := range replies {
			var answer string
			require.NoError(t, reply.Decode(&answer))
			require.Equal(t, h.ReplicaIDs()[i], reply.Replica)
			answers = append(answers, answer)
		}
		require.Equal(t, []string{"7ada", "7bob"}, answers)
	})
}

func TestGateway_MessageStartsNoGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		require.NoError(t, h.Group.Broadcast(t.Context(), "hello"))
		_, err := h.Group.Whisper(t.Context(), "ada", "hello")
		require.ErrorIs(t, err, dog.ErrNoTarget)
		require.ErrorIs(t, h.Group.Emit(context.Background(), dog.ID{}, "hello"), dog.ErrReplicaGone)
		require.ErrorIs(t, h.Group.Drain(context.Background(), dog.ID{}), dog.ErrReplicaGone)
		replies, err := h.Group.Gossip(t.Context(), "hello")
		require.NoError(t, err)
		require.Empty(t, replies)
		require.Empty(t, h.Loads())
		groups, replicas := inMemory(h.Runtime)
		require.Zero(t, groups+replicas)

		require.Error(t, h.Group.Broadcast(t.Context(), func() {}), "it is encoded all the same")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		cancel()
		require.ErrorIs(t, h.Group.Broadcast(ctx, "hello"), context.Canceled)
	})
}

func TestGateway_PassesTheUIDToTheReplicaOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, srv := newGate(t, &fixture.Hooks{Receive: func(_ *fixture.Room, w http.ResponseWriter, req *http.Request) {
			fmt.Fprint(w, dog.UID(req.Context()))
		}})
		_, body := srv.Get("/?u=ada")
		require.Equal(t, "ada", body)

		h := fixture.NewHookedLobbies(t, fixture.LobbyLimit(1), &fixture.Hooks{}, nil)
		h.Receive = func(_ *fixture.HookedLobby, w http.ResponseWriter, req *http.Request) {
			require.Empty(t, dog.UID(req.Context()))
			require.NotNil(t, dog.ClientGone(req.Context()))
			w.WriteHeader(http.StatusAccepted)
		}
		status, _ := dogtest.Serve(t, h.Group).Get("/")
		require.Equal(t, http.StatusAccepted, status)
	})
}
