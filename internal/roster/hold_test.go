package roster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/roster"
)

var holding = roster.Config{Limit: 2, MaxReplicas: 1, Linger: 30 * time.Second, Hold: true}

func TestHold_IsLoadUntilItExpires(t *testing.T) {
	b, all := newBook(t, holding, 1)
	take(t, b, all[0], "bob", 0)
	b.Release(take(t, b, all[0], "ann", 0), 5*second)
	require.Equal(t, []int{2, 1}, []int{all[0].Load(), all[0].Held()})
	_, err := b.Reserve("cid", 35*second-1)
	require.ErrorIs(t, err, roster.ErrFull)
	_, err = b.Take(all[0], "cid", 35*second-1)
	require.ErrorIs(t, err, roster.ErrReplicaFull)
	require.Equal(t, 1, b.Lingering())
	reserve(t, b, "cid", 35*second)
	require.Equal(t, []int{2, 0}, []int{all[0].Load(), all[0].Held()})
	require.Zero(t, b.Lingering())
}

func TestTick_EndsHoldsThenRetires(t *testing.T) {
	c := holding
	c.Retire = 10 * time.Second
	b, all := newBook(t, c, 1)
	b.Release(take(t, b, all[0], "ann", 0), 0)
	b.Tick(30*second-1, yes)
	require.Equal(t, 1, all[0].Held())
	b.Tick(30*second, yes)
	require.Zero(t, all[0].Load())
	b.Tick(40*second-1, yes)
	require.Equal(t, 1, b.Len(), "it has been empty for less than Retire")
	b.Tick(40*second, yes)
	require.True(t, b.Empty())
	require.False(t, b.Pending())
}

func TestHold_IsUsedByAReturningID(t *testing.T) {
	for _, c := range []struct {
		name string
		back func(b *book, r *replica) (*place, error)
	}{
		{"reserve", func(b *book, _ *replica) (*place, error) { return b.Reserve("ann", second) }},
		{"take", func(b *book, r *replica) (*place, error) { return b.Take(r, "ann", second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, all := newBook(t, holding, 1)
			take(t, b, all[0], "bob", 0)
			b.Release(take(t, b, all[0], "ann", 0), 0)
			p, err := c.back(b, all[0])
			require.NoError(t, err)
			require.Equal(t, []int{2, 0}, []int{all[0].Load(), all[0].Held()})
			_, err = c.back(b, all[0])
			require.Error(t, err, "one place is held, not two")
			b.Release(p, second)
			require.Equal(t, []int{2, 1}, []int{all[0].Load(), all[0].Held()})
		})
	}
}

// A reservation that is not used neither costs the held place nor prolongs it.
func TestHold_IsRestoredByAnUnusedReservation(t *testing.T) {
	b, all := newBook(t, holding, 1)
	take(t, b, all[0], "bob", 0)
	b.Release(take(t, b, all[0], "ann", 0), 0)
	reserve(t, b, "ann", 15*second)
	b.Tick(25*second, yes) // the reservation has expired
	require.Equal(t, 1, all[0].Held())
	_, err := b.Reserve("cid", 30*second-1)
	require.ErrorIs(t, err, roster.ErrFull)
	reserve(t, b, "cid", 30*second)

	b, all = newBook(t, holding, 1)
	take(t, b, all[0], "bob", 0)
	b.Release(take(t, b, all[0], "ann", 0), 0)
	p := reserve(t, b, "ann", 29*second)
	require.True(t, b.Claim(p, 35*second), "the reservation is good beyond the hold")
	require.Equal(t, []int{2, 0}, []int{all[0].Load(), all[0].Held()})
}

func TestHold_EndsWhenItsIDConnectsElsewhere(t *testing.T) {
	c := holding
	c.MaxReplicas = 2
	b, all := newBook(t, c, 2)
	b.Release(take(t, b, all[0], "ann", 0), 0)
	p := take(t, b, all[1], "ann", 0)
	require.Zero(t, all[0].Load())
	b.Release(p, 0)
	require.Equal(t, []int{0, 1}, []int{all[0].Held(), all[1].Held()})
	require.Same(t, all[1], reserve(t, b, "ann", 0).Replica())
}

func TestHold_EndsWhenItsReplicaDrains(t *testing.T) {
	b, all := newBook(t, holding, 1)
	b.Release(take(t, b, all[0], "ann", 0), 0)
	p := take(t, b, all[0], "bob", 0)
	b.Drain(all[0], 0)
	require.Equal(t, []int{1, 0}, []int{all[0].Load(), all[0].Held()})
	b.Release(p, 0)
	require.Zero(t, all[0].Load(), "and begins to hold nothing")
	b.Tick(0, yes)
	require.True(t, b.Empty())
}

func TestSetLocked_KeepsNewcomersAway(t *testing.T) {
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprint("hold ", hold), func(t *testing.T) {
			c := roster.Config{Limit: 3, MaxReplicas: 2, Linger: 30 * time.Second, Hold: hold}
			b, all := newBook(t, c, 1)
			take(t, b, all[0], "ann", 0)
			b.Release(take(t, b, all[0], "bob", 0), 0)
			b.SetLocked(all[0], true, 0)
			_, err := b.Reserve("cid", 0)
			require.ErrorIs(t, err, roster.ErrNoRoom)
			_, err = b.Take(all[0], "cid", 0)
			require.ErrorIs(t, err, roster.ErrLocked)
			for _, rid := range []string{"ann", "bob"} {
				p := reserve(t, b, rid, 0)
				require.Same(t, all[0], p.Replica())
				b.Release(p, 0)
				b.Release(take(t, b, all[0], rid, 0), 0)
			}
			_, err = b.Add("r1", "", 0)
			require.NoError(t, err)
			b.SetLocked(b.Replica("r1"), true, 0)
			_, err = b.Reserve("cid", 0)
			require.ErrorIs(t, err, roster.ErrFull)
			_, err = b.Reserve("bob", 30*second)
			require.ErrorIs(t, err, roster.ErrFull, "forgotten")
			b.SetLocked(all[0], false, 30*second)
			require.Same(t, all[0], reserve(t, b, "cid", 30*second).Replica())
		})
	}
}

func TestSetLocked_LockedReplicaIsRetired(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 1, Retire: 10 * time.Second}, 3)
	b.SetLocked(all[1], true, 4*second)
	b.SetLocked(all[2], true, 5*second)
	b.SetLocked(all[2], false, 6*second)
	b.SetLocked(all[2], false, 9*second) // nothing changes
	var gone []*replica
	for now := range roster.Time(20) {
		b.Tick(now*second, func(r *replica) bool {
			gone = append(gone, r)
			return true
		})
		require.Equal(t, now >= 10, b.Replica("r0") == nil)
		require.Equal(t, now >= 14, b.Replica("r1") == nil)
		require.Equal(t, now >= 16, b.Replica("r2") == nil)
	}
	require.Equal(t, all, gone)
	b.SetLocked(all[0], true, 20*second)
	require.False(t, all[0].Locked(), "it is gone")
}

func TestReserve_FullestFirst(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 3, FullestFirst: true}, 3)
	for _, r := range []*replica{all[2], all[2], all[1], all[0], all[0], all[0]} {
		take(t, b, r, "guest", 0)
	}
	for i, want := range []*replica{all[2], all[1], all[1]} {
		require.Same(t, want, reserve(t, b, fmt.Sprint("user", i), 0).Replica())
	}
	_, err := b.Reserve("one more", 0)
	require.ErrorIs(t, err, roster.ErrNoRoom)
}
