package pebblekv_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
)

// While the disk does not answer, commits and backups wait, but not
// indefinitely. Everything resumes when it answers.
func TestHangingDisk_CommitsTimeOutAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, _ := gated(t, pebblekv.Config{Unsynced: 3000})
		require.NoError(t, wait(e, set(t, e, "durable", "v")))
		g.close()
		last := set(t, e, "big", string(make([]byte, 2900)))
		refused := make(chan error, 10)
		for range cap(refused) {
			go func() { refused <- raise(e, 1, 1000) }()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, e.Backup(ctx, "/backup"), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		require.Equal(t, cap(refused), e.Stats().Waiting)
		for range cap(refused) {
			require.ErrorIs(t, <-refused, store.ErrStalled)
		}
		require.LessOrEqual(t, time.Since(start), 11*time.Second)
		require.Zero(t, e.Stats().Waiting)
		require.ErrorIs(t, e.Writable(), store.ErrStalled)
		require.NoError(t, e.Stats().Failed)
		g.open()
		require.NoError(t, wait(e, last))
		require.NoError(t, e.Writable())
		require.NoError(t, raise(e, 1, 1000))
		require.NoError(t, e.Close())
	})
}

// hanging has the n-th change of a file system from now on hang, and all after
// it, until the returned function is called.
func hanging(fsys *faultfs.FS) (hang func(n int64) (answer func())) {
	var left atomic.Int64
	var hangs atomic.Pointer[chan struct{}]
	fsys.Watch(func(faultfs.Op, string) {
		if c := hangs.Load(); c != nil && left.Add(-1) < 0 {
			<-*c
		}
	})
	return func(n int64) func() {
		c := make(chan struct{})
		left.Store(n - 1)
		hangs.Store(&c)
		return func() {
			hangs.Store(nil)
			close(c)
		}
	}
}

// deaf is a file system whose directories cannot be listed while it is held.
type deaf struct {
	vfs.FS
	held atomic.Pointer[chan struct{}]
}

func (d *deaf) List(dir string) ([]string, error) {
	if held := d.held.Load(); held != nil {
		<-*held
	}
	return d.FS.List(dir)
}

// Whoever wants the numbers gets the last ones, and does not wait for the disk.
func TestHangingDisk_StatsHaveTheLastSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &deaf{FS: faultfs.New()}
		e := open(t, pebblekv.Config{FS: fsys, Dir: "data"})
		require.NoError(t, wait(e, set(t, e, "k", "v")))
		size := e.Stats().Disk
		require.NotZero(t, size)
		hold := make(chan struct{})
		fsys.held.Store(&hold)
		require.NoError(t, wait(e, set(t, e, "k", string(make([]byte, 1<<20)))))
		time.Sleep(time.Minute)
		start := time.Now()
		require.Equal(t, size, e.Stats().Disk)
		require.LessOrEqual(t, time.Since(start), time.Second)
		start = time.Now()
		for range 100 {
			require.Equal(t, size, e.Stats().Disk)
		}
		require.Zero(t, time.Since(start))
		fsys.held.Store(nil)
		close(hold)
		synctest.Wait()
		require.Greater(t, e.Stats().Disk, size)
		require.NoError(t, e.Close())
	})
}

func TestHangingDisk_OpenWaitsTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, cfg := limited(64 << 20)
		answer := hanging(fsys)(1)
		start := time.Now()
		_, err := pebblekv.Open(cfg, nil)
		require.ErrorIs(t, err, store.ErrStalled)
		require.ErrorContains(t, err, "/a/data")
		require.Equal(t, 10*time.Second, time.Since(start))
		answer()
		synctest.Wait()
		require.NoError(t, open(t, cfg).Close())
	})
}

// endOfOpening is closed when the store logs that what hung has ended.
type endOfOpening chan struct{}

func (c endOfOpening) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("the disk responds again")) {
		close(c)
	}
	return len(line), nil
}

// Opening a store has an end, wherever the disk stops to answer. When it does,
// what was begun ends by itself, and the store can be opened.
func TestHangingDisk_OpenTimesOut(t *testing.T) {
	for _, stored := range []int{0, 200} {
		stalled := 0
		for n := int64(1); n < 100; n += 4 {
			fsys, cfg := limited(64 << 20)
			hang := hanging(fsys)
			var h history
			if stored > 0 {
				e := open(t, cfg)
				for range stored {
					_, err := h.commit(e, valueSize)
					require.NoError(t, err)
				}
				require.NoError(t, e.Close())
			}
			restore := pebblekv.SetOpenPatience(20 * time.Millisecond)
			answer := hang(n)
			ended := make(endOfOpening)
			e, err := pebblekv.Open(cfg, slog.New(slog.NewTextHandler(ended, nil)))
			answer()
			restore()
			if err != nil {
				require.ErrorIs(t, err, store.ErrStalled)
				stalled++
				<-ended
				e = open(t, cfg)
			}
			require.Equal(t, h.last, check(t, e, h.last, valueSize))
			require.NoError(t, e.Close())
		}
		require.Greater(t, stalled, 5)
	}
}

// A commit that is too large for what is free is refused, with nothing changed,
// and everybody else goes on. What is let in leaves enough for the store to
// sort it, whatever comes before, between and after.
