package replog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/replog"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/enginetest"
	"github.com/godurable/dog/internal/store/storetest"
)

// What was confirmed is still shown when the local disk fails and its engine
// returns to what it has synced.
func TestLocal_FailureHidesNothingThatWasConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := faultfs.New()
		local, err := pebblekv.Open(pebblekv.Config{FS: fsys, Dir: "/data"}, nil)
		require.NoError(t, err)
		e := own(t, local, new(replog.Memory), "a", replog.Options{})
		fsys.Fail(faultfs.Sync, 1, errors.New("no disk"))
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "v")))
		time.Sleep(time.Second)
		require.ErrorIs(t, e.Stats().Failed, store.ErrFailed)
		value, found, err := e.Get([]byte("k"))
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "v", string(value))
		require.ErrorIs(t, e.Writable(), store.ErrFailed)
		require.NoError(t, e.Close(), "the log has all")
		require.ErrorIs(t, local.Close(), store.ErrFailed)
	})
}

// A local engine without space keeps nothing from becoming durable, until there
// is too much in memory, and is given up at the end.
func TestLocal_WithoutSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local := storetest.New()
		local.Prompt()
		e := own(t, local, new(replog.Memory), "a", replog.Options{})
		local.Refuse(store.ErrFull)
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "v")))
		value, _, err := e.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, "v", string(value))
		local.Refuse(nil)
		time.Sleep(time.Second)
		require.Equal(t, "v", contents(t, local)["pdk"])

		local.Refuse(store.ErrFull)
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "w")))
		begun := time.Now()
		require.NoError(t, e.Close(), "the log has it")
		require.LessOrEqual(t, time.Since(begun), 11*time.Second)
	})
}

// A log that refuses a record again and again is not asked in a hurry.
func TestAppend_RefusedForeverIsTriedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var allowed atomic.Bool
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{})
		log.fate = func([]byte) (f fate) {
			if !allowed.Load() {
				f.refused = errors.New("not allowed")
			}
			return f
		}
		enginetest.Set(t, e, "k", "v")
		time.Sleep(time.Minute)
		require.Less(t, log.count(), 1000)
		require.ErrorIs(t, e.Writable(), store.ErrStalled)
		allowed.Store(true)
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "w")))
		require.NoError(t, e.Close())
	})
}

// An answer of a second copy that comes when all is known changes nothing.
func TestAppend_LateRefusalOfWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{})
		log.fate = func([]byte) fate { return fate{delay: time.Second} }
		pending := outcome(e, enginetest.Set(t, e, "k", "v"))
		time.Sleep(750 * time.Millisecond)
		log.set(false, true) // for the second copy
		require.NoError(t, <-pending)
		time.Sleep(5 * time.Second)
		log.set(false, false)
		require.NoError(t, e.Writable())
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "w")))
		require.NoError(t, e.Close())
		time.Sleep(time.Minute)
	})
}

// The parts of a large commit are progress, each of them.
func TestCommit_PartsAreProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{MaxRecord: 40})
		before := log.count()
		log.fate = func([]byte) fate { return fate{delay: 600 * time.Millisecond} }
		n := enginetest.Set(t, e, "k", strings.Repeat("v", 17*40))
		for range 20 {
			time.Sleep(time.Second)
			require.NoError(t, e.Writable())
		}
		require.NoError(t, <-outcome(e, n))
		require.Less(t, log.count()-before, 60, "the parts are not sent again and again")
		require.NoError(t, e.Close())
		time.Sleep(time.Hour)
	})
}

// Commits wait in a line: a large one is not passed by small ones for ever.
func TestCommit_WaitsInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory), fate: func([]byte) fate { return fate{delay: 300 * time.Millisecond} }}
		e := own(t, store.NewMemory(), log, "a", replog.Options{MaxPending: 200})
		var writing sync.WaitGroup
		over := make(chan struct{})
		for i := range 4 {
			writing.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
						enginetest.Set(t, e, fmt.Sprint(i), strings.Repeat("v", 30))
					}
				}
			})
		}
		time.Sleep(time.Second)
		begun := time.Now()
		enginetest.Set(t, e, "large", strings.Repeat("v", 190))
		require.Less(t, time.Since(begun), 5*time.Second)
		close(over)
		writing.Wait()
		require.NoError(t, e.Close())
	})
}

func TestCommit_TooLarge(t *testing.T) {
	e := own(t, store.NewMemory(), new(replog.Memory), "a", replog.Options{MaxCommit: 100})
	b := e.Begin()
	b.Set([]byte("k"), make([]byte, 60))
	b.Set([]byte("l"), make([]byte, 60))
	_, err := b.Commit()
	require.ErrorContains(t, err, "too much")
	require.Empty(t, keys(t, e))
	require.NoError(t, e.Close())
}

// After GiveUp nothing waits, also what comes later.
func TestGiveUp_IsForLaterCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{MaxPending: 50})
		e.GiveUp()
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "v")), "the log answers")
		synctest.Wait() // until there is room again
		log.set(true, false)
		enginetest.Set(t, e, "k", strings.Repeat("w", 40))
		b := e.Begin()
		b.Set([]byte("l"), make([]byte, 40))
		begun := time.Now()
		_, err := b.Commit()
		require.ErrorIs(t, err, store.ErrFailed)
		require.Zero(t, time.Since(begun))
		require.ErrorIs(t, e.Close(), store.ErrFailed)
	})
}

func TestClaim_OfAFullLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		log.set(false, true)
		_, err := open(t, store.NewMemory()).Claim(t.Context(), log, []byte("a"), replog.Options{})
		require.ErrorIs(t, err, store.ErrFull)
	})
}

// A log that is not the one of the local data is found out, whether it is
// shorter or longer.
func TestFollow_RefusesAnotherLog(t *testing.T) {
	local := store.NewMemory()
	e := own(t, local, new(replog.Memory), "a", replog.Options{})
	for range 5 {
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "v")))
	}
	require.NoError(t, e.Close())
	other := new(replog.Memory)
	s := open(t, local)
	require.ErrorIs(t, s.Follow(t.Context(), other), store.ErrCorrupt)
	for i := range 10 {
		require.NoError(t, own(t, store.NewMemory(), other, fmt.Sprint(i), replog.Options{}).Close())
	}
	require.ErrorIs(t, s.Follow(t.Context(), other), store.ErrCorrupt)
}

// A log that has purged what the state has still continues it.
func TestFollow_AfterAPurge(t *testing.T) {
	log, local := new(replog.Memory), store.NewMemory()
	e := own(t, store.NewMemory(), log, "a", replog.Options{})
	require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "1")))
	s := open(t, local)
	require.NoError(t, s.Follow(t.Context(), log))
	require.NoError(t, <-outcome(e, enginetest.Set(t, e, "k", "2")))
	require.NoError(t, e.Close())
	require.NoError(t, log.Purge(t.Context(), 2))
	require.NoError(t, s.Follow(t.Context(), log))
	require.Equal(t, "2", contents(t, local)["pdk"])
	require.NoError(t, log.Purge(context.Background(), 3))
	require.NoError(t, s.Follow(t.Context(), log))
}
