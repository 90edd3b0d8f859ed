package replog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/replog"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEngine_DoesWhatEnginesDo(t *testing.T) {
	enginetest.Run(t, func(t require.TestingT) store.Engine {
		return own(t, store.NewMemory(), new(replog.Memory), "a", replog.Options{})
	})
}

// later answers appends from other goroutines.
type later struct{ replog.Memory }

func (l *later) Append(follows replog.Mark, record []byte, done func(error)) {
	l.Memory.Append(follows, record, func(err error) { go done(err) })
}

// Small records, which most commits do not fit in, and little room, so that all
// that waits does wait.
func TestEngine_DoesWhatEnginesDoWithLittleRoom(t *testing.T) {
	enginetest.Run(t, func(t require.TestingT) store.Engine {
		return own(t, store.NewMemory(), new(later), "a", replog.Options{MaxRecord: 32, MaxPending: 200})
	})
}

// closing closes the local engine, too.
type closing struct {
	*replog.Engine
	local store.Engine
}

func (c closing) Close() error {
	if err := c.Engine.Close(); err != nil {
		return err
	}
	return c.local.Close()
}

func TestEngine_DoesWhatEnginesDoOverPebble(t *testing.T) {
	enginetest.Run(t, func(t require.TestingT) store.Engine {
		local, err := pebblekv.Open(pebblekv.Config{FS: faultfs.New(), Dir: "data"}, nil)
		require.NoError(t, err)
		return closing{own(t, local, new(replog.Memory), "a", replog.Options{}), local}
	})
}

func TestCommit_IsDurableWhenTheLogHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{})
		log.fate = func([]byte) fate { return fate{delay: time.Millisecond, answer: 600 * time.Millisecond} }
		n := enginetest.Set(t, e, "k", "v")
		known := outcome(e, n)
		value, found, err := e.Get([]byte("k"))
		require.NoError(t, err)
		require.True(t, found, "it is visible at once")
		require.Equal(t, "v", string(value))
		time.Sleep(500 * time.Millisecond)
		require.Less(t, e.Durable(), n)
		require.Empty(t, known)
		require.NoError(t, <-known)
		require.Equal(t, n, e.Durable())
		require.NoError(t, e.Close())
	})
}

// While one group is on its way, commits collect in another.
func TestCommit_SharesARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{Window: 1})
		before := log.count()
		log.fate = func([]byte) fate { return fate{answer: 100 * time.Millisecond} }
		var last uint64
		for i := range 100 {
			last = enginetest.Set(t, e, "k", fmt.Sprint(i))
			synctest.Wait()
		}
		require.NoError(t, <-outcome(e, last))
		require.Equal(t, 2, log.count()-before)
		require.NoError(t, e.Close())
	})
}

// Requests and answers get lost, are late or arrive twice: each commit becomes
// durable once, and the log has what the owner has.
func TestCommit_SurvivesABadConnection(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random, mu := rand.New(rand.NewPCG(seed, 0)), new(sync.Mutex)
			memory := new(replog.Memory)
			log, local := &link{Log: memory}, store.NewMemory()
			e := own(t, local, log, "a", replog.Options{MaxRecord: 40 + random.IntN(100), Window: 1 + random.IntN(4)})
			log.fate, log.think = chance(random, mu), thought(random, mu)
			draw := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return random.IntN(n)
			}
			for i := range 60 {
				size := draw(50)
				n := enginetest.Commit(t, e, func(b store.Batch) {
					b.Set(fmt.Appendf(nil, "%d", i), []byte(strings.Repeat("v", size)))
					b.DeleteRange([]byte("2"), []byte("3"))
				})
				if draw(4) == 0 {
					require.NoError(t, <-outcome(e, n), "seed %d", seed)
				}
			}
			require.NoError(t, e.Close(), "seed %d", seed)
			require.Equal(t, contents(t, local), followed(t, memory), "seed %d", seed)
			time.Sleep(10 * time.Second) // for late copies
			require.Equal(t, contents(t, local), followed(t, memory), "seed %d", seed)
		})
	}
}

// A refusal that belongs to an earlier attempt does not start another one.
func TestCommit_LateRefusalsAreNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{Window: 4, MaxRecord: 40})
		before := log.count()
		log.fate = func([]byte) fate {
			switch n := log.count() - before; {
			case n == 1:
				return fate{lost: true}
			case n <= 4: // after the second attempt has begun, but for the first refusal
				return fate{answer: time.Duration(n-1) * 120 * time.Millisecond}
			}
			return fate{delay: 150 * time.Millisecond}
		}
		var last uint64
		for i := range 4 {
			last = enginetest.Set(t, e, strings.Repeat("k", 10), fmt.Sprint(i))
		}
		require.NoError(t, <-outcome(e, last))
		time.Sleep(time.Minute)
		require.Equal(t, 8, log.count()-before, "each record once more than the first time")
		require.NoError(t, e.Close())
	})
}

