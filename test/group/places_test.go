package group_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// Which replica a newcomer gets, whose place is held, and who gets past a lock.

func TestGroup_NewcomersGetReplicasInTheOrderOfTheGroup(t *testing.T) {
	for _, c := range []struct {
		name  string
		order dog.Order
		loads [][]int // after each newcomer
	}{
		{"least loaded", dog.LeastLoaded, [][]int{{1, 3}, {2, 3}, {3, 3}}},
		{"fullest first", dog.FullestFirst, [][]int{{0, 4}, {1, 4}, {2, 4}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options := dog.GroupOptions[placesGroup]{Limit: 4, MaxReplicas: 2, Order: c.order}
				h := newPlaces(t, dog.Options{}, options)
				identify := func(uid string) dog.Stub[placesReplica] {
					at, err := h.group.Identify(context.Background(), uid)
					require.NoError(t, err)
					return at
				}
				var places []dog.Stub[placesReplica]
				for _, uid := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
					places = append(places, identify(uid))
				}
				require.Equal(t, []int{4, 4}, h.loads(), "a new one only when there is no room")
				for _, p := range []int{0, 1, 2, 3, 4} {
					places[p].Release()
				}
				require.Equal(t, []int{0, 3}, h.loads())
				for i, uid := range []string{"x", "y", "z"} {
					identify(uid)
					require.Equal(t, c.loads[i], h.loads())
				}
			})
		})
	}
}

func TestGroup_KnownUIDGetsItsReplicaInAnyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 3, Order: dog.FullestFirst})
		ada, bob := h.connect("ada"), h.connect("bob")
		h.connect("cyd")
		h.connect("dan") // on the second
		h.connect("eve")
		h.leave(ada)
		h.leave(bob)
		require.Equal(t, []int{1, 2}, h.loads())
		first, second := h.stats()[0].ID, h.stats()[1].ID
		require.Equal(t, second, h.where("fay"))
		require.Equal(t, first, h.where("cyd"), "has a socket there")
		require.Equal(t, first, h.where("ada"), "lingers there")
	})
}

func TestGroup_LingerIsConfigurable(t *testing.T) {
	for _, c := range []struct {
		name           string
		options, group time.Duration
		want           time.Duration
	}{
		{"as set for the runtime", 20 * time.Second, 0, 20 * time.Second},
		{"by default", 0, 0, 30 * time.Second},
		{"longer", 20 * time.Second, 5 * time.Minute, 5 * time.Minute},
		{"shorter", 20 * time.Second, time.Second, time.Second},
		{"not at all", 20 * time.Second, -1, 0},
		{"only in this group", -1, time.Minute, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newPlaces(
					t, dog.Options{LingerFor: c.options}, dog.GroupOptions[placesGroup]{Limit: 3, LingerFor: c.group},
				)
				ada := h.connect("ada")
				for _, uid := range []string{"bob", "cyd", "dan"} {
					h.connect(uid)
				}
				h.leave(ada)
				require.Equal(t, []int{2, 1}, h.loads())
				first, second := h.stats()[0].ID, h.stats()[1].ID
				if c.want > 0 {
					time.Sleep(c.want - 1)
					require.Equal(t, first, h.where("ada"))
					time.Sleep(time.Nanosecond)
				}
				require.Equal(t, second, h.where("ada"))
			})
		})
	}
}

func TestGroup_HeldPlaceIsReservedForItsUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 2, MaxReplicas: 1, HoldPlaces: true})
		ada, bob := h.connect("ada"), h.connect("bob")
		h.leave(ada)
		h.leave(bob)
		require.Equal(t, []int{2}, h.loads())
		require.Equal(t, 2, h.stats()[0].Held)
		h.refused("cyd")

		ada = h.connect("ada")
		require.Equal(t, []int{2}, h.loads())
		require.Equal(t, 1, h.stats()[0].Held)
		h.refused("cyd")
		h.where("bob") // takes the place, and gives it back
		time.Sleep(30*time.Second - 1)
		h.refused("cyd")
		time.Sleep(time.Nanosecond)
		h.connect("cyd")
		h.refused("bob")
		require.Zero(t, h.stats()[0].Held)
		h.leave(ada)
		require.Equal(t, 1, h.stats()[0].Held)
		require.Equal(t, 1, h.rt.Stats().Groups[0].Lingering)
	})
}

func TestGroup_WithoutHeldPlacesLingerIsAPreference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 1, MaxReplicas: 1})
		h.leave(h.connect("ada"))
		require.Equal(t, []int{0}, h.loads())
		h.connect("bob")
		h.refused("ada")
	})
}

// A uid with several connections has one place held: that of the last.
func TestGroup_OnePlaceIsHeldForAUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 2, MaxReplicas: 1, HoldPlaces: true})
		one, two := h.connect("ada"), h.connect("ada")
		h.leave(one)
		require.Equal(t, 0, h.stats()[0].Held, "it is connected")
		require.Equal(t, []int{1}, h.loads())
		h.leave(two)
		require.Equal(t, 1, h.stats()[0].Held)
		h.connect("bob")
		h.connect("ada")
		h.refused("ada")
	})
}

// A second replica is made for newcomers while the places of the first are
// held.
func TestGroup_NewcomersGetAReplicaBesideHeldPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 1, HoldPlaces: true})
		ada := h.connect("ada")
		first := h.stats()[0].ID
		h.leave(ada)
		h.connect("bob")
		require.Equal(t, []int{1, 1}, h.loads())
		require.Equal(t, first, h.where("ada"))
		require.NoError(t, h.group.Drain(context.Background(), first))
		require.Equal(t, 0, h.stats()[0].Held, "nobody returns to a draining replica")
		require.NotEqual(t, first, h.where("ada"))
	})
}

func TestGroup_ReplicaWithHeldPlacesStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{LingerFor: time.Second, RetireAfter: 10 * time.Second},
			dog.GroupOptions[placesGroup]{Limit: 2, HoldPlaces: true, LingerFor: time.Hour})
		h.leave(h.connect("ada"))
		time.Sleep(time.Hour - 1)
		require.Equal(t, []int{1}, h.loads())
		time.Sleep(5 * time.Second)
		require.Equal(t, []int{0}, h.loads())
		time.Sleep(10 * time.Second)
		require.Empty(t, h.loads())
	})
}

func TestGroup_InvalidPlacesAreRefusedAtRegistration(t *testing.T) {
	for _, c := range []struct {
		name    string
		options dog.Options
		group   dog.GroupOptions[placesGroup]
		problem string
	}{
		{"order", dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 1, Order: 2}, "GroupOptions.Order is 2"},
		{
			"negative order", dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 1, Order: -1},
			"GroupOptions.Order is -1",
		},
		{
			"hold without a linger of the runtime", dog.Options{LingerFor: -1},
			dog.GroupOptions[placesGroup]{Limit: 1, HoldPlaces: true}, "HoldPlaces needs a LingerFor above 0",
		},
		{
			"hold without a linger of the group", dog.Options{},
			dog.GroupOptions[placesGroup]{Limit: 1, HoldPlaces: true, LingerFor: -1},
			"HoldPlaces needs a LingerFor above 0",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt := dogtest.New(t, c.options)
			replicas, err := dog.RegisterReplica[placesReplica](rt, "replica", nil)
			require.NoError(t, err)
			_, err = dog.RegisterGroup(rt, "group", replicas, &c.group)
			require.ErrorAs(t, err, new(*dog.RegistrationError))
			require.ErrorContains(t, err, c.problem)
		})
	}
}
