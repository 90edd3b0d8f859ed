package pebblekv_test

import (
	"context"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
)

// The power may go at any moment of a backup: the store is whole, and so is the
// copy once it has its name; the next one is made all the same.
func TestBackup_SurvivesACrashAtAnyMoment(t *testing.T) {
	fsys := faultfs.New()
	var mu sync.Mutex
	var images []*faultfs.FS // guarded by mu
	var making atomic.Bool
	fsys.Watch(func(faultfs.Op, string) {
		if !making.Load() {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, percent := range []int{0, 50, 100} {
			images = append(images, fsys.Crash(percent, uint64(len(images))))
		}
	})
	e := open(t, small(fsys))
	var h history
	for range 100 {
		n, err := h.commit(e, valueSize)
		require.NoError(t, err)
		require.NoError(t, wait(e, n))
	}
	making.Store(true)
	require.NoError(t, e.Backup(context.Background(), "/a/copies/copy"))
	making.Store(false)
	require.NoError(t, e.Close())
	require.Greater(t, len(images), 30)
	for _, image := range images {
		e := open(t, small(image))
		check(t, e, 100, valueSize)
		require.NoError(t, e.Backup(t.Context(), "/a/copies/another"))
		require.NoError(t, e.Close())
		names, err := image.List("/a/copies")
		require.NoError(t, err)
		for _, name := range names {
			require.Contains(t, []string{"copy", "another"}, name)
			copied := open(t, pebblekv.Config{FS: image, Dir: "/a/copies/" + name})
			check(t, copied, 100, valueSize)
			require.NoError(t, copied.Close())
		}
	}
}

// Whatever fails, there is no backup, and nothing of it is left, nor of the
// directories that were made for it.
func TestBackup_FailureLeavesNothing(t *testing.T) {
	for n := 1; ; n++ {
		fsys := faultfs.New()
		e := open(t, small(fsys))
		require.NoError(t, wait(e, set(t, e, "k", "v")))
		require.NoError(t, fsys.MkdirAll("/b", 0o700))
		cause := []error{errDisk, syscall.ENOSPC, syscall.EDQUOT}[n%3]
		before := fsys.Count(faultfs.All)
		fsys.Fail(faultfs.All, n, cause)
		err := e.Backup(t.Context(), "/b/c/d/copy")
		made := fsys.Count(faultfs.All) - before
		fsys.Fail(0, 0, nil)
		if err == nil && made > n+3 { // the store itself found no space for a moment
			require.NotEqual(t, errDisk, cause, "failures are reported, except of the removal of what nobody needs")
			require.NoError(t, e.Close())
			continue
		}
		if err == nil {
			require.Greater(t, n, 20)
			require.NoError(t, e.Close())
			return
		}
		require.ErrorIs(t, err, cause)
		if cause != errDisk {
			require.ErrorIs(t, err, store.ErrFull)
		}
		names, listed := fsys.List("/b")
		require.NoError(t, listed)
		require.Empty(t, names, "%d: %v", n, err)
		_ = e.Close()
	}
}

// Of the directories above a backup that fails, those stay that were there
// before, and those in which there is something by then.
func TestBackup_FailureRemovesOnlyEmptyDirectoriesOfItsOwn(t *testing.T) {
	for name, onOS := range map[string]bool{"memory": false, "operating system": true} {
		t.Run(name, func(t *testing.T) {
			fsys := faultfs.New()
			var meanwhile atomic.Pointer[func()]
			fsys.Watch(func(op faultfs.Op, _ string) {
				if f := meanwhile.Load(); f != nil && op&(faultfs.Link|faultfs.Create) != 0 {
					(*f)()
				}
			})
			cfg := small(fsys)
			var to vfs.FS = fsys
			base := "/b"
			if onOS {
				base = t.TempDir()
				to, cfg.Backups = vfs.Default, vfs.Default
			}
			at := func(names ...string) string { return path.Join(append([]string{base}, names...)...) }
			e := open(t, cfg)
			require.NoError(t, wait(e, set(t, e, "k", "v")))
			require.NoError(t, to.MkdirAll(at("there"), 0o700))
			fail := func(f func()) {
				meanwhile.Store(&f)
				defer meanwhile.Store(nil)
				fsys.Fail(faultfs.Link|faultfs.Create, 1, errDisk)
				require.ErrorIs(t, e.Backup(t.Context(), at("there", "new", "newer", "copy")), errDisk)
			}
			fail(func() {})
			names, err := to.List(at("there"))
			require.NoError(t, err)
			require.Empty(t, names)
			fail(func() { require.NoError(t, to.MkdirAll(at("there", "new", "theirs"), 0o700)) })
			names, err = to.List(at("there", "new"))
			require.NoError(t, err)
			require.Equal(t, []string{"theirs"}, names)
			require.NoError(t, e.Close())
		})
	}
}

// A backup does not exist if its caller got an error, wherever its context
// ended.
func TestBackup_ExistsOnlyIfItsCallerGotNoError(t *testing.T) {
	for n := 1; ; n++ {
		ended := false
		synctest.Test(t, func(t *testing.T) {
			fsys := faultfs.New()
			ctx, cancel := context.WithCancel(t.Context())
			var left atomic.Int64
			fsys.Watch(func(faultfs.Op, string) {
				if left.Add(-1) == 0 {
					cancel()
					time.Sleep(time.Second) // until the caller has a result, or waits
				}
			})
			e := open(t, small(fsys))
			require.NoError(t, wait(e, set(t, e, "k", "v")))
			require.NoError(t, fsys.MkdirAll("/b", 0o700))
			left.Store(int64(n))
			err := e.Backup(ctx, "/b/copy")
			ended = left.Load() > 0
			cancel()
			require.NoError(t, e.Close()) // waits for what goes on
			names, listed := fsys.List("/b")
			require.NoError(t, listed)
			if err == nil {
				require.Equal(t, []string{"copy"}, names)
			} else {
				require.ErrorIs(t, err, context.Canceled)
				require.Empty(t, names, n)
			}
		})
		if ended {
			require.Greater(t, n, 20)
			return
		}
	}
}

// A store in memory is backed up to where it outlives the process.
func TestBackup_ToAnotherFileSystem(t *testing.T) {
	base := t.TempDir()
	for n := 1; ; n++ {
		fsys := faultfs.New()
		cfg := small(fsys)
		cfg.Backups = vfs.Default
		e := open(t, cfg)
		var h history
		for range 100 {
			n, err := h.commit(e, valueSize)
			require.NoError(t, err)
			require.NoError(t, wait(e, n))
		}
		dir := path.Join(base, "new", "copy")
		before := fsys.Count(faultfs.All)
		fsys.Fail(faultfs.All, n, errDisk)
		err := e.Backup(t.Context(), dir)
		reached := fsys.Count(faultfs.All)-before >= n
		_ = e.Close()
		if err != nil {
			require.True(t, reached, "%v", err)
			require.NoDirExists(t, path.Dir(dir))
			continue
		}
		names, err := fsys.List("/a")
		require.NoError(t, err)
		require.Equal(t, []string{"data"}, names)
		copied := open(t, pebblekv.Config{Dir: dir})
		require.Equal(t, uint64(100), check(t, copied, 100, valueSize))
		require.ErrorIs(t, copied.Backup(t.Context(), dir), fs.ErrExist)
		require.NoError(t, copied.Close())
		require.NoError(t, os.RemoveAll(path.Dir(dir)))
		if !reached {
			require.Greater(t, n, 10)
			return
		}
	}
}

// A backup that has been damaged is found out like a store that was closed.
func TestBackup_DamageIsDetected(t *testing.T) {
	fsys := faultfs.New()
	cfg := small(fsys)
	cfg.Memtable = 16 << 20
	e := open(t, cfg)
	var h history
	for range 100 {
		n, err := h.commit(e, 50)
		require.NoError(t, err)
		require.NoError(t, wait(e, n))
	}
	require.NoError(t, e.Backup(t.Context(), "/b/data"))
	require.NoError(t, e.Close())
	names, err := fsys.List("/b/data")
	require.NoError(t, err)
	log := ""
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			log = max(log, name)
		}
	}
	log = path.Join("/b/data", log)
	for at := 20; at < len(read(t, fsys, log)); at += 97 {
		_, err := pebblekv.Open(pebblekv.Config{FS: damaged(t, fsys, log, flip(at)), Dir: "/b/data"}, nil)
		require.ErrorIs(t, err, store.ErrCorrupt)
	}
}
