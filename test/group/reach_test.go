package group_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// Who reaches whom: a group its sockets, from inside and outside, a replica
// those of other replicas and its siblings by gossip.

// newReachable returns a group over two replicas of one socket each, ada's and
// bob's, and what the group itself is.
func newReachable(t *testing.T) (h *fixture.HookedLobbies, l *fixture.HookedLobby, ada, bob *dogtest.Client) {
	t.Helper()
	h = fixture.NewHookedLobbies(t, fixture.LobbyLimit(1), &fixture.Hooks{}, nil)
	h.Start = func(_ context.Context, started *fixture.HookedLobby) error { l = started; return nil }
	var clients []*dogtest.Client
	for _, uid := range []string{"ada", "bob"} {
		stub, err := h.Identify(t.Context(), uid)
		require.NoError(t, err)
		clients = append(clients, dogtest.Serve(t, stub).Dial("/ws"))
	}
	synctest.Wait()
	return h, l, clients[0], clients[1]
}

func TestGroup_ReachesItsSockets(t *testing.T) {
	type act = func(context.Context, *fixture.HookedLobby)
	from := map[string]func(t *testing.T, h *fixture.HookedLobbies, do act){
		"from its handler": func(t *testing.T, h *fixture.HookedLobbies, do act) {
			h.Receive = func(l *fixture.HookedLobby, _ http.ResponseWriter, req *http.Request) { do(req.Context(), l) }
			status, _ := dogtest.Serve(t, h.Group).Get("/")
			require.Equal(t, http.StatusOK, status)
		},
		"from outside": func(t *testing.T, h *fixture.HookedLobbies, do act) {
			var l *fixture.HookedLobby
			h.Receive = func(running *fixture.HookedLobby, _ http.ResponseWriter, _ *http.Request) { l = running }
			dogtest.Serve(t, h.Group).Get("/")
			do(t.Context(), l)
		},
	}
	for name, reach := range from {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _, ada, bob := newReachable(t)
				ids := make([]dog.ID, 0, 2)
				for r := range h.Group.Replicas() {
					ids = append(ids, r.ID)
				}
				reach(t, h, func(ctx context.Context, l *fixture.HookedLobby) {
					require.NoError(t, l.Broadcast("to all"))
					reached, err := l.Whisper(ctx, "bob", "to bob")
					require.NoError(t, err)
					require.Equal(t, 1, reached)
					_, err = l.Whisper(ctx, "cyd", "to nobody")
					require.ErrorIs(t, err, dog.ErrNoTarget)
					require.NoError(t, l.Emit(ids[0], "to ada's replica"))
					require.ErrorIs(t, l.Emit(dog.ID{1}, "to none"), dog.ErrReplicaGone)
					require.NoError(t, l.Drain(ids[1]))
					require.ErrorIs(t, l.Drain(dog.ID{1}), dog.ErrReplicaGone)
					closed, err := l.Disconnect(ctx, "bob", 4001, "go home")
					require.NoError(t, err)
					require.Equal(t, 1, closed)
				})
				require.Equal(t, []string{"to all", "to ada's replica"}, fixture.Texts(ada))
				require.Equal(t, []string{"to all", "to bob"}, fixture.Texts(bob))
				code, reason := bob.Closed()
				require.Equal(t, 4001, code)
				require.Equal(t, "go home", reason)
				fixture.Elapse(2 * time.Second)
				require.Equal(t, []int{1}, h.Loads(), "the drained replica is gone with its last socket")
			})
		})
	}
}

func TestGroup_StubReachesOneReplicaAndClosesSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, ada, bob := newReachable(t)
		var ids []dog.ID
		for r := range h.Group.Replicas() {
			ids = append(ids, r.ID)
		}
		require.NoError(t, h.Group.Emit(context.Background(), ids[1], "hello"))
		require.ErrorIs(t, h.Group.Emit(context.Background(), dog.ID{1}, "hello"), dog.ErrReplicaGone)
		require.Empty(t, fixture.Texts(ada))
		require.Equal(t, []string{"hello"}, fixture.Texts(bob))

		closed, err := h.Group.Disconnect(t.Context(), "ada", 1000, "bye")
		require.NoError(t, err)
		require.Equal(t, 1, closed)
		code, reason := ada.Closed()
		require.Equal(t, 1000, code)
		require.Equal(t, "bye", reason)
		synctest.Wait()
		_, err = h.Group.Disconnect(t.Context(), "ada", 1000, "bye")
		require.ErrorIs(t, err, dog.ErrNoTarget)
	})
}

