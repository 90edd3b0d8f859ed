package group_test

import (
	"context"
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

// lockWays are the ways to lock the replica on which a client is.
var lockWays = []struct {
	name string
	lock func(h *places, c *dogtest.Client, id dog.ID, locked bool)
}{
	{"by the replica", func(h *places, c *dogtest.Client, _ dog.ID, locked bool) {
		if locked {
			h.send(c, "lock")
		} else {
			h.send(c, "unlock")
		}
	}},
	{"by the group", func(h *places, _ *dogtest.Client, id dog.ID, locked bool) {
		path := "/?locked=false&replica=" + id.String()
		if locked {
			path = "/?locked=true&replica=" + id.String()
		}
		status, _ := dogtest.Serve(h.t, h.group).Get(path)
		require.Equal(h.t, http.StatusOK, status)
	}},
	{"by the group's stub", func(h *places, _ *dogtest.Client, id dog.ID, locked bool) {
		require.NoError(h.t, h.group.SetLocked(context.Background(), id, locked))
	}},
}

func TestGroup_LockedReplicaTakesOnlyKnownUIDs(t *testing.T) {
	for _, way := range lockWays {
		for _, hold := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, hold %t", way.name, hold), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newPlaces(
						t, dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 4, MaxReplicas: 2, HoldPlaces: hold},
					)
					ada, bob := h.connect("ada"), h.connect("bob")
					reserved, err := h.group.Identify(context.Background(), "cyd")
					require.NoError(t, err)
					first := h.stats()[0].ID
					way.lock(h, ada, first, true)
					require.True(t, h.stats()[0].Locked)

					h.leave(bob)
					require.NotEqual(t, first, h.where("dan"), "a newcomer gets a new replica")
					require.Equal(t, first, h.where("ada"), "has a socket there")
					require.Equal(t, first, h.where("bob"), "was there a moment ago")
					require.Equal(t, first, h.where("cyd"), "has a place reserved there")
					second := h.stats()[1]
					require.False(t, second.Locked)
					require.NoError(t, h.group.SetLocked(context.Background(), second.ID, true))
					h.refused("dan")

					reserved.Release()
					h.refused("cyd")
					time.Sleep(30 * time.Second)
					h.refused("bob")
					way.lock(h, ada, first, false)
					require.False(t, h.stats()[0].Locked)
					require.Equal(t, first, h.where("dan"))
				})
			})
		}
	}
}

// A stub that Identify returned earlier does not bypass the lock.
func TestGroup_FurtherRequestDoesNotPassALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 4})
		ada, err := h.group.Identify(context.Background(), "ada")
		require.NoError(t, err)
		bob, err := h.group.Identify(context.Background(), "bob")
		require.NoError(t, err)
		dogtest.Serve(t, ada).Dial("/")
		bob.Release()
		require.NoError(t, h.group.SetLocked(context.Background(), bob.ID(), true))
		_, answer, err := dogtest.Serve(t, bob).TryDial("/", dogtest.DialOptions{})
		require.Error(t, err)
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		dogtest.Serve(t, ada).Dial("/")
	})
}

func TestGroup_LockOutlivesAResetAndEndsWithTheReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{LingerFor: -1}, dog.GroupOptions[placesGroup]{Limit: 4, MaxReplicas: 1})
		ada := h.connect("ada")
		id := h.stats()[0].ID
		h.send(ada, "lock")
		h.send(ada, "abort")
		require.Equal(t, []int{0}, h.loads())
		require.True(t, h.stats()[0].Locked)
		h.refused("bob")
		time.Sleep(62 * time.Second)
		require.Empty(t, h.loads())
		require.NotEqual(t, id, h.where("bob"))
		require.False(t, h.stats()[0].Locked)
		require.ErrorIs(t, h.group.SetLocked(context.Background(), id, true), dog.ErrReplicaGone)
	})
}

func TestGroup_LockThatDependsOnALostWriteIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 4})
		h.send(h.connect("ada"), "store, lock and panic")
		require.False(t, h.stats()[0].Locked)
	})
}

func TestGroup_SetLockedErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPlaces(t, dog.Options{}, dog.GroupOptions[placesGroup]{Limit: 4})
		require.ErrorIs(t, h.group.SetLocked(context.Background(), dog.ID{}, true), dog.ErrReplicaGone)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.ErrorIs(t, h.group.SetLocked(ctx, dog.ID{}, true), context.Canceled)
		fixture.RequireUsage(
			t, dog.GroupStub[placesGroup, placesReplica]{}.SetLocked(context.Background(), dog.ID{}, true),
			"not made by a runtime",
		)
		fixture.RequireUsage(t, new(placesGroup).SetLocked(dog.ID{}, true), "not made by a runtime")
		fixture.RequireUsage(t, new(placesReplica).SetLocked(true), "not made by a runtime")
	})
}
