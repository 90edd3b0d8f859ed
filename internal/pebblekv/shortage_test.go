package pebblekv_test

import (
	"errors"
	"math"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
)

// commitUntilFull makes commits until one is refused for lack of space.
func commitUntilFull(t *testing.T, e *pebblekv.Engine, h *history) {
	for {
		n, err := h.commit(e, valueSize)
		if err != nil {
			require.ErrorIs(t, err, store.ErrFull)
			require.NotErrorIs(t, err, store.ErrFailed)
			return
		}
		h.follow(e, h.last, n)
	}
}

// full returns a store on a volume that something else has filled up since the
// store has last looked, with commits that wait for space.
func full(t *testing.T, h *history) (e *pebblekv.Engine, fsys *faultfs.FS, release func()) {
	fsys, cfg := limited(64 << 20)
	e = open(t, cfg)
	for range 50 {
		n, err := h.commit(e, valueSize)
		require.NoError(t, err)
		h.follow(e, h.last, n)
	}
	synctest.Wait()
	ballast := fsys.Ballast(math.MaxInt64)
	commitUntilFull(t, e, h)
	synctest.Wait()
	return e, fsys, func() { fsys.Ballast(-ballast) }
}

// A write that finds no space resumes when there is some. Until then its
// commits are not reported as durable.
func TestShortage_FailedWriteResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h history
		e, fsys, release := full(t, &h)
		durable := h.durableSoFar()
		require.GreaterOrEqual(t, durable, uint64(50))
		require.Less(t, durable, h.last)
		before := fsys.Count(faultfs.All)
		for range 30 {
			time.Sleep(time.Second)
			require.ErrorIs(t, e.Writable(), store.ErrFull)
			_, err := h.commit(e, valueSize)
			require.ErrorIs(t, err, store.ErrFull)
			require.Equal(t, h.last, check(t, e, durable, valueSize))
		}
		require.Equal(t, durable, h.durableSoFar())
		require.NoError(t, e.Stats().Failed)
		require.Zero(t, e.Stats().Waiting)
		require.Less(t, fsys.Count(faultfs.All), before+500, "nothing spins")
		for i, percent := range []int{0, 50, 100} {
			crashed := open(t, small(fsys.Crash(percent, uint64(i))))
			check(t, crashed, durable, valueSize)
			require.NoError(t, crashed.Close())
		}

		release()
		time.Sleep(2 * time.Second)
		require.Equal(t, h.last, h.durableSoFar())
		require.NoError(t, e.Writable())
		n, err := h.commit(e, valueSize)
		require.NoError(t, err)
		require.NoError(t, wait(e, n))
		require.NoError(t, e.Close())
		require.Empty(t, h.failed)
		e = open(t, pebblekv.Config{FS: fsys, Dir: "/a/data"})
		require.Equal(t, h.last, check(t, e, h.last, valueSize))
		require.NoError(t, e.Close())
	})
}

// Closing waits for space, but not indefinitely. Commits that wait are reported
// as failed.
func TestClose_EndsOnAFullDisk(t *testing.T) {
	for name, relief := range map[string]time.Duration{"in time": 9 * time.Second, "never": math.MaxInt64} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h history
				e, fsys, release := full(t, &h)
				durable := h.durableSoFar()
				defer time.AfterFunc(relief, release).Stop()
				start, before := time.Now(), fsys.Count(faultfs.All)
				err := e.Close()
				require.LessOrEqual(t, time.Since(start), 10*time.Second)
				require.Less(t, fsys.Count(faultfs.All), before+200, "nothing spins")
				require.Equal(t, int(h.last), h.calls)
				if relief < time.Minute {
					require.NoError(t, err)
					require.Empty(t, h.failed)
				} else {
					require.ErrorIs(t, err, store.ErrFull)
					requireFailed(t, err, syscall.ENOSPC)
					require.Equal(t, durable, h.durable)
					require.Len(t, h.failed, int(h.last-durable))
					release()
				}
				e = open(t, pebblekv.Config{FS: fsys, Dir: "/a/data"})
				check(t, e, h.durable, valueSize)
				require.NoError(t, e.Close())
			})
		})
	}
}

// Whatever finds no space, a log, a table or the list of tables, goes on when
// there is some.
func TestShortage_EveryKindOfFileResumes(t *testing.T) {
	const ops = faultfs.Create | faultfs.Write | faultfs.Rename | faultfs.Remove | faultfs.Link | faultfs.MakeDir
	for n := 1; ; n += 5 {
		fsys := faultfs.New()
		e := open(t, small(fsys))
		fsys.Fail(ops, n, syscall.ENOSPC)
		before := fsys.Count(ops)
		var h history
		for h.last < 300 {
			n, err := h.commit(e, valueSize)
			if err != nil {
				require.ErrorIs(t, err, store.ErrFull)
				time.Sleep(time.Millisecond)
				continue
			}
			h.follow(e, h.last, n)
			if h.last%5 == 0 {
				require.NoError(t, wait(e, n))
			}
		}
		failed := fsys.Count(ops)-before >= n
		require.NoError(t, e.Close())
		require.Empty(t, h.failed)
		require.Equal(t, h.last, h.durable)
		fsys.Fail(ops, 0, nil)
		e = open(t, small(fsys))
		require.Equal(t, h.last, check(t, e, h.last, valueSize))
		require.NoError(t, e.Close())
		if !failed {
			require.Greater(t, n, 50)
			return
		}
	}
}

// Space that comes and goes under traffic costs nothing but time.
func TestShortage_TrafficSurvivesRepeatedShortages(t *testing.T) {
	fsys, cfg := limited(16 << 20)
	cfg.FS = blind{fsys} // so that it is always a write that finds out
	cfg.Memtable = 64 << 10
	e := open(t, cfg)
	var h history
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			n, err := h.commit(e, valueSize)
			switch {
			case errors.Is(err, store.ErrFull):
				time.Sleep(time.Millisecond)
			case err != nil:
				stopped <- err
				return
			default:
				h.follow(e, h.last, n)
			}
		}
	}()
	for round := range int64(8) {
		ballast := fsys.Ballast(max(0, free(t, fsys)-round*29_873))
		require.Eventually(
			t, func() bool { return errors.Is(e.Writable(), store.ErrFull) }, time.Minute, time.Millisecond,
		)
		durable := h.durableSoFar()
		fsys.Ballast(-ballast)
		require.Eventually(
			t, func() bool { return e.Writable() == nil && h.durableSoFar() > durable }, time.Minute, time.Millisecond,
		)
	}
	close(stop)
	require.NoError(t, <-stopped)
	require.NoError(t, e.Close())
	require.Empty(t, h.failed)
	require.Equal(t, h.last, h.durable)
	cfg.FS = fsys
	e = open(t, cfg)
	require.Equal(t, h.last, check(t, e, h.last, valueSize))
	require.NoError(t, e.Close())
}
