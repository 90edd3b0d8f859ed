package roster

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// verify checks how the table is made, and that every record is where get looks
// for it.
func (t *lingers) verify(tb require.TestingT) {
	if t.count == 0 {
		require.Empty(tb, t.dir)
		return
	}
	require.Len(tb, t.dir, 1<<t.depth)
	count := 0
	for i := 0; i < len(t.dir); {
		s, width := t.dir[i], len(t.dir)>>t.dir[i].depth
		require.Zero(tb, i%width)
		used := 0
		for j := range s.slots {
			r := &s.slots[j]
			if r.hash == 0 {
				continue
			}
			used++
			if t.shard(r.hash) != s || s.find(r.hash) != r {
				require.Failf(tb, "misplaced", "%x", r.hash)
			}
		}
		require.Equal(tb, used, s.used)
		require.Less(tb, used, len(s.slots))
		require.LessOrEqual(tb, len(s.slots), 2*maxSlots, "not twice as many even after uneven splits")
		for j := range width {
			require.Same(tb, s, t.dir[i+j])
		}
		count += used
		i += width
	}
	require.Equal(tb, count, t.count)
}

// slotCount returns the number of slots there is memory for.
func (t *lingers) slotCount() (n int) {
	for i := 0; i < len(t.dir); i += len(t.dir) >> t.dir[i].depth {
		n += len(t.dir[i].slots)
	}
	return n
}

// fill puts n hashes that linger on the refs 1, 2, ….
func (t *lingers) fill(rnd *rand.Rand, n int, now Time) []uint64 {
	hashes := make([]uint64, n)
	for i := range hashes {
		hashes[i] = rnd.Uint64() | 1
		t.put(hashes[i], ref{number: uint32(i + 1)}, now)
	}
	return hashes
}

func TestLingers_BehaveAsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		table := lingers{life: time.Duration(rapid.IntRange(1, 20).Draw(t, "life")) * time.Second}
		want := map[uint64]record{}
		var hashes []uint64
		now, latest := Time(0), Time(0)
		put := func(hash uint64) {
			r := record{hash: hash, since: now, on: ref{rnd.Uint32(), rnd.Uint32()}}
			table.put(hash, r.on, now)
			if _, known := want[hash]; !known {
				hashes = append(hashes, hash)
			}
			want[hash] = r
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				table.verify(t)
				latest = max(latest, now)
				valid := 0
				for hash, r := range want {
					on, ok := table.get(hash, now)
					// When time has gone back, what was over may be known
					// again, or have been dropped.
					may, must := !passed(table.life, r.since, now), !passed(table.life, r.since, latest)
					if ok && !may || must && !ok || ok && on != r.on {
						t.Fatalf("%x: got %v, %t at %d, want %v", hash, on, ok, now, r)
					}
					if must {
						valid++
					}
				}
				require.GreaterOrEqual(t, table.count, valid)
				require.LessOrEqual(t, table.count, len(want))
				_, ok := table.get(rnd.Uint64()|1, now)
				require.False(t, ok)
			},
			"one": func(t *rapid.T) { put(rnd.Uint64() | 1) },
			"edge": func(t *rapid.T) {
				put(rapid.SampledFrom([]uint64{1, 2, 1 << 63, 1<<63 - 1, ^uint64(0), ^uint64(0) - 1}).Draw(t, "hash"))
			},
			// More hashes begin with zeros than do not, so that shards differ
			// in depth.
			"many": func(t *rapid.T) {
				if len(hashes) > 4*maxSlots {
					t.Skip("enough")
				}
				for range rapid.IntRange(1, 2*maxSlots).Draw(t, "n") {
					put(rnd.Uint64()>>rnd.IntN(3) | 1)
				}
			},
			"again": func(t *rapid.T) {
				for _, i := range rnd.Perm(len(hashes))[:len(hashes)/2] {
					put(hashes[i])
				}
			},
			"wait":  func(t *rapid.T) { now += Time(rapid.IntRange(1, 12).Draw(t, "wait")) * Time(time.Second) },
			"back":  func(t *rapid.T) { now -= Time(rapid.IntRange(1, 3).Draw(t, "back")) * Time(time.Second) },
			"sweep": func(*rapid.T) { table.sweep(now) },
		})
		now = latest
		for range 3 {
			now += 2 * Time(table.life)
			for range len(table.dir)/maxSweep + 1 {
				table.sweep(now)
			}
		}
		require.Zero(t, table.count)
		table.verify(t)
	})
}

