package dog_test

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
)

// The ways into a group: its stub as a gateway or with a Receive of its own, and its family.

// gate is a group that identifies by the query's u.
type gate struct {
	dog.Group
	t testing.TB
}

var errStranger = errors.New("a stranger, says the secret list")

func (g *gate) Identify(req *http.Request) (string, error) {
	switch requestID := req.URL.Query().Get("u"); requestID {
	case "stranger":
		return "", errStranger
	case "malformed":
		return "", fmt.Errorf("%w: secret", dog.ErrInvalidRequestID)
	default:
		return requestID, nil
	}
}

func (g *gate) Receive(http.ResponseWriter, *http.Request) { g.t.Error("Receive of a gateway") }

func newGate(t *testing.T, on *hooks) (family *dog.Family[gate, room], group dog.Stub[gate], srv *dogtest.Server) {
	rt := dogtest.New(t, dog.Options{})
	gates, err := dog.RegisterGroup(rt, "gate", func(g *gate) { g.t, g.Limit, g.MaxReplicas = t, 1, 2 })
	require.NoError(t, err)
	rooms, err := dog.RegisterReplica(rt, "room", func(r *room) { r.on = on })
	require.NoError(t, err)
	family, group = dog.Link(gates, rooms), gates.Named("main")
	return family, group, dogtest.Serve(t, group)
}

func TestAGatewayIdentifiesAndHandsOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		family, group, srv := newGate(t, &hooks{message: relay})
		status, body := srv.Get("/hello?u=ada")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "/hello", body)
		ada, bob := srv.Dial("/ws?u=ada"), srv.Dial("/ws?u=bob")
		synctest.Wait()
		ada.Send("whisper bob hi")
		require.Equal(t, []string{"hi"}, texts(bob))
		var loads []int
		for r := range family.Replicas(group) {
			loads = append(loads, r.Load)
		}
		require.Equal(t, []int{1, 1}, loads)
		status, _ = srv.Get("/hello?u=cyd")
		require.Equal(t, http.StatusServiceUnavailable, status, "full")
	})
}

func TestAGatewayRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		family, group, srv := newGate(t, &hooks{})
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
		for range family.Replicas(group) {
			t.Error("a refused request made a replica")
		}
	})
}

func TestAGatewayWithoutReplicasIsNotLinked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gates, err := dog.RegisterGroup(dogtest.New(t, dog.Options{}), "gate", func(g *gate) { g.t, g.Limit = t, 1 })
		require.NoError(t, err)
		status, _ := dogtest.Serve(t, gates.Named("main")).Get("/?u=ada")
		require.Equal(t, http.StatusInternalServerError, status)
	})
}

func TestAGroupReceives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHalls(t, limit(1), &hooks{}, nil)
		h.receive = func(l *hall, w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, l.Name(), req.URL.Path) }
		status, body := dogtest.Serve(t, h.group).Get("/notice")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "main/notice", body)
		require.Empty(t, h.loads())
	})
}

func TestAGroupWithoutReceiveFindsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{})
		status, _ := dogtest.Serve(t, h.group).Get("/")
		require.Equal(t, http.StatusNotFound, status)
	})
}

func TestAReplicaTypeHasNoNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rooms, err := dog.RegisterReplica(dogtest.New(t, dog.Options{}), "room", func(r *room) { r.on = &hooks{} })
		require.NoError(t, err)
		status, _ := dogtest.Serve(t, rooms.Named("kitchen")).Get("/")
		require.Equal(t, http.StatusInternalServerError, status)
	})
}

func TestAGroupTypeIsLinkedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{})
		enders, err := dog.RegisterReplica(h.rt, "ender", func(*ender) {})
		require.NoError(t, err)
		other := dog.Link(h.lobbies, enders)
		_, err = dog.Identify(t.Context(), h.group, "ada", other)
		require.ErrorIs(t, err, dog.ErrNotLinked)
		require.ErrorIs(t, other.Broadcast(t.Context(), h.group, "hello"), dog.ErrNotLinked)

		elsewhere := newHouse(t, 1, &hooks{})
		_, err = dog.Identify(t.Context(), elsewhere.group, "ada", h.family)
		require.ErrorIs(t, err, dog.ErrNotLinked)
		abroad := dog.Link(elsewhere.lobbies, enders)
		require.ErrorIs(t, abroad.Broadcast(t.Context(), elsewhere.group, "hello"), dog.ErrNotLinked)
		_, err = h.identify(t.Context(), "ada")
		require.NoError(t, err, "the first link stays")
	})
}

