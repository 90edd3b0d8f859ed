package replog_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/replog"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/enginetest"
)

// Whoever is the owner has all that owners before it were told is durable, and
// an owner that has lost the log can still read but writes nothing more.
func TestClaim_TakesALogOver(t *testing.T) {
	log, localA, localB := new(replog.Memory), store.NewMemory(), store.NewMemory()
	a := own(t, localA, log, "a", replog.Options{})
	require.NoError(t, <-outcome(a, enginetest.Set(t, a, "k", "1")))
	b := own(t, localB, log, "b", replog.Options{})
	value, _, err := b.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "1", string(value))
	require.NoError(t, <-outcome(b, enginetest.Set(t, b, "k", "2")))

	n := enginetest.Set(t, a, "k", "3")
	require.ErrorIs(t, <-outcome(a, n), store.ErrFailed, "the log has refused it")
	require.ErrorIs(t, a.Writable(), store.ErrFailed)
	require.ErrorIs(t, a.Stats().Failed, store.ErrFailed)
	require.ErrorContains(t, a.Writable(), "epoch 2 after 1")
	value, _, err = a.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "1", string(value), "what the log refused is not shown")
	require.Equal(t, []string{"k"}, keys(t, a))
	require.ErrorIs(t, a.Close(), store.ErrFailed)
	require.NoError(t, b.Close())

	s := open(t, localA)
	require.NoError(t, s.Follow(t.Context(), log))
	require.Equal(t, contents(t, localB), contents(t, localA), "nothing had to be undone")
	again, err := s.Claim(t.Context(), log, []byte("a again"), replog.Options{})
	require.NoError(t, err)
	require.NoError(t, <-outcome(again, enginetest.Set(t, again, "k", "4")))
	require.NoError(t, again.Close())
}

// A claim of a node that has not read all is refused.
func TestClaim_NeedsAllRecords(t *testing.T) {
	log, local := new(replog.Memory), store.NewMemory()
	behind := open(t, local)
	a := own(t, store.NewMemory(), log, "a", replog.Options{})
	require.NoError(t, <-outcome(a, enginetest.Set(t, a, "k", "1")))
	_, err := behind.Claim(t.Context(), log, []byte("b"), replog.Options{})
	require.ErrorIs(t, err, replog.ErrConflict)
	require.NoError(t, <-outcome(a, enginetest.Set(t, a, "k", "2")), "the owner notices nothing")
	require.NoError(t, a.Close())
}

// A claim whose answer was lost is known by what the log has.
func TestClaim_WithoutAnAnswer(t *testing.T) {
	id := []byte("b")
	for name, c := range map[string]struct {
		fate fate
		then func(t *testing.T, log replog.Log) // before the claim is resolved
		err  error
	}{
		"unheard":       {fate: fate{unheard: true}},
		"lost":          {fate: fate{lost: true}, err: replog.ErrConflict},
		"arrives twice": {fate: fate{copyLate: 100 * time.Millisecond}},
		"unheard, and another came first": {
			fate: fate{unheard: true, delay: 500 * time.Millisecond}, err: replog.ErrConflict,
			then: func(t *testing.T, log replog.Log) {
				require.NoError(t, own(t, store.NewMemory(), log, "c", replog.Options{}).Close())
			},
		},
		"unheard, and the owner wrote": {
			fate: fate{unheard: true, delay: 500 * time.Millisecond}, err: replog.ErrConflict,
			then: func(t *testing.T, log replog.Log) {
				e := own(t, store.NewMemory(), log, "b", replog.Options{}) // the same text, at another time
				enginetest.Set(t, e, "k", "v")
				require.NoError(t, e.Close())
			},
		},
		"unheard, and another came next": {
			fate: fate{unheard: true}, err: replog.ErrConflict,
			then: func(t *testing.T, log replog.Log) {
				require.NoError(t, own(t, store.NewMemory(), log, "c", replog.Options{}).Close())
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := new(replog.Memory)
				a := own(t, store.NewMemory(), memory, "a", replog.Options{})
				enginetest.Set(t, a, "k", "1")
				require.NoError(t, a.Close())
				log, local := &link{Log: memory}, store.NewMemory()
				s := open(t, local)
				require.NoError(t, s.Follow(t.Context(), log))
				log.fate = func([]byte) fate { return c.fate }
				var other sync.WaitGroup
				other.Go(func() {
					time.Sleep(250 * time.Millisecond)
					if c.then != nil {
						c.then(t, memory)
					}
				})
				e, err := s.Claim(t.Context(), log, id, replog.Options{})
				require.ErrorIs(t, err, c.err)
				other.Wait()
				if c.err == nil {
					log.fate = nil
					require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "2")))
					require.NoError(t, e.Close())
					require.Equal(t, contents(t, local), followed(t, memory))
				}
			})
		})
	}
}

