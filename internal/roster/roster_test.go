package roster_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/roster"
)

type (
	book    = roster.Book[string, string]
	replica = roster.Replica[string, string]
	place   = roster.Place[string, string]
)

const second = roster.Time(time.Second)

// newBook returns a book of replicas "r0", "r1", …
func newBook(t testing.TB, c roster.Config, replicas int) (*book, []*replica) {
	if c.Reserve == 0 {
		c.Reserve = 10 * time.Second
	}
	b := roster.New[string, string](c)
	all := make([]*replica, replicas)
	for i := range all {
		r, err := b.Add(fmt.Sprint("r", i), "", 0)
		require.NoError(t, err)
		all[i] = r
	}
	return b, all
}

func take(t testing.TB, b *book, r *replica, rid string, now roster.Time) *place {
	p, err := b.Take(r, rid, now)
	require.NoError(t, err)
	return p
}

func reserve(t testing.TB, b *book, rid string, now roster.Time) *place {
	p, err := b.Reserve(rid, now)
	require.NoError(t, err)
	return p
}

func yes(*replica) bool { return true }

func TestReserve_FillsEvenlyUpToTheLimit(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 3, MaxReplicas: 2}, 2)
	for i := range 6 {
		reserve(t, b, fmt.Sprint("user", i), 0)
		require.LessOrEqual(t, all[0].Load()-all[1].Load(), 1)
		require.LessOrEqual(t, all[1].Load()-all[0].Load(), 1)
	}
	_, err := b.Reserve("one more", 0)
	require.ErrorIs(t, err, roster.ErrFull)
	_, err = b.Add("r2", "", 0)
	require.ErrorIs(t, err, roster.ErrFull)
	_, err = b.Take(all[0], "one more", 0)
	require.ErrorIs(t, err, roster.ErrReplicaFull)
}

func TestReserve_NoRoomUntilAReplicaIsAdded(t *testing.T) {
	b, _ := newBook(t, roster.Config{}, 0)
	require.True(t, b.Empty())
	_, err := b.Reserve("ann", 0)
	require.ErrorIs(t, err, roster.ErrNoRoom)

	r, err := b.Add("r0", "payload", 0)
	require.NoError(t, err)
	require.Equal(t, "payload", r.Value)
	require.Same(t, r, reserve(t, b, "ann", 0).Replica())
	_, err = b.Reserve("ann", 0)
	require.ErrorIs(t, err, roster.ErrNoRoom, "a limit of 0 means 1")
}

func TestReserve_PrefersReplicasWithPlacesOfTheID(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 5}, 3)
	take(t, b, all[0], "ann", 0)
	take(t, b, all[0], "bob", 0)
	take(t, b, all[0], "cid", 0)
	take(t, b, all[1], "ann", 0)
	require.Same(t, all[1], reserve(t, b, "ann", 0).Replica(), "the less loaded of its two, not the empty one")
	for range 3 {
		require.Same(t, all[1], take(t, b, all[1], "dan", 0).Replica())
	}
	require.Same(t, all[0], reserve(t, b, "ann", 0).Replica(), "its other one, now that one is full")
	require.Same(t, all[0], reserve(t, b, "ann", 0).Replica())
	require.Same(t, all[2], reserve(t, b, "ann", 0).Replica(), "both full")
}

func TestReserve_Expires(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 1, Reserve: 10 * time.Second}, 1)
	p := reserve(t, b, "ann", 0)
	_, err := b.Reserve("bob", 10*second-1)
	require.ErrorIs(t, err, roster.ErrNoRoom)
	require.Equal(t, 1, all[0].Reserved())

	bob := reserve(t, b, "bob", 10*second)
	require.False(t, p.Held())
	require.False(t, b.Claim(p, 10*second))
	require.True(t, b.Claim(bob, 20*second-1))
	require.Zero(t, all[0].Reserved())
	require.Equal(t, 1, all[0].Load())
}

func TestTake_UsesTheRoomOfAnExpiredReservation(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 1, Reserve: 10 * time.Second}, 1)
	reserve(t, b, "ann", 0)
	require.True(t, take(t, b, all[0], "bob", 10*second).Held())
}

func TestPlace_IsClaimedOnceAndReleasedOnce(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 3}, 1)
	take(t, b, all[0], "bob", 0)
	p := reserve(t, b, "ann", 0)
	require.False(t, b.Attach(p, "too early"))
	require.True(t, b.Claim(p, 0))
	require.False(t, b.Claim(p, 0))
	require.True(t, b.Attach(p, "socket"))
	require.False(t, b.Attach(p, "another"))

	for range 3 {
		b.Release(p, 0)
		require.Equal(t, 1, all[0].Load())
	}
	require.False(t, b.Claim(p, 0))
	require.False(t, b.Attach(p, "late"))
	require.Same(t, all[0], p.Replica())
}

func TestSockets_OfAnIDOnAllReplicas(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 5}, 2)
	for i, r := range []*replica{all[0], all[1], all[0]} {
		require.True(t, b.Attach(take(t, b, r, "ann", 0), fmt.Sprint("ann", i)))
		require.True(t, b.Attach(take(t, b, r, "bob", 0), fmt.Sprint("bob", i)))
	}
	take(t, b, all[0], "ann", 0)
	require.Equal(t, []string{"ann0", "ann1", "ann2"}, slices.Collect(b.Sockets("ann")))
	require.Empty(t, slices.Collect(b.Sockets("nobody")))

	for range b.Sockets("ann") {
		break // must not go on
	}
	for range b.All() {
		break
	}
}