func TestLingers_SweepFollowsTimeNotCalls(t *testing.T) {
	const n = 100_000
	table := lingers{life: 30 * time.Second}
	table.fill(rand.New(rand.NewPCG(1, 2)), n, 0)
	now := Time(table.life)
	table.swept = now // as if it had been called all the time
	for second := range 30 {
		now += Time(time.Second)
		for range 100 {
			table.sweep(now)
		}
		require.InDelta(t, n*(29-second)/30, table.count, n/50)
		table.verify(t)
	}
	require.Zero(t, table.count)
}

func TestLingers_SweepIsBounded(t *testing.T) {
	const n = 400_000
	table := lingers{life: time.Second}
	table.fill(rand.New(rand.NewPCG(1, 2)), n, 0)
	require.Greater(t, len(table.dir), 2*maxSweep)
	now, sweeps := 100*Time(time.Second), 0
	for table.count > 0 {
		before := table.count
		table.sweep(now)
		require.Less(t, before-table.count, maxSweep*maxSlots)
		require.Less(t, table.count, before)
		sweeps++
	}
	require.Greater(t, sweeps, 2)
	require.Nil(t, table.dir)
}

func TestLingers_SweepKeepsValidRecords(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	table := lingers{life: time.Second}
	table.fill(rnd, 200_000, 0)
	now := Time(table.life) - 1
	kept := table.fill(rnd, 1000, now)
	for range 10 {
		table.sweep(now + 1)
	}
	require.Less(t, table.count, 1400)
	require.Less(t, table.slotCount(), 4*table.count+minSlots)
	require.Len(t, table.dir, 1, "shards have merged")
	table.verify(t)
	for i, hash := range kept {
		on, ok := table.get(hash, now+1)
		require.True(t, ok)
		require.Equal(t, uint32(i+1), on.number)
	}
}

// New ids in place of old ones make the table no larger, though nobody sweeps.
func TestLingers_PutReusesVoidRecords(t *testing.T) {
	const n = 50_000
	rnd := rand.New(rand.NewPCG(1, 2))
	table := lingers{life: n}
	now := Time(0)
	for range 10 * n {
		table.put(rnd.Uint64()|1, ref{}, now)
		now++
	}
	require.Less(t, table.slotCount(), 4*n)
	table.verify(t)
}

func TestLingers_FewUseLittleMemory(t *testing.T) {
	table := lingers{life: time.Second}
	table.fill(rand.New(rand.NewPCG(1, 2)), 3, 0)
	require.Equal(t, minSlots, table.slotCount())
	require.Len(t, table.dir, 1)
}

// No test can make ids whose hashes are equal, so this one makes the hashes.
func TestEntries_WithEqualHashes(t *testing.T) {
	rids := []string{"ann", "bob", "cid"}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			var all entries[int, int]
			added := map[string]*entry[int, int]{}
			verify := func() {
				require.Equal(t, len(added), all.count)
				for _, rid := range rids {
					require.Same(t, added[rid], all.find(7, rid))
				}
			}
			for range 2 { // the second time with entries that have been used
				for _, rid := range rids {
					added[rid] = all.add(7, rid)
					verify()
				}
				for _, i := range order {
					all.remove(added[rids[i]])
					delete(added, rids[i])
					verify()
				}
			}
		})
	}
}