func TestClaim_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory), fate: func([]byte) fate { return fate{lost: true} }}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := open(t, store.NewMemory()).Claim(ctx, log, []byte("a"), replog.Options{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// An append that was delayed until others have taken over is refused, although
// its number is the next one then.
func TestClaim_EndsAppendsThatAreOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(replog.Memory)
		log := &link{Log: memory}
		a := own(t, store.NewMemory(), log, "a", replog.Options{Window: 4, MaxRecord: 30})
		log.fate = func([]byte) fate { return fate{delay: 100 * time.Millisecond} }
		for i := range 4 {
			enginetest.Set(t, a, "a", fmt.Sprint(i)) // records 2, 3, 4 and 5
		}
		synctest.Wait()
		local := store.NewMemory()
		b := own(t, local, memory, "b", replog.Options{}) // record 2
		require.NoError(t, <-outcome(b, enginetest.Set(t, b, "b", "")))
		require.ErrorIs(t, a.Close(), store.ErrFailed)
		time.Sleep(time.Minute)
		require.NoError(t, <-outcome(b, enginetest.Set(t, b, "c", "")))
		require.NoError(t, b.Close())
		end, _, err := memory.Last(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 4, end)
		require.Equal(t, contents(t, local), followed(t, memory))
	})
}

// A log that forgets its fence still cannot make followers disagree: they
// ignore what an earlier owner appends after a claim.
func TestFollow_IgnoresRecordsOfAnEarlierEpoch(t *testing.T) {
	log := new(replog.Memory)
	a := own(t, store.NewMemory(), log, "a", replog.Options{})
	stale := new(replog.Memory) // what the owner would append if the log did not refuse it
	require.NoError(t, a.Close())
	for record, err := range log.Read(t.Context(), 1) {
		require.NoError(t, err)
		appendTo(t, stale, record)
	}
	a = own(t, store.NewMemory(), stale, "a", replog.Options{})
	enginetest.Set(t, a, "k", "stale")
	require.NoError(t, a.Close())
	_, record, err := stale.Last(t.Context())
	require.NoError(t, err)

	for range 3 { // its epoch is lower than that of the last claim
		require.NoError(t, own(t, store.NewMemory(), log, "b", replog.Options{}).Close())
	}
	appendTo(t, log, record)
	c := own(t, store.NewMemory(), log, "c", replog.Options{})
	_, found, err := c.Get([]byte("k"))
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, <-outcome(c, enginetest.Set(t, c, "l", "")))
	require.NoError(t, c.Close())
	require.NotContains(t, followed(t, log), "pdk")
}

func appendTo(t *testing.T, log *replog.Memory, record []byte) {
	seq, last, err := log.Last(t.Context())
	require.NoError(t, err)
	log.Append(replog.MarkOf(seq, last), record, func(err error) { require.NoError(t, err) })
}

// A commit that does not fit in a record is applied whole or, if its owner has
// lost the log in the middle, not at all.
func TestFollow_AppliesPartsTogether(t *testing.T) {
	for lost := 1; lost <= 3; lost++ {
		synctest.Test(t, func(t *testing.T) {
			memory := new(replog.Memory)
			log := &link{Log: memory}
			a := own(t, store.NewMemory(), log, "a", replog.Options{MaxRecord: 40})
			before := log.count()
			log.fate = func([]byte) fate { return fate{lost: log.count()-before >= lost} }
			n := enginetest.Commit(t, a, func(b store.Batch) {
				b.Set([]byte("k"), []byte(strings.Repeat("v", 20)))
				b.Set([]byte("l"), []byte(strings.Repeat("w", 20)))
			})
			synctest.Wait()
			follower := store.NewMemory()
			require.NoError(t, open(t, follower).Follow(t.Context(), memory))
			require.NotContains(t, contents(t, follower), "pdk")

			b := own(t, follower, memory, "b", replog.Options{})
			enginetest.Set(t, b, "m", "")
			require.NoError(t, b.Close())
			require.ErrorIs(t, <-outcome(a, n), store.ErrFailed)
			require.ErrorIs(t, a.Close(), store.ErrFailed)
			require.NotContains(t, contents(t, follower), "pdk")
			require.Contains(t, contents(t, follower), "pdm")
			require.Equal(t, contents(t, follower), followed(t, memory))
		})
	}
}

