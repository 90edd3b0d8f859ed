package observe_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestStats_CountTrafficOfOpenAndClosedSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 2, &fixture.Hooks{Message: fixture.Echo})
		ada, bob := h.Join("ada"), h.Join("bob")
		ada.Send("12345")
		ada.Send([]byte("678"))
		bob.Send("9")
		synctest.Wait()

		traffic := dog.Traffic{
			MessagesIn: 3, MessagesOut: 3,
			BytesIn:  5 + 3 + 1 + 3*6, // payloads and masked headers
			BytesOut: 5 + 3 + 1 + 3*2, // and plain headers
		}
		s := h.Runtime.Stats()
		require.Equal(t, 2, s.Sockets)
		require.Equal(t, traffic, s.Traffic)
		require.Len(t, s.Groups, 1)
		require.Len(t, s.Groups[0].Replicas, 1)
		require.Equal(t, traffic, s.Groups[0].Replicas[0].Traffic)

		ada.Close(1000, "bye")
		synctest.Wait()
		traffic.BytesIn += 6 + 2 + 3 // the close frame
		traffic.BytesOut += 2 + 2 + 3
		s = h.Runtime.Stats()
		require.Equal(t, 1, s.Sockets)
		require.Equal(t, traffic, s.Traffic, "closed sockets count")
		require.EqualValues(t, 1, s.Groups[0].Replicas[0].MessagesIn, "a replica counts its open ones")

		time.Sleep(3 * time.Minute)
		bob.Vanish()
		time.Sleep(3 * time.Minute)
		s = h.Runtime.Stats()
		require.Empty(t, s.Groups, "retired")
		require.EqualValues(t, 3, s.MessagesIn)
		require.EqualValues(t, 3, s.MessagesOut)
	})
}

// A socket whose OnClose takes its time is no longer open, but what it did is
// not forgotten meanwhile.
func TestStats_CountsDoNotFallWhileASocketCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 1,
			&fixture.Hooks{
				Message: fixture.Echo,
				Close: func(context.Context, *fixture.Room, *dog.Socket, int, string) error {
					time.Sleep(time.Minute)
					return nil
				},
			},
		)
		ada := h.Join("ada")
		ada.Send("hello")
		ada.Close(1000, "")
		synctest.Wait()
		during := h.Runtime.Stats()
		require.Zero(t, during.Sockets)
		require.EqualValues(t, 1, during.MessagesIn)
		require.EqualValues(t, 1, during.MessagesOut)
		time.Sleep(2 * time.Minute)
		require.Equal(t, during.Traffic, h.Runtime.Stats().Traffic, "nor is it counted twice")
	})
}

func TestStats_ShowQueuedAndLostMessages(t *testing.T) {
	for _, c := range []struct {
		policy                  dog.SlowPolicy
		queued                  int
		dropped, coalesced, cut uint64
	}{
		{policy: dog.DropOldest, queued: 102 + 102, dropped: 2},
		{policy: dog.CoalesceSlow, queued: 102 + 102, coalesced: 2},
		{policy: dog.DisconnectSlow, queued: 102, cut: 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var socket *dog.Socket
			h := fixture.NewRooms(
				t, 1,
				&fixture.Hooks{Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
					socket, _ = r.Connect(w, req, &dog.SocketOptions{Slow: c.policy, QueueBytes: 250})
				}},
			)
			client := h.Server.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true})
			for range 4 {
				fixture.Elapse(time.Second) // after which a client that takes nothing is slow
				_ = socket.Send(make([]byte, 100), dog.Coalesce("state"))
			}
			synctest.Wait()
			s := h.Runtime.Stats()
			require.Equal(t, c.queued, s.QueuedBytes, "what is on its way counts until the client has it")
			client.Vanish()
			synctest.Wait()
			s = h.Runtime.Stats()
			require.Zero(t, s.QueuedBytes)
			require.Equal(t, []uint64{c.dropped, c.coalesced, c.cut}, []uint64{s.Dropped, s.Coalesced, s.Slow})
		})
	}
}

func TestStats_ReplicasAreListedWithTheirLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 3,
			&fixture.Hooks{Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/slow" {
					time.Sleep(time.Second)
					return
				}
				r.Connect(w, req, nil)
			}},
		)
		h.Join("ada")
		go h.Server.Get("/slow?u=bob")
		synctest.Wait()
		_, err := h.Identify(t.Context(), "cyd")
		require.NoError(t, err)
		dan, err := h.Identify(t.Context(), "dan")
		require.NoError(t, err)

		replicas := slices.Collect(h.Group.Replicas())
		require.Len(t, replicas, 2)
		require.Equal(t, h.Runtime.Stats().Groups[0].Replicas, replicas)
		first, second := replicas[0], replicas[1]
		require.Equal(t, dan.ID(), second.ID)
		require.Equal(t, dog.KindReplica, first.Kind)
		require.Equal(t, "room", first.Namespace)
		require.Equal(t, []int{3, 3, 1, 1}, []int{first.Limit, first.Load, first.Reserved, first.Sockets})
		require.Equal(t, []int{3, 1, 1, 0}, []int{second.Limit, second.Load, second.Reserved, second.Sockets})
		require.False(t, second.Draining)
		require.NoError(t, h.Group.Drain(context.Background(), second.ID))

		g := h.Runtime.Stats().Groups[0]
		require.True(t, g.Replicas[1].Draining)
		require.Equal(
			t, dog.ObjectInfo{ID: h.Group.ID(), Kind: dog.KindGroup, Namespace: "lobby", Name: "main"},
			g.ObjectInfo,
		)
		require.Equal(t, []int{3, 4}, []int{g.Limit, g.UIDs})
		time.Sleep(time.Second)
	})
}