func TestTwoGroupTypesShareAReplicaType(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		lobbies, err := dog.RegisterGroup(rt, "lobby", func(l *lobby) { l.Limit = 1 })
		require.NoError(t, err)
		gates, err := dog.RegisterGroup(rt, "gate", func(g *gate) { g.t, g.Limit = t, 1 })
		require.NoError(t, err)
		rooms, err := dog.RegisterReplica(rt, "room", func(r *room) { r.on = &hooks{} })
		require.NoError(t, err)
		a, b := dog.Link(lobbies, rooms), dog.Link(gates, rooms)
		first, err := dog.Identify(t.Context(), lobbies.Named("main"), "ada", a)
		require.NoError(t, err)
		second, err := dog.Identify(t.Context(), gates.Named("main"), "ada", b)
		require.NoError(t, err)
		require.NotEqual(t, first.ID(), second.ID())
		srv := dogtest.Serve(t, first)
		ada := srv.Dial("/ws")
		require.NoError(t, b.Broadcast(t.Context(), gates.Named("main"), "to the other group"))
		require.Empty(t, texts(ada))
	})
}

func TestGroupsOfOneTypeAreApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{message: relay})
		ada := h.enter("ada")
		h.group = h.lobbies.Named("other")
		bob := h.enter("bob")
		bob.Send("broadcast hello")
		bob.Send("whisper ada hello")
		require.Empty(t, texts(ada))
		require.Contains(t, texts(bob)[0], dog.ErrNoTarget.Error())
	})
}

func TestAFamilyReachesItsGroupsFromOutside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{gossip: func(_ context.Context, r *room, m dog.Message) (any, error) {
			return m.String() + uidOf(r), nil
		}})
		ada, bob := h.enter("ada"), h.enter("bob")
		require.NoError(t, h.family.Broadcast(t.Context(), h.group, "all"))
		require.NoError(t, h.family.Emit(context.Background(), h.group, h.replicaIDs()[1], "second"))
		reached, err := h.family.Whisper(t.Context(), h.group, "ada", "ada alone")
		require.NoError(t, err)
		require.Equal(t, 1, reached)
		require.Equal(t, []string{"all", "ada alone"}, texts(ada))
		require.Equal(t, []string{"all", "second"}, texts(bob))
		require.ErrorIs(t, h.family.Emit(context.Background(), h.group, dog.ID{}, "nobody"), dog.ErrReplicaGone)

		replies, err := h.family.Gossip(t.Context(), h.group, 7)
		require.NoError(t, err)
		var answers []string
		for i, reply := range replies {
			var answer string
			require.NoError(t, reply.Decode(&answer))
			require.Equal(t, h.replicaIDs()[i], reply.Replica)
			answers = append(answers, answer)
		}
		require.Equal(t, []string{"7ada", "7bob"}, answers)
	})
}

func TestAFamilyMakesNoGroupThatIsNotInMemory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{})
		require.NoError(t, h.family.Broadcast(t.Context(), h.group, "hello"))
		_, err := h.family.Whisper(t.Context(), h.group, "ada", "hello")
		require.ErrorIs(t, err, dog.ErrNoTarget)
		require.ErrorIs(t, h.family.Emit(context.Background(), h.group, dog.ID{}, "hello"), dog.ErrReplicaGone)
		require.ErrorIs(t, h.family.Drain(context.Background(), h.group, dog.ID{}), dog.ErrReplicaGone)
		replies, err := h.family.Gossip(t.Context(), h.group, "hello")
		require.NoError(t, err)
		require.Empty(t, replies)
		require.Empty(t, h.loads())
		groups, replicas := inMemory(h.rt)
		require.Zero(t, groups+replicas)

		require.Error(t, h.family.Broadcast(t.Context(), h.group, func() {}), "it is encoded all the same")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		cancel()
		require.ErrorIs(t, h.family.Broadcast(ctx, h.group, "hello"), context.Canceled)
	})
}