func TestDrain_TakesNothingNewAndRetiresWhenEmpty(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 5, Linger: time.Hour, Retire: time.Hour}, 2)
	used := take(t, b, all[0], "ann", 0)
	p := reserve(t, b, "ann", 0)
	b.Drain(all[0], 0)
	b.Drain(all[0], 0)

	require.Same(t, all[1], reserve(t, b, "ann", 0).Replica())
	_, err := b.Take(all[0], "ann", 0)
	require.ErrorIs(t, err, roster.ErrDraining)
	require.True(t, b.Claim(p, 0), "what it has stays")

	b.Release(used, 0)
	b.Tick(0, func(*replica) bool { panic("not empty") })
	b.Release(p, 0)
	require.True(t, b.Pending())
	b.Tick(0, yes)
	require.Equal(t, 1, b.Len())
	require.Nil(t, b.Replica("r0"))
	_, err = b.Take(b.Replica("r0"), "ann", 0)
	require.ErrorIs(t, err, roster.ErrGone)
	_, err = b.Take(all[0], "ann", 0)
	require.ErrorIs(t, err, roster.ErrGone)
}

func TestTick_RetiresEmptyReplicas(t *testing.T) {
	b, all := newBook(t, roster.Config{Limit: 1, Retire: 10 * time.Second}, 2)
	p := take(t, b, all[0], "ann", 0)
	b.Release(p, 5*second)

	var asked []*replica
	no := func(r *replica) bool { asked = append(asked, r); return false }
	b.Tick(10*second-1, no)
	require.Empty(t, asked)
	b.Tick(10*second, no)
	require.Equal(t, []*replica{all[1]}, asked)
	b.Tick(15*second, no)
	require.Equal(t, []*replica{all[1], all[1], all[0]}, asked, "a refusal lasts until the next tick")

	require.True(t, b.Pending())
	b.Tick(15*second, yes)
	require.True(t, b.Empty())
	require.False(t, b.Pending())
	_, err := b.Add("r0", "", 15*second)
	require.NoError(t, err, "its name is free")
}

// A name that all anonymous users share is on every replica. It must not make
// the books slow, let alone wrong.
func TestReserve_IDOnManyReplicas(t *testing.T) {
	const replicas, limit = 2_000, 4
	b, all := newBook(t, roster.Config{Limit: limit}, replicas)
	var places []*place
	for i := range replicas * limit {
		p := reserve(t, b, "guest", 0)
		require.True(t, b.Claim(p, 0))
		require.Equal(t, i%limit+1, p.Replica().Load(), "it fills one replica after the other")
		places = append(places, p)
	}
	_, err := b.Reserve("guest", 0)
	require.ErrorIs(t, err, roster.ErrNoRoom)

	freed := places[4321].Replica()
	b.Release(places[4321], 0)
	require.Same(t, freed, reserve(t, b, "guest", 0).Replica())

	// Guests leave one replica but for one, another for good; all others have
	// room for one more.
	emptier, left := places[100].Replica(), places[200].Replica()
	for _, p := range places {
		if r := p.Replica(); r == left || r.Load() == limit || r == emptier && r.Load() > 1 {
			b.Release(p, 0)
		}
	}
	require.Zero(t, left.Load())
	require.Same(t, emptier, reserve(t, b, "guest", 0).Replica(), "the least loaded on which there are guests")
	for _, p := range places {
		b.Release(p, 0)
	}
	b.Tick(11*second, yes)
	require.Zero(t, b.IDs())
	require.Empty(t, slices.Collect(b.All()))
	require.True(t, all[0].Draining())
}

func heap() int {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc)
}

func TestBook_FreesMemory(t *testing.T) {
	const ids = 100_000
	b, all := newBook(t, roster.Config{Limit: ids, Linger: time.Second}, 1)
	before := heap()
	for round := range roster.Time(2) {
		now := round * 10 * second
		places := make([]*place, ids)
		for i := range places {
			places[i] = take(t, b, all[0], fmt.Sprint("user", i), now)
			b.Attach(places[i], "")
		}
		require.Equal(t, ids, b.IDs())
		for _, p := range places {
			b.Release(p, now)
		}
		require.Zero(t, b.IDs())
		require.Equal(t, ids, b.Lingering())
		require.Less(t, heap()-before, 64*ids, "64 bytes an id")
		for range 8 { // a tick does a part
			b.Tick(now+second, func(*replica) bool { return false })
		}
		require.Zero(t, b.Lingering())
	}
	require.Less(t, heap()-before, 100_000, "one byte an id")
	runtime.KeepAlive(b)
}

func TestPlace_IsTheOnlyAllocationOfAVisit(t *testing.T) {
	b, _ := newBook(t, roster.Config{Limit: 5, Linger: time.Hour}, 2)
	visit := func() {
		p, err := b.Reserve("ann", 0)
		if err != nil || !b.Claim(p, 0) {
			panic("no place")
		}
		b.Release(p, 0)
	}
	visit()
	require.LessOrEqual(t, testing.AllocsPerRun(100, visit), 1.0)
}
