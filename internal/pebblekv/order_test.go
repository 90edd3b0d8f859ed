package pebblekv_test

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
)

// gate holds every change of a kind, to files whose names end so, that begins
// while it is shut.
type gate struct {
	op   faultfs.Op // fixed
	ends string     // fixed
	mu   sync.Mutex
	shut chan struct{} // guarded by mu: closed to let them go
}

func (g *gate) watch(op faultfs.Op, name string) {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil && op == g.op && strings.HasSuffix(name, g.ends) {
		<-shut
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut)
	g.shut = nil
}

// gated returns a store whose syncs can be held, in a bubble.
func gated(t *testing.T, cfg pebblekv.Config) (*pebblekv.Engine, *gate, *faultfs.FS) {
	return gatedBy(t, cfg, &gate{op: faultfs.Sync, ends: ".log"})
}

func gatedBy(t *testing.T, cfg pebblekv.Config, g *gate) (*pebblekv.Engine, *gate, *faultfs.FS) {
	fsys := faultfs.New()
	fsys.Watch(g.watch)
	cfg.FS, cfg.Dir = fsys, "data"
	e := open(t, cfg)
	return e, g, fsys
}

func TestCommit_BecomesDurableByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, fsys := gated(t, pebblekv.Config{})
		n := set(t, e, "k", "v")
		time.Sleep(10 * time.Millisecond)
		require.Equal(t, n, e.Durable())
		crashed := open(t, pebblekv.Config{FS: fsys.Crash(0, 0), Dir: "data"})
		require.Equal(t, map[string]string{"k": "v"}, contents(t, crashed))
		require.NoError(t, crashed.Close())
		require.NoError(t, e.Close())
	})
}

func TestCommit_WaitsForNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, _ := gated(t, pebblekv.Config{})
		start := time.Now()
		for range 100 {
			require.NoError(t, wait(e, set(t, e, "k", "v")))
		}
		require.Zero(t, time.Since(start))
		set(t, e, "k", "w")
		require.NoError(t, e.Close())
		require.Zero(t, time.Since(start))
	})
}

func TestCommit_SharesASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, _ := gated(t, pebblekv.Config{})
		g.close()
		durable := 0
		follow := func() {
			e.OnDurable(set(t, e, "k", "v"), func(err error) {
				if err == nil {
					durable++
				}
			})
		}
		follow()
		synctest.Wait()
		for range 100 {
			follow()
		}
		g.open()
		synctest.Wait()
		require.Equal(t, 101, durable)
		require.EqualValues(t, 2, e.Stats().Syncs)
		require.NoError(t, e.Close())
	})
}

func TestCommit_UnsyncedBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, _ := gated(t, pebblekv.Config{Unsynced: 10_000})
		g.close()
		var mu sync.Mutex
		var order []int
		for i := range 30 {
			go func() {
				time.Sleep(time.Duration(i))
				b := e.Begin()
				b.Set([]byte("k"), make([]byte, 1000))
				_, err := b.Commit()
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					order = append(order, i)
				}
			}()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		require.Len(t, order, 9, "so many fit")
		mu.Unlock()
		require.LessOrEqual(t, e.Stats().Unsynced, 10_000)
		g.open()
		time.Sleep(time.Second)
		mu.Lock()
		require.Len(t, order, 30)
		require.True(t, slices.IsSorted(order[:9]))
		mu.Unlock()

		b := e.Begin()
		b.Set([]byte("k"), make([]byte, 100_000))
		_, err := b.Commit()
		require.NoError(t, err, "what is larger than the bound gets in alone")
		require.NoError(t, e.Close())
	})
}

func TestCommit_LargeOneIsNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, _ := gated(t, pebblekv.Config{Unsynced: 10_000})
		g.close()
		var done atomic.Int64
		commit := func(size int) {
			b := e.Begin()
			b.Set([]byte("k"), make([]byte, size))
			if _, err := b.Commit(); err != nil {
				t.Error(err)
			}
			done.Add(1)
		}
		commit(5000)
		go commit(9000)
		synctest.Wait()
		go commit(100)
		synctest.Wait()
		require.EqualValues(t, 1, done.Load(), "the small one would fit, and queues")
		g.open()
		synctest.Wait()
		require.EqualValues(t, 3, done.Load())
		require.NoError(t, e.Close())
	})
}

// Commits wait for a Pebble that cannot write its tables as fast, and are not
// left waiting when the store fails.
func TestCommit_WaitsForSlowTables(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			e, g, fsys := gatedBy(t, pebblekv.Config{Memtable: 64 << 10}, &gate{op: faultfs.Create, ends: ".sst"})
			g.close()
			var made atomic.Int64
			ended := make(chan error)
			go func() {
				for range 1000 {
					b := e.Begin()
					b.Set([]byte("k"), make([]byte, 1000))
					n, err := b.Commit()
					if err == nil {
						err = wait(e, n)
					}
					if err != nil {
						ended <- err
						return
					}
					made.Add(1)
				}
				ended <- nil
			}()
			time.Sleep(time.Minute)
			synctest.Wait()
			waiting := made.Load()
			require.Less(t, waiting, int64(500))
			if fails {
				fsys.Fail(faultfs.Create, 1, errDisk)
			}
			g.open()
			err := <-ended
			if !fails {
				require.NoError(t, err)
				require.NoError(t, e.Close())
				return
			}
			requireFailed(t, err, errDisk)
			require.Len(t, contents(t, e), 1)
			requireFailed(t, e.Close(), errDisk)
		})
	}
}