func TestGroup_ListsDrainsAndEmitsUntilTheLastOnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *fixture.Rooms
		listed := 0
		h = fixture.NewRooms(
			t, 1,
			&fixture.Hooks{Close: func(ctx context.Context, r *fixture.Room, _ *dog.Socket, _ int, _ string) error {
				listed = len(h.Loads())
				require.NoError(t, h.Group.Emit(ctx, r.ID(), "bye"))
				require.NoError(t, h.Group.Drain(ctx, r.ID()))
				return nil
			}},
		)
		h.Enter("ada")
		require.NoError(t, h.Runtime.Shutdown(context.Background()))
		require.Equal(t, 1, listed)
		require.ErrorIs(t, h.Group.Emit(context.Background(), dog.ID{1}, "late"), dog.ErrShutdown)
	})
}

func TestGroup_DisconnectClosesAllDevicesOnAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan string, 10)
		var disconnect func(ctx context.Context, r *fixture.Room) error
		h := fixture.NewRooms(t, 2, &fixture.Hooks{
			Message: func(ctx context.Context, r *fixture.Room, _ *dog.Socket, _ dog.Message) error {
				return disconnect(ctx, r)
			},
			Close: func(_ context.Context, _ *fixture.Room, s *dog.Socket, code int, reason string) error {
				ends <- fmt.Sprint(s.UID(), " ", code, " ", reason)
				return nil
			},
		})
		devices := []*dogtest.Client{h.Enter("ada"), h.Enter("ada"), h.Enter("ada")}
		bob := h.Enter("bob")
		require.Equal(t, []int{2, 2}, h.Loads())

		disconnect = func(ctx context.Context, r *fixture.Room) error {
			n, err := r.Disconnect(ctx, "ada", 1005, "no code to send")
			fixture.RequireUsage(t, err, "close code")
			require.Zero(t, n)
			_, err = r.Disconnect(ctx, "ada", 1000, strings.Repeat("x", 124))
			fixture.RequireUsage(t, err, "close reason")
			_, err = r.Disconnect(ctx, "cyd", 1000, "")
			require.ErrorIs(t, err, dog.ErrNoTarget)
			return nil
		}
		bob.Send("go")
		synctest.Wait()
		require.Equal(t, []int{2, 2}, h.Loads(), "nobody was disconnected")

		disconnect = func(ctx context.Context, r *fixture.Room) error {
			n, err := r.Disconnect(ctx, "ada", 4003, "banned")
			require.NoError(t, err)
			require.Equal(t, 3, n)
			return nil
		}
		bob.Send("go")
		for _, device := range devices {
			code, reason := device.Closed()
			require.Equal(t, 4003, code)
			require.Equal(t, "banned", reason)
		}
		synctest.Wait()
		require.Len(t, ends, 3)
		for range 3 {
			require.Equal(t, "ada 4003 banned", <-ends)
		}
		require.Equal(t, []int{0, 1}, h.Loads())
	})
}

func TestFault02_AReplicaThatWasResetReachesItsSiblings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
				switch m.String() {
				case "fail":
					panic("boom")
				case "gossip":
					replies, err := r.Gossip(ctx, "are you there?")
					require.NoError(t, err)
					require.Len(t, replies, 1)
					return s.Send(replies[0].Data)
				}
				return fixture.Relay(ctx, r, s, m)
			},
			Gossip: func(_ context.Context, r *fixture.Room, _ dog.Message) (any, error) {
				return fixture.UIDOf(r), nil
			},
		})
		ada, bob := h.Enter("ada"), h.Enter("bob")
		ada.Send("fail")
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		synctest.Wait() // her place is free
		ada = h.Enter("ada")
		require.Equal(t, []int{1, 1}, h.Loads(), "on the replica that was reset")
		for _, request := range []string{"broadcast one", "whisper bob two", "gossip"} {
			ada.Send(request)
		}
		require.Equal(t, []string{"one", "two"}, fixture.Texts(bob))
		require.Equal(t, []string{`"bob"`}, fixture.Texts(ada))
		bob.Send("broadcast back")
		require.Equal(t, []string{"back"}, fixture.Texts(ada))
	})
}

