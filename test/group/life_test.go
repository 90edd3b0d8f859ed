package group_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// How replicas and groups end: retirement and draining.

// inMemory counts the runtime's objects.
func inMemory(rt *dog.Runtime) (groups, replicas int) {
	for o := range rt.Objects() {
		if o.Kind == dog.KindGroup {
			groups++
		} else {
			replicas++
		}
	}
	return groups, replicas
}

func TestGroup_EmptyReplicasAndGroupsLeaveMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		h := fixture.NewRoomsWith(
			t, dog.Options{LingerFor: -1, RetireAfter: 20 * time.Second}, dog.GroupOptions[fixture.Lobby]{Limit: 1},
			&fixture.Hooks{
				Start: func(context.Context, *fixture.Room) error { starts++; return nil },
			},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		ada.Close(1000, "")
		time.Sleep(19 * time.Second)
		groups, replicas := inMemory(h.Runtime)
		require.Equal(t, []int{1, 2}, []int{groups, replicas}, "not yet")
		time.Sleep(3 * time.Second)
		groups, replicas = inMemory(h.Runtime)
		require.Equal(t, []int{1, 1}, []int{groups, replicas}, "bob is still there")

		bob.Close(1000, "")
		time.Sleep(22 * time.Second)
		_, replicas = inMemory(h.Runtime)
		require.Zero(t, replicas)
		time.Sleep(22 * time.Second)
		groups, _ = inMemory(h.Runtime)
		require.Zero(t, groups)
		require.Empty(t, h.Runtime.Stats().Groups)

		h.Enter("ada")
		groups, replicas = inMemory(h.Runtime)
		require.Equal(t, []int{1, 1}, []int{groups, replicas})
		require.Equal(t, 3, starts, "what was retired starts again")
	})
}

func TestGroup_StaysInMemoryWithItsOwnTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		h := fixture.NewHookedLobbies(t, fixture.LobbyLimit(1), &fixture.Hooks{}, nil)
		h.Start = func(context.Context, *fixture.HookedLobby) error { starts++; return nil }
		h.Receive = func(*fixture.HookedLobby, http.ResponseWriter, *http.Request) {}
		srv := dogtest.Serve(t, h.Group)
		for range 10 {
			srv.Get("/")
			time.Sleep(45 * time.Second)
		}
		require.Equal(t, 1, starts)
		time.Sleep(90 * time.Second)
		groups, _ := inMemory(h.Runtime)
		require.Zero(t, groups)
	})
}

func TestGroup_UIDThatLingersKeepsItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		h := fixture.NewRoomsWith(
			t, dog.Options{LingerFor: 2 * time.Minute, RetireAfter: time.Second},
			dog.GroupOptions[fixture.Lobby]{Limit: 1},
			&fixture.Hooks{
				Start: func(context.Context, *fixture.Room) error { starts++; return nil },
			},
		)
		ada := h.Enter("ada")
		ada.Close(1000, "")
		time.Sleep(2*time.Minute - time.Second)
		h.Enter("ada")
		require.Equal(t, 1, starts, "its state was still there")
	})
}

func TestGroup_ReservationKeepsItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := dog.Options{ReserveFor: time.Minute, LingerFor: -1, RetireAfter: time.Second}
		h := fixture.NewRoomsWith(t, options, dog.GroupOptions[fixture.Lobby]{Limit: 1}, &fixture.Hooks{})
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		time.Sleep(59 * time.Second)
		status, _ := dogtest.Serve(t, stub).Get("/")
		require.Equal(t, http.StatusOK, status)
	})
}

func TestGroup_StubOfARetiredReplicaFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		time.Sleep(5 * time.Minute)
		groups, replicas := inMemory(h.Runtime)
		require.Zero(t, groups+replicas)
		answer, err := dogtest.Serve(t, stub).Client().Get(dogtest.URL)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		require.NotEmpty(t, answer.Header.Get("Retry-After"))
	})
}

