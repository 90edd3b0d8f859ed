package roster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/roster"
)

func TestLinger_PrefersTheLastReplica(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 5, Linger: 30 * time.Second}, 2)
	take(t, b, all[0], "bob", 0)
	p := take(t, b, all[0], "ann", 0)
	b.Release(p, 10*second)

	p = reserve(t, b, "ann", 39*second)
	require.Same(t, all[0], p.Replica())
	b.Release(p, 39*second)
	p = reserve(t, b, "ann", 40*second)
	require.Same(t, all[1], p.Replica(), "an unused reservation does not prolong the linger")
	b.Release(p, 40*second)

	require.Equal(t, 1, b.IDs(), "those with places")
	require.Equal(t, 1, b.Lingering())
	b.Tick(40*second, yes)
	require.Zero(t, b.Lingering())
}

func TestLinger_DoesNotPassToTheNextReplica(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 5, Linger: time.Hour}, 2)
	b.Release(take(t, b, all[0], "ann", 0), 0)
	b.Drain(all[0], 0)
	b.Tick(0, yes)
	next, err := b.Add("r2", "", 0)
	require.NoError(t, err)
	bob := take(t, b, next, "bob", 0)
	p := reserve(t, b, "ann", 0)
	require.Same(t, all[1], p.Replica(), "the least loaded, not the one in the place of the old")
	require.True(t, b.Claim(p, 0))
	b.Release(p, 0)

	for r := range b.All() {
		b.Drain(r, 0)
	}
	b.Release(bob, 0)
	b.Tick(0, yes)
	require.True(t, b.Empty())
	require.Equal(t, 1, b.Lingering())
	next, err = b.Add("r3", "", 0)
	require.NoError(t, err)
	require.Same(t, next, reserve(t, b, "ann", 0).Replica())
}

func TestLinger_SurvivesOtherReplicas(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 5, Linger: time.Hour}, 1)
	take(t, b, all[0], "bob", 0)
	b.Release(take(t, b, all[0], "ann", 0), 0)
	for i := range 100 {
		r, err := b.Add(fmt.Sprint("new", i), "", 0)
		require.NoError(t, err)
		b.Release(take(t, b, r, "cid", 0), 0)
		p := reserve(t, b, "ann", 0)
		require.Same(t, all[0], p.Replica())
		b.Release(p, 0)
		if i%3 != 0 {
			b.Drain(r, 0)
			b.Tick(0, yes)
		}
	}
	require.Equal(t, 2, b.Lingering())
}

func TestLinger_IsIgnoredOnAClosedReplica(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 1, Linger: time.Minute}, 2)
	b.Release(take(t, b, all[0], "ann", 0), 0)
	bob := take(t, b, all[0], "bob", 0)
	p := reserve(t, b, "ann", 0)
	require.Same(t, all[1], p.Replica(), "full")
	b.Release(p, 0)
	b.Release(bob, 0)
	p = reserve(t, b, "ann", 0)
	require.Same(t, all[0], p.Replica(), "its linger goes on")
	b.Release(p, 0)

	b.Drain(all[0], 0)
	require.Same(t, all[1], reserve(t, b, "ann", 0).Replica(), "draining")
	b.Tick(0, yes)
	_, err := b.Reserve("ann", 0)
	require.ErrorIs(t, err, roster.ErrNoRoom, "gone")
}

// Where an id is matters more than where it was, whatever the loads.
func TestLinger_ComesAfterPlaces(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 5, Linger: time.Minute}, 2)
	b.Release(take(t, b, all[0], "ann", 0), 0)
	take(t, b, all[1], "ann", 0)
	require.Same(t, all[1], reserve(t, b, "ann", 0).Replica())
}

func TestLinger_IsNotBegunByAnUnusedReservation(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 5, Linger: time.Hour}, 2)
	p := reserve(t, b, "ann", 0)
	b.Release(p, 0)
	require.Zero(t, b.IDs())

	take(t, b, p.Replica(), "bob", 0)
	require.NotSame(t, p.Replica(), reserve(t, b, "ann", 0).Replica())
	require.Len(t, all, b.Len())
}

// A client that comes back reserves before its old connection is known to be
// dead. If it then fails to come, its state is still where the connection was.
func TestLinger_BeginsWithTheLastConnectionNotTheLastPlace(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 5, Reserve: 10 * time.Second, Linger: time.Minute}, 2)
	take(t, b, all[0], "bob", 0)
	p := take(t, b, all[0], "ann", 0)
	again := reserve(t, b, "ann", 0)
	b.Release(p, second)
	require.False(t, b.Claim(again, 10*second))
	require.Same(t, all[0], reserve(t, b, "ann", 50*second).Replica())
}

func TestLinger_KeepsItsReplica(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 1, Linger: 30 * time.Second, Retire: time.Second}, 1)
	b.Release(take(t, b, all[0], "ann", 0), 5*second)
	b.Tick(35*second-1, yes)
	require.Equal(t, 1, b.Len())
	require.Same(t, all[0], reserve(t, b, "ann", 35*second-1).Replica())
}
