package dog_test

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

func TestEmptyReplicasAndGroupsLeaveMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		h := newHouseWith(t, dog.Options{LingerFor: -1, RetireAfter: 20 * time.Second}, dog.GroupOptions[lobby]{Limit: 1}, &hooks{
			start: func(context.Context, *room) error { starts++; return nil },
		})
		ada, bob := h.enter("ada"), h.enter("bob")
		ada.Close(1000, "")
		time.Sleep(19 * time.Second)
		groups, replicas := inMemory(h.rt)
		require.Equal(t, []int{1, 2}, []int{groups, replicas}, "not yet")
		time.Sleep(3 * time.Second)
		groups, replicas = inMemory(h.rt)
		require.Equal(t, []int{1, 1}, []int{groups, replicas}, "bob is still there")

		bob.Close(1000, "")
		time.Sleep(22 * time.Second)
		_, replicas = inMemory(h.rt)
		require.Zero(t, replicas)
		time.Sleep(22 * time.Second)
		groups, _ = inMemory(h.rt)
		require.Zero(t, groups)
		require.Empty(t, h.rt.Stats().Groups)

		h.enter("ada")
		groups, replicas = inMemory(h.rt)
		require.Equal(t, []int{1, 1}, []int{groups, replicas})
		require.Equal(t, 3, starts, "what was retired starts anew")
	})
}

func TestAGroupWithTrafficOfItsOwnStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		h := newHalls(t, limit(1), &hooks{}, nil)
		h.start = func(context.Context, *hall) error { starts++; return nil }
		h.receive = func(*hall, http.ResponseWriter, *http.Request) {}
		srv := dogtest.Serve(t, h.group)
		for range 10 {
			srv.Get("/")
			time.Sleep(45 * time.Second)
		}
		require.Equal(t, 1, starts)
		time.Sleep(90 * time.Second)
		groups, _ := inMemory(h.rt)
		require.Zero(t, groups)
	})
}

func TestAUIDThatLingersKeepsItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		h := newHouseWith(t, dog.Options{LingerFor: 2 * time.Minute, RetireAfter: time.Second}, dog.GroupOptions[lobby]{Limit: 1}, &hooks{
			start: func(context.Context, *room) error { starts++; return nil },
		})
		ada := h.enter("ada")
		ada.Close(1000, "")
		time.Sleep(2*time.Minute - time.Second)
		h.enter("ada")
		require.Equal(t, 1, starts, "its state was still there")
	})
}

func TestAReservationKeepsItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := dog.Options{ReserveFor: time.Minute, LingerFor: -1, RetireAfter: time.Second}
		h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 1}, &hooks{})
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		time.Sleep(59 * time.Second)
		status, _ := dogtest.Serve(t, stub).Get("/")
		require.Equal(t, http.StatusOK, status)
	})
}

func TestAStubOfARetiredReplicaSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{})
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		time.Sleep(5 * time.Minute)
		groups, replicas := inMemory(h.rt)
		require.Zero(t, groups+replicas)
		answer, err := dogtest.Serve(t, stub).Client().Get(dogtest.URL)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		require.NotEmpty(t, answer.Header.Get("Retry-After"))
	})
}

func TestADrainingReplicaKeepsWhatItHasAndTakesNothingNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 3, &hooks{message: relay})
		ada, bob := h.enter("ada"), h.enter("bob")
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		stub.Release()
		drained := h.replicaIDs()[0]
		require.NoError(t, h.group.Drain(context.Background(), drained))
		require.NoError(t, h.group.Drain(context.Background(), drained), "again does nothing")

		status, _ := dogtest.Serve(t, stub).Get("/")
		require.Equal(t, http.StatusServiceUnavailable, status)
		again := h.enter("ada")
		require.Equal(t, []int{2, 1}, h.loads())
		require.NotEqual(t, drained, h.replicaOf("cyd"))
		bob.Send("whisper ada hello")
		require.Equal(t, []string{"hello"}, texts(ada))
		require.Equal(t, []string{"hello"}, texts(again))

		ada.Close(1000, "")
		bob.Close(1000, "")
		time.Sleep(2 * time.Second)
		require.Equal(t, []int{1}, h.loads(), "retired when the last has left, long before Options.RetireAfter")
		require.NotContains(t, h.replicaIDs(), drained)
		require.NotEqual(t, drained, h.replicaOf("bob"), "who lingered there goes elsewhere")
		require.ErrorIs(t, h.group.Drain(context.Background(), drained), dog.ErrReplicaGone)
	})
}

func TestAPlaceReservedBeforeDrainingIsGoodUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const reservation = 10*time.Second + time.Millisecond
		h := newHouseWith(t, dog.Options{ReserveFor: reservation}, dog.GroupOptions[lobby]{Limit: 3}, &hooks{})
		first, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		second, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		require.NoError(t, h.group.Drain(context.Background(), first.ID()))
		time.Sleep(reservation - 1)
		status, _ := dogtest.Serve(t, first).Get("/")
		require.Equal(t, http.StatusOK, status)
		time.Sleep(time.Nanosecond)
		status, _ = dogtest.Serve(t, second).Get("/")
		require.Equal(t, http.StatusServiceUnavailable, status)
	})
}

func TestADrainingReplicaCountsTowardsMaxReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, dog.Options{}, dog.GroupOptions[lobby]{Limit: 2, MaxReplicas: 1}, &hooks{})
		ada := h.enter("ada")
		require.NoError(t, h.group.Drain(context.Background(), h.replicaIDs()[0]))
		_, err := h.identify(t.Context(), "bob")
		require.ErrorIs(t, err, dog.ErrGroupFull)
		ada.Close(1000, "")
		time.Sleep(2 * time.Second)
		_, err = h.identify(t.Context(), "bob")
		require.NoError(t, err)
	})
}

func TestAGroupDrainsItsReplicasItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHalls(t, limit(2), &hooks{}, nil)
		h.receive = func(l *hall, w http.ResponseWriter, _ *http.Request) {
			for r := range l.Replicas() {
				if err := l.Drain(r.ID); err != nil {
					dog.WriteError(w, err)
				}
			}
		}
		before, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		status, _ := dogtest.Serve(t, h.group).Get("/drain")
		require.Equal(t, http.StatusOK, status)
		draining := func(r dog.ReplicaStats) bool { return r.Draining }
		require.True(t, slices.ContainsFunc(slices.Collect(h.group.Replicas()), draining))
		after, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		require.NotEqual(t, before.ID(), after.ID())
	})
}

func TestAReplicaWithAHandlerUnderWayIsNotRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closing := make(chan struct{})
		options := dog.Options{LingerFor: -1, RetireAfter: time.Second}
		ends := 0
		h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 1}, &hooks{
			close: func(ctx context.Context, r *room, _ *dog.Socket, _ int, _ string) error {
				err := dog.Await(ctx, func() error { <-closing; return nil })
				if err == nil && r.GroupName() == "main" {
					ends++
				}
				return err
			},
		})
		ada := h.enter("ada")
		ada.Vanish()
		synctest.Wait()
		require.Equal(t, []int{0}, h.loads(), "the place is free while OnClose runs")
		time.Sleep(time.Minute)
		require.Equal(t, []int{0}, h.loads())
		close(closing)
		time.Sleep(2 * time.Second)
		require.Empty(t, h.loads())
		require.Equal(t, 1, ends)
	})
}