func TestGroup_DrainingReplicaKeepsItsSocketsAndTakesNoNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 3, &fixture.Hooks{Message: fixture.Relay})
		ada, bob := h.Enter("ada"), h.Enter("bob")
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		stub.Release()
		drained := h.ReplicaIDs()[0]
		require.NoError(t, h.Group.Drain(context.Background(), drained))
		require.NoError(t, h.Group.Drain(context.Background(), drained), "again does nothing")

		status, _ := dogtest.Serve(t, stub).Get("/")
		require.Equal(t, http.StatusServiceUnavailable, status)
		again := h.Enter("ada")
		require.Equal(t, []int{2, 1}, h.Loads())
		require.NotEqual(t, drained, h.ReplicaOf("cyd"))
		bob.Send("whisper ada hello")
		require.Equal(t, []string{"hello"}, fixture.Texts(ada))
		require.Equal(t, []string{"hello"}, fixture.Texts(again))

		ada.Close(1000, "")
		bob.Close(1000, "")
		time.Sleep(2 * time.Second)
		require.Equal(t, []int{1}, h.Loads(), "retired when the last has left, long before Options.RetireAfter")
		require.NotContains(t, h.ReplicaIDs(), drained)
		require.NotEqual(t, drained, h.ReplicaOf("bob"), "who lingered there goes elsewhere")
		require.ErrorIs(t, h.Group.Drain(context.Background(), drained), dog.ErrReplicaGone)
	})
}

func TestGroup_PlaceReservedBeforeDrainingIsValidUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const reservation = 10*time.Second + time.Millisecond
		h := fixture.NewRoomsWith(
			t, dog.Options{ReserveFor: reservation}, dog.GroupOptions[fixture.Lobby]{Limit: 3}, &fixture.Hooks{},
		)
		first, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		second, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		require.NoError(t, h.Group.Drain(context.Background(), first.ID()))
		time.Sleep(reservation - 1)
		status, _ := dogtest.Serve(t, first).Get("/")
		require.Equal(t, http.StatusOK, status)
		time.Sleep(time.Nanosecond)
		status, _ = dogtest.Serve(t, second).Get("/")
		require.Equal(t, http.StatusServiceUnavailable, status)
	})
}

func TestGroup_DrainingReplicaCountsTowardsMaxReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{}, dog.GroupOptions[fixture.Lobby]{Limit: 2, MaxReplicas: 1}, &fixture.Hooks{},
		)
		ada := h.Enter("ada")
		require.NoError(t, h.Group.Drain(context.Background(), h.ReplicaIDs()[0]))
		_, err := h.Identify(t.Context(), "bob")
		require.ErrorIs(t, err, dog.ErrGroupFull)
		ada.Close(1000, "")
		time.Sleep(2 * time.Second)
		_, err = h.Identify(t.Context(), "bob")
		require.NoError(t, err)
	})
}

func TestGroup_DrainsItsReplicasItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(t, fixture.LobbyLimit(2), &fixture.Hooks{}, nil)
		h.Receive = func(l *fixture.HookedLobby, w http.ResponseWriter, _ *http.Request) {
			for r := range l.Replicas() {
				if err := l.Drain(r.ID); err != nil {
					dog.WriteError(w, err)
				}
			}
		}
		before, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		status, _ := dogtest.Serve(t, h.Group).Get("/drain")
		require.Equal(t, http.StatusOK, status)
		draining := func(r dog.ReplicaStats) bool { return r.Draining }
		require.True(t, slices.ContainsFunc(slices.Collect(h.Group.Replicas()), draining))
		after, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		require.NotEqual(t, before.ID(), after.ID())
	})
}

func TestGroup_ReplicaWithARunningHandlerIsNotRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closing := make(chan struct{})
		options := dog.Options{LingerFor: -1, RetireAfter: time.Second}
		ends := 0
		h := fixture.NewRoomsWith(t, options, dog.GroupOptions[fixture.Lobby]{Limit: 1}, &fixture.Hooks{
			Close: func(ctx context.Context, r *fixture.Room, _ *dog.Socket, _ int, _ string) error {
				err := dog.Await(ctx, func() error { <-closing; return nil })
				if err == nil && r.GroupName() == "main" {
					ends++
				}
				return err
			},
		})
		ada := h.Enter("ada")
		ada.Vanish()
		synctest.Wait()
		require.Equal(t, []int{0}, h.Loads(), "the place is free while OnClose runs")
		time.Sleep(time.Minute)
		require.Equal(t, []int{0}, h.Loads())
		close(closing)
		time.Sleep(2 * time.Second)
		require.Empty(t, h.Loads())
		require.Equal(t, 1, ends)
	})
}