func TestCommit_WaitsForRoomAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{MaxPending: 100})
		log.set(true, false)
		enginetest.Set(t, e, "k", strings.Repeat("v", 90))
		require.NoError(t, e.Writable())
		b := e.Begin()
		b.Set([]byte("l"), nil)
		begun := time.Now()
		_, err := b.Commit()
		require.ErrorIs(t, err, store.ErrStalled)
		require.Equal(t, 10*time.Second, time.Since(begun))
		require.ErrorIs(t, e.Writable(), store.ErrStalled)
		require.Zero(t, e.Durable())

		log.set(false, false)
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "l", "")), "it goes on by itself")
		require.NoError(t, e.Writable())
		require.NoError(t, e.Close())
	})
}

func TestCommit_IsRefusedWhileTheLogIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{})
		log.set(false, true)
		pending := outcome(e, enginetest.Set(t, e, "k", "v"))
		synctest.Wait()
		_, err := e.Begin().Commit()
		require.NoError(t, err, "there is nothing to commit")
		b := e.Begin()
		b.Set([]byte("l"), nil)
		_, err = b.Commit()
		require.ErrorIs(t, err, store.ErrFull)
		require.ErrorIs(t, e.Writable(), store.ErrFull)
		value, _, err := e.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, "v", string(value), "reading goes on")
		require.Empty(t, pending)

		log.set(false, false)
		require.NoError(t, <-pending)
		require.NoError(t, <-outcome(e, enginetest.Set(t, e, "l", "")))
		require.NoError(t, e.Close())
	})
}

// Closing waits for a log that does not answer, but not for ever.
func TestClose_GivesUpAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{})
		log.set(true, false)
		pending := outcome(e, enginetest.Set(t, e, "k", "v"))
		begun := time.Now()
		require.ErrorIs(t, e.Close(), store.ErrStalled)
		require.InDelta(t, 10*time.Second, time.Since(begun), float64(2*time.Second))
		require.ErrorIs(t, <-pending, store.ErrFailed)
	})
}

func TestGiveUp_EndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &link{Log: new(replog.Memory)}
		e := own(t, store.NewMemory(), log, "a", replog.Options{})
		log.set(true, false)
		pending := outcome(e, enginetest.Set(t, e, "k", "v"))
		e.GiveUp()
		require.ErrorIs(t, <-pending, store.ErrFailed)
		begun := time.Now()
		require.ErrorIs(t, e.Close(), store.ErrFailed)
		require.Zero(t, time.Since(begun))
	})
}

func TestClose_RefusesFurtherUse(t *testing.T) {
	local, log := store.NewMemory(), new(replog.Memory)
	e := own(t, local, log, "a", replog.Options{})
	n := enginetest.Set(t, e, "k", "v")
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	require.NoError(t, <-outcome(e, n), "closing made it durable")
	require.ErrorIs(t, <-outcome(e, n+1), store.ErrClosed)
	_, _, err := e.Get([]byte("k"))
	require.ErrorIs(t, err, store.ErrClosed)
	for _, err := range e.Scan(nil, nil, false) {
		require.ErrorIs(t, err, store.ErrClosed)
	}
	b := e.Begin()
	b.Set([]byte("k"), nil)
	_, err = b.Commit()
	require.ErrorIs(t, err, store.ErrClosed)
	require.ErrorIs(t, e.Writable(), store.ErrClosed)
	require.Equal(t, contents(t, local), followed(t, log))
}

func TestCommit_RefusesAnEmptyKey(t *testing.T) {
	e := own(t, store.NewMemory(), new(replog.Memory), "a", replog.Options{})
	b := e.Begin()
	b.Set(nil, []byte("v"))
	_, err := b.Commit()
	require.Error(t, err)
	require.NoError(t, e.Close())
}

// A backup has all that was committed before.
func TestBackup_WaitsForTheLocalEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := faultfs.New()
		local, err := pebblekv.Open(pebblekv.Config{FS: fsys, Dir: "/data"}, nil)
		require.NoError(t, err)
		log := &link{Log: new(replog.Memory)}
		e := own(t, local, log, "a", replog.Options{})
		log.fate = func([]byte) fate { return fate{delay: 500 * time.Millisecond} }
		enginetest.Set(t, e, "k", "v")
		require.NoError(t, e.Backup(t.Context(), "/backup"))
		copied, err := pebblekv.Open(pebblekv.Config{FS: fsys, Dir: "/backup"}, nil)
		require.NoError(t, err)
		require.Equal(t, contents(t, local), contents(t, copied))
		require.Contains(t, contents(t, copied), "pdk")
		require.NoError(t, copied.Close())

		log.set(true, false)
		enginetest.Set(t, e, "k", "w")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, e.Backup(ctx, "another"), context.DeadlineExceeded)
		log.set(false, false)
		require.NoError(t, e.Close())
		require.NoError(t, local.Close())
	})
}