func TestStats_ObjectsAreListedWhileTheyAreInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		require.Empty(t, slices.Collect(h.Runtime.Objects()))
		h.Server.Get("/?u=ada")
		ada, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		group := dog.LiveObject{
			ObjectInfo: dog.ObjectInfo{ID: h.Group.ID(), Kind: dog.KindGroup, Namespace: "lobby", Name: "main"},
		}
		replica := dog.LiveObject{ObjectInfo: dog.ObjectInfo{ID: ada.ID(), Kind: dog.KindReplica, Namespace: "room"}}
		require.ElementsMatch(t, []dog.LiveObject{group, replica}, slices.Collect(h.Runtime.Objects()))
		require.Equal(t, []dog.LiveObject{group}, slices.Collect(h.Lobbies.Objects()))
		ada.Release()
		client := h.Join("ada")
		synctest.Wait()
		replica.Sockets = 1
		require.ElementsMatch(t, []dog.LiveObject{group, replica}, slices.Collect(h.Runtime.Objects()))
		client.Close(1000, "")
		time.Sleep(5 * time.Minute)
		require.Empty(t, slices.Collect(h.Runtime.Objects()))
		require.Empty(t, slices.Collect(h.Lobbies.Objects()))
	})
}

func TestStats_CountTurnsAndTheWaitForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 5,
			&fixture.Hooks{Receive: func(_ *fixture.Room, _ http.ResponseWriter, req *http.Request) {
				time.Sleep(time.Second)
				if req.URL.Path == "/panic" {
					panic("on purpose")
				}
			}},
		)
		var requests sync.WaitGroup
		for _, path := range []string{"/", "/panic", "/"} {
			requests.Go(func() { h.Server.Get(path) })
			synctest.Wait()
		}
		requests.Wait()
		want := h.Runtime.Stats().Turns
		// The third request waits for the first second, and goes to a new life
		// when the second has panicked.
		require.EqualValues(t, 4, want.Events, "the group's start and three requests")
		require.EqualValues(t, 1, want.Waits)
		require.Equal(t, time.Second, want.Waited)
		require.Equal(t, time.Second, want.Longest)
		time.Sleep(5 * time.Minute)
		require.Empty(t, h.Runtime.Stats().Groups)
		require.Equal(t, want, h.Runtime.Stats().Turns, "retired objects count")
	})
}

func TestStats_LogLinesNameTheObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log fixture.LogRecords
		h := fixture.NewRoomsWith(
			t, dog.Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))},
			dog.GroupOptions[fixture.Lobby]{Limit: 2},
			&fixture.Hooks{Message: func(_ context.Context, r *fixture.Room, _ *dog.Socket, m dog.Message) error {
				switch m.String() {
				case "panic":
					panic("on purpose")
				case "log":
					r.Log().Info("the room's own")
					return nil
				}
				return errors.New("bad " + m.String())
			}},
		)
		ada := h.Join("ada")
		for _, text := range []string{"luck", "log", "panic"} {
			ada.Send(text)
		}
		synctest.Wait()
		id := slices.Collect(h.Group.Replicas())[0].ID.String()
		records := log.Records(t)
		require.Len(t, records, 3)
		for _, r := range records {
			require.Equal(t, "room", r["namespace"])
			require.Equal(t, id, r["object"])
		}
		require.Equal(t, "bad luck", records[0]["error"])
		require.Equal(t, "OnMessage", records[0]["event"])
		require.Equal(t, "the room's own", records[1]["msg"])
		require.Contains(t, records[2]["cause"], "on purpose")
		require.Contains(t, records[2]["stack"], "TestStats_LogLinesNameTheObject")
	})
}

func TestStats_ReportTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := dogtest.NewDisk(t)
		rt, cells := fixture.NewObjects(t, dog.Options{Store: store})
		before := rt.Stats().Store
		require.NoError(
			t,
			fixture.InTurn(
				cells.Named("a"),
				func(_ context.Context, c *fixture.Object) error { return c.Storage().Put("a", nil) },
			),
		)
		after := rt.Stats().Store
		require.Equal(t, before.Commits+1, after.Commits)
		require.Greater(t, after.Syncs, before.Syncs)
		require.NoError(t, after.Err)
		store.Fill()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.ErrorIs(t, rt.Stats().Store.Err, dog.ErrStoreFull)
	})
}
