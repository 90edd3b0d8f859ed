package faults_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestFault14_OnOpenThatFailsLeaksNothing(t *testing.T) {
	ways := map[string]func() error{
		"error": func() error { return errors.New("secret") },
		"panic": func() error { panic("secret") },
	}
	for name, fail := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options, log := fixture.LogToBuffer()
				h := fixture.NewRoomsWith(t, options, dog.GroupOptions[fixture.Lobby]{Limit: 2}, &fixture.Hooks{
					Open: func(context.Context, *fixture.Room, *dog.Socket) error { return fail() },
				})
				ada := h.Join("ada")
				code, reason := ada.Closed()
				require.Equal(t, 1011, code)
				require.Empty(t, reason)
				synctest.Wait()
				require.Equal(t, []int{0}, h.Loads())
				require.Zero(t, h.Runtime.Stats().Sockets)
				require.Contains(t, log.String(), "secret")
			})
		})
	}
}

func TestFault15_NewIDsGoToTheLeastLoadedReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 3, &fixture.Hooks{})
		clients := make(map[string]*dogtest.Client)
		for _, id := range strings.Fields("a b c d e f") {
			clients[id] = h.Enter(id)
		}
		require.Equal(t, []int{3, 3}, h.Loads())
		for _, id := range strings.Fields("a b d") {
			clients[id].Close(1000, "")
		}
		synctest.Wait()
		require.Equal(t, []int{1, 2}, h.Loads())
		h.Enter("g")
		require.Equal(t, []int{2, 2}, h.Loads())
		clients["c"].Close(1000, "")
		clients["e"].Close(1000, "")
		clients["f"].Close(1000, "")
		synctest.Wait()
		require.Equal(t, []int{1, 0}, h.Loads())
		h.Enter("h")
		require.Equal(t, []int{1, 1}, h.Loads())
	})
}

func TestFault16_ASlowClusterizeMakesOneReplicaForManyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		h := fixture.NewHookedLobbies(
			t, dog.GroupOptions[fixture.HookedLobby]{Limit: 20}, &fixture.Hooks{},
			func(ctx context.Context, _ string) (string, error) {
				calls++
				return "first", dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
			},
		)
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				_, err := h.Identify(t.Context(), "ada")
				assert.NoError(t, err)
			})
		}
		callers.Wait()
		require.Equal(t, 1, calls)
		require.Equal(t, []int{20}, h.Loads())
	})
}

func TestFault17_ANewReplicaIsKnownBeforeItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := make(chan struct{})
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Message: fixture.Relay,
			Start:   func(ctx context.Context, r *fixture.Room) error { return r.Broadcast("started") },
			Gossip:  func(context.Context, *fixture.Room, dog.Message) (any, error) { return "here", nil },
			Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/ws" {
					r.Connect(w, req, nil)
					return
				}
				_ = dog.Await(req.Context(), func() error { <-served; return nil })
			},
		})
		ada := h.Enter("ada")
		status := fixture.GetInBackground(h.Server, "/first?u=bob")
		require.Equal(t, []string{"started"}, fixture.Texts(ada), "it reaches the others while it starts")
		replies, err := h.Group.Gossip(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, replies, 2)
		require.NoError(t, replies[1].Err, "the others reach it while it serves its first request")
		close(served)
		require.Equal(t, http.StatusOK, <-status)
	})
}

func TestFault18_AGossipHasAResultOrAnErrorPerPeerAndADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{GossipTimeout: 3 * time.Second}, dog.GroupOptions[fixture.Lobby]{Limit: 1},
			&fixture.Hooks{
				Gossip: func(ctx context.Context, r *fixture.Room, _ dog.Message) (any, error) {
					switch uid := fixture.UIDOf(r); uid {
					case "error":
						return nil, errors.New("not today")
					case "null":
						return nil, nil
					case "panic":
						panic("oops")
					case "silent":
						return nil, dog.Await(ctx, func() error { <-ctx.Done(); return ctx.Err() })
					default:
						return uid, nil
					}
				},
			},
		)
		for _, id := range strings.Fields("error null panic silent ada") {
			h.Enter(id)
		}
		began := time.Now()
		replies, err := h.Group.Gossip(t.Context(), "who?")
		require.NoError(t, err)
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Len(t, replies, 5)
		require.ErrorContains(t, replies[0].Err, "not today")
		require.NoError(t, replies[1].Err)
		require.Equal(t, "null", string(replies[1].Data))
		require.ErrorIs(t, replies[2].Err, dog.ErrReset)
		require.ErrorIs(t, replies[3].Err, context.DeadlineExceeded)
		var uid string
		require.NoError(t, replies[4].Decode(&uid))
		require.Equal(t, "ada", uid)
	})
}