// What a follower of a later version of dog wrote, and what is damaged, is not
// taken for something else, and nothing behind it is applied.
func TestFollow_StopsAtARecordThatItCannotRead(t *testing.T) {
	healthy := func(t *testing.T) [][]byte {
		log := new(replog.Memory)
		e := own(t, store.NewMemory(), log, "a", replog.Options{})
		enginetest.Set(t, e, "k", "v")
		require.NoError(t, e.Close())
		var all [][]byte
		for record := range log.Read(t.Context(), 1) {
			all = append(all, append([]byte{}, record...))
		}
		return all
	}
	follow := func(t *testing.T, records ...[]byte) error {
		log, local := new(replog.Memory), store.NewMemory()
		for _, record := range records {
			appendTo(t, log, record)
		}
		err := open(t, local).Follow(t.Context(), log)
		require.NotContains(t, contents(t, local), "pdk")
		return err
	}
	require.Len(t, healthy(t), 2)
	for i := range healthy(t)[1] {
		records := healthy(t)
		records[1][i] ^= 0x40
		want := store.ErrCorrupt
		if i == 0 {
			want = store.ErrTooNew
		}
		require.ErrorIs(t, follow(t, records...), want, "byte %d", i)
		require.ErrorIs(t, follow(t, records[0], records[1][:i]), store.ErrCorrupt)
	}
	require.ErrorIs(t, follow(t, healthy(t)[1]), store.ErrCorrupt, "without its claim")
	require.ErrorIs(t, follow(t, healthy(t)[0], healthy(t)[0]), store.ErrCorrupt, "a claim twice")
}

// A record is missing: the number of its group says so.
func TestFollow_NoticesAMissingRecord(t *testing.T) {
	log := new(replog.Memory)
	e := own(t, store.NewMemory(), log, "a", replog.Options{})
	for range 3 {
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "v")))
	}
	require.NoError(t, e.Close())
	gap := new(replog.Memory)
	n := 0
	for record := range log.Read(t.Context(), 1) {
		if n++; n != 3 {
			appendTo(t, gap, record)
		}
	}
	require.ErrorIs(t, open(t, store.NewMemory()).Follow(t.Context(), gap), store.ErrCorrupt)
}

// A follower goes on where its local engine was, also if a crash has thrown
// that back, and says so if the log has forgotten what it needs.
func TestFollow_GoesOnAfterACrash(t *testing.T) {
	log, fsys := new(replog.Memory), faultfs.New()
	config := func() pebblekv.Config { return pebblekv.Config{FS: fsys, Dir: "/data"} }
	local, err := pebblekv.Open(config(), nil)
	require.NoError(t, err)
	for round := range 20 {
		e := own(t, local, log, fmt.Sprint(round), replog.Options{})
		for i := range 10 {
			enginetest.Set(t, e, fmt.Sprint(i), fmt.Sprint(round, i))
		}
		require.NoError(t, e.Close())
		crashed := fsys.Crash(round*5, uint64(round))
		require.NoError(t, local.Close())
		fsys = crashed
		local, err = pebblekv.Open(config(), nil)
		require.NoError(t, err)
		require.NoError(t, open(t, local).Follow(t.Context(), log))
		require.Equal(t, followed(t, log), contents(t, local))
	}
	require.NoError(t, local.Close())

	last, _, err := log.Last(t.Context())
	require.NoError(t, err)
	require.NoError(t, log.Purge(t.Context(), last))
	require.ErrorIs(t, open(t, store.NewMemory()).Follow(t.Context(), log), replog.ErrPurged)
}

// Several logs share a local engine and see nothing of each other.
func TestOpen_SeparatesLogsOfOneEngine(t *testing.T) {
	local := store.NewMemory()
	var engines []*replog.Engine
	for i := range 3 {
		log := new(replog.Memory)
		s, err := replog.Open(local, []byte{0, byte(i)})
		require.NoError(t, err)
		e, err := s.Claim(t.Context(), log, []byte("a"), replog.Options{})
		require.NoError(t, err)
		engines = append(engines, e)
	}
	for i, e := range engines {
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", fmt.Sprint(i))))
	}
	for i, e := range engines {
		require.NoError(t, <-outcome(e, enginetest.Commit(t, e, func(b store.Batch) {
			b.DeleteRange([]byte{0}, []byte{0xff, 0xff})
			b.Set([]byte("l"), nil)
		})))
		require.Equal(t, []string{"l"}, keys(t, e))
		for _, other := range engines[i+1:] {
			require.Equal(t, []string{"k"}, keys(t, other))
		}
	}
	for _, e := range engines {
		require.NoError(t, e.Close())
	}
}

func keys(t *testing.T, e store.Engine) (all []string) {
	for p, err := range e.Scan(nil, nil, false) {
		require.NoError(t, err)
		all = append(all, string(p.Key))
	}
	return all
}