// Callbacks run in the order of the calls of OnDurable, whether their commits
// are durable, failing or being reported at the time.
func TestOnDurable_CallsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, _ := gated(t, pebblekv.Config{})
		var mu sync.Mutex
		notified := make([][]uint64, 20)
		asked := 0
		var all sync.WaitGroup
		for g := range notified {
			all.Go(func() {
				for range 200 {
					n := set(t, e, "k", "v")
					for range 2 {
						e.OnDurable(n, func(err error) {
							mu.Lock()
							defer mu.Unlock()
							if err != nil {
								t.Error(err)
							}
							notified[g] = append(notified[g], n)
						})
					}
					mu.Lock()
					asked += 2
					mu.Unlock()
				}
			})
		}
		all.Wait()
		require.NoError(t, e.Close())
		total := 0
		for g := range notified {
			require.True(t, slices.IsSorted(notified[g]))
			total += len(notified[g])
		}
		require.Equal(t, asked, total)
	})
}

func TestOnDurable_KnownOutcomeKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, _ := gated(t, pebblekv.Config{})
		g.close()
		n := set(t, e, "k", "v")
		begun, proceed := make(chan struct{}), make(chan struct{})
		var order []string
		e.OnDurable(n, func(error) {
			close(begun)
			<-proceed
			order = append(order, "asked first")
		})
		g.open()
		<-begun
		require.Equal(t, n, e.Durable())
		e.OnDurable(n, func(error) { order = append(order, "asked during the first call") })
		require.Empty(t, order)
		close(proceed)
		synctest.Wait()
		e.OnDurable(n, func(error) { order = append(order, "asked later") })
		require.Equal(t, []string{"asked first", "asked during the first call", "asked later"}, order)
		require.NoError(t, e.Close())
	})
}

func TestOnDurable_MayBeCalledByItsCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, _ := gated(t, pebblekv.Config{})
		n := set(t, e, "k", "v")
		done := make(chan error)
		e.OnDurable(n, func(error) {
			e.OnDurable(n, func(err error) { go func() { done <- err }() })
		})
		require.NoError(t, <-done)
		require.NoError(t, e.Close())
	})
}

func TestOnDurable_FailedSyncNotifiesAllCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, fsys := gated(t, pebblekv.Config{Unsynced: 3000})
		require.NoError(t, wait(e, set(t, e, "durable", "v")))
		g.close()
		var outcomes []error
		for range 3 {
			e.OnDurable(set(t, e, "lost", "v"), func(err error) { outcomes = append(outcomes, err) })
		}
		set(t, e, "big", string(make([]byte, 2500)))
		blocked := make(chan error)
		go func() {
			b := e.Begin()
			b.Set([]byte("blocked"), make([]byte, 2000))
			_, err := b.Commit()
			blocked <- err
		}()
		synctest.Wait()
		fsys.Fail(faultfs.Sync, 1, errDisk)
		g.open()
		requireFailed(t, <-blocked, errDisk)
		synctest.Wait()
		require.Len(t, outcomes, 3)
		for _, err := range outcomes {
			requireFailed(t, err, errDisk)
		}
		require.Equal(t, map[string]string{"durable": "v"}, contents(t, e), "only what is durable is shown")
		requireFailed(t, e.Writable(), errDisk)
		requireFailed(t, e.Stats().Failed, errDisk)
		requireFailed(t, e.Backup(t.Context(), "/backup"), errDisk)
		require.NoError(t, wait(e, 1))
		requireFailed(t, e.Close(), errDisk)

		e = open(t, pebblekv.Config{FS: fsys.Crash(0, 0), Dir: "data"})
		require.Equal(t, map[string]string{"durable": "v"}, contents(t, e))
		require.NoError(t, e.Close())
	})
}

func TestSpace_RefusesCommitsUntilThereIsMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, fsys := gated(t, pebblekv.Config{MinFree: 1 << 20})
		n := set(t, e, "before", "v")
		fsys.SetFree(1<<20 - 1)
		time.Sleep(2 * time.Second)
		require.ErrorIs(t, e.Writable(), store.ErrFull)
		b := e.Begin()
		b.Set([]byte("meanwhile"), nil)
		_, err := b.Commit()
		require.ErrorIs(t, err, store.ErrFull)
		require.NotErrorIs(t, err, store.ErrFailed)
		require.NoError(t, wait(e, n))
		_, found, err := e.Get([]byte("before"))
		require.NoError(t, err)
		require.True(t, found)

		fsys.SetFree(1 << 20)
		time.Sleep(2 * time.Second)
		require.NoError(t, e.Writable())
		require.NoError(t, wait(e, set(t, e, "after", "v")))
		require.Len(t, contents(t, e), 2)
		require.NoError(t, e.Close())
	})
}

// Space is looked at by bytes too: a second is long.
func TestSpace_IsMeasuredByBytesWrittenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, fsys := gated(t, pebblekv.Config{MinFree: 1 << 20})
		defer e.Close()
		set(t, e, "k", "v")
		fsys.SetFree(0)
		var err error
		written := 0
		for ; err == nil; written += 1000 {
			b := e.Begin()
			b.Set([]byte("k"), make([]byte, 1000))
			_, err = b.Commit()
		}
		require.ErrorIs(t, err, store.ErrFull)
		require.Less(t, written, 1<<18)
	})
}