func TestGroup_GossipWithoutOnGossipHasNoReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		rooms, err := dog.RegisterReplica[dog.Replica](rt, "room", nil)
		require.NoError(t, err)
		lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[dog.Group]{Limit: 1})
		require.NoError(t, err)
		group := lobbies.Named("main")
		stub, err := group.Identify(t.Context(), "ada")
		require.NoError(t, err)
		replies, err := group.Gossip(t.Context(), "hello?")
		require.NoError(t, err)
		require.Len(t, replies, 1)
		require.Equal(t, stub.ID(), replies[0].Replica)
		fixture.RequireUsage(t, replies[0].Err, "has no OnGossip")
		var answer any
		fixture.RequireUsage(t, replies[0].Decode(&answer), "has no OnGossip")
	})
}

func TestGroup_GossipOfTheOnlyReplicaHasNoReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Receive: func(r *fixture.Room, _ http.ResponseWriter, req *http.Request) {
				replies, err := r.Gossip(req.Context(), "anybody?")
				require.NoError(t, err)
				require.Empty(t, replies)
				asked++
			},
			Gossip: func(context.Context, *fixture.Room, dog.Message) (any, error) {
				t.Error("asked itself")
				return nil, nil
			},
		})
		start := time.Now()
		h.Server.Get("/")
		require.Equal(t, 1, asked)
		require.Equal(t, start, time.Now())
	})
}

func TestGroup_GossipCarriesTheJSONOfAMessageBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := dog.Message{Data: []byte(`{"seats":1}`)}
		h := fixture.NewRooms(
			t, 1,
			&fixture.Hooks{Gossip: func(_ context.Context, _ *fixture.Room, m dog.Message) (any, error) {
				switch m.String() {
				case `"bad"`:
					return dog.Message{Data: []byte("plain text")}, nil
				case `{"ask":"seats"}`:
					return answer, nil
				}
				return nil, fmt.Errorf("unexpected %s", m)
			}},
		)
		h.Enter("ada")
		replies, err := h.Group.Gossip(t.Context(), dog.Message{Type: dog.Text, Data: []byte(`{"ask":"seats"}`)})
		require.NoError(t, err)
		require.NoError(t, replies[0].Err)
		copy(answer.Data, `{"seats":2}`) // the replica goes on
		require.JSONEq(t, `{"seats":1}`, string(replies[0].Data))

		replies, err = h.Group.Gossip(t.Context(), "bad")
		require.NoError(t, err)
		require.ErrorContains(t, replies[0].Err, "not JSON")
		require.Nil(t, replies[0].Data)
		_, err = h.Group.Gossip(t.Context(), dog.Message{Data: []byte("plain text")})
		require.ErrorContains(t, err, "not JSON")
	})
}

func TestGroup_StubOfAFullReplicaIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		srv := dogtest.Serve(t, stub)
		ada := srv.Dial("/ws")
		answer, body := fixture.Request(t, srv, http.MethodGet, "/", nil)
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		require.NotEmpty(t, answer.Header.Get("Retry-After"))
		require.Equal(t, "Service Unavailable\n", body)

		same := httptest.NewRecorder() // what an application answers when it meets the error
		dog.WriteError(same, fmt.Errorf("no luck: %w", dog.ErrReplicaFull))
		require.Equal(t, answer.StatusCode, same.Code)
		require.Equal(t, answer.Header.Get("Retry-After"), same.Header().Get("Retry-After"))

		again, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err, "identified again, the same id finds room elsewhere")
		require.NotEqual(t, stub.ID(), again.ID())
		ada.Close(1000, "")
		synctest.Wait()
		status, _ := srv.Get("/")
		require.Equal(t, http.StatusOK, status, "there is room again")
	})
}