func TestFault19_ADeadSocketStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 4, &fixture.Hooks{Message: fixture.Relay})
		h.Server.DialWith("/ws?u=stuck", dogtest.DialOptions{OnDemand: true}) // never reads
		synctest.Wait()
		for range 300 {
			require.NoError(t, h.Group.Broadcast(t.Context(), strings.Repeat("x", 1024)))
		}
		gone, ada, bob := h.Enter("gone"), h.Enter("ada"), h.Enter("bob")
		require.Equal(t, []int{4}, h.Loads(), "the stuck one is being closed, which takes a while")
		began := time.Now()
		gone.Vanish()
		for _, text := range []string{"one", "two", "three"} {
			ada.Send("all " + text)
		}
		require.Equal(t, []string{"one", "two", "three"}, fixture.Texts(bob))
		require.Equal(t, []string{"one", "two", "three"}, fixture.Texts(ada))
		require.Zero(t, time.Since(began))
	})
}

func TestFault20_ReceiveThatPanicsIsAnsweredWithAPlain500(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := fixture.LogToBuffer()
		h := fixture.NewRoomsWith(t, options, dog.GroupOptions[fixture.Lobby]{Limit: 2}, &fixture.Hooks{
			Receive: func(*fixture.Room, http.ResponseWriter, *http.Request) { panic("secret") },
		})
		answer, err := h.Server.Client().Get(dogtest.URL + "/")
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
		require.Equal(t, "Internal Server Error\n", string(body))
		synctest.Wait()
		require.Contains(t, log.String(), "secret")
		require.Contains(t, log.String(), "faults_traffic_test.go", "the stack is in the log")
		require.Equal(t, []int{0}, h.Loads())
	})
}

func TestFault21_AResponseWaitsForNobodyAndReleasesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(t, dog.GroupOptions[fixture.HookedLobby]{Limit: 1}, &fixture.Hooks{}, nil)
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		release := make(chan struct{})
		h.Receive = func(_ *fixture.HookedLobby, _ http.ResponseWriter, _ *http.Request) {
			<-release
			panic("the group fails")
		}
		busy := fixture.GetInBackground(dogtest.Serve(t, h.Group), "/")
		synctest.Wait()

		srv := dogtest.Serve(t, stub)
		for range 3 {
			status, body := srv.Get("/hello")
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "/hello", body)
			require.Equal(t, []int{0}, h.Loads())
		}
		close(release)
		require.Equal(t, http.StatusInternalServerError, <-busy)
		status, _ := srv.Get("/hello")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, []int{0}, h.Loads())
	})
}

func TestFault25_ReplicasShrinkAndCanBeListedAndDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{LingerFor: time.Second, RetireAfter: 5 * time.Second},
			dog.GroupOptions[fixture.Lobby]{Limit: 1}, &fixture.Hooks{},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		var ids []dog.ID
		for r := range h.Group.Replicas() {
			require.Equal(t, dog.KindReplica, r.Kind)
			require.Equal(t, 1, r.Sockets)
			ids = append(ids, r.ID)
		}
		require.Len(t, ids, 2)

		require.NoError(t, h.Group.Drain(context.Background(), ids[0]))
		ada.Close(1000, "")
		time.Sleep(2 * time.Second)
		require.Equal(t, []int{1}, h.Loads(), "drained")
		bob.Close(1000, "")
		time.Sleep(10 * time.Second)
		require.Empty(t, h.Loads(), "retired")
	})
}
