package pebblekv_test

import (
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
)

const valueSize = 700 // so that a log of 64 KiB takes about 80 commits

// work makes so many commits in several goroutines, some of which wait. It
// returns when all were reported as durable, or refused.
func (h *history) work(t *testing.T, e *pebblekv.Engine, commits int) (asked int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range commits / 4 {
				h.mu.Lock()
				n, err := h.commitLocked(e, valueSize)
				last := h.last
				h.mu.Unlock()
				if err != nil {
					requireFailed(t, err, errDisk)
					continue
				}
				mu.Lock()
				asked++
				mu.Unlock()
				h.follow(e, last, n)
				if i%(g+2) == 0 {
					_ = wait(e, n)
				}
			}
		})
	}
	all.Wait()
	return asked
}

// The power may fail at any moment, also during a write, and unsynced data may
// be lost or not. Afterwards the store has a prefix of the commits, each
// complete, with all that were reported as durable.
func TestCrash_AtAnyMomentKeepsDurableCommits(t *testing.T) {
	fsys := faultfs.New()
	var h history
	type image struct {
		fs      *faultfs.FS
		durable uint64
	}
	var mu sync.Mutex
	var images []image
	fsys.Watch(func(faultfs.Op, string) {
		h.durableMu.Lock()
		durable := h.durable
		h.durableMu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		seed := uint64(len(images))
		for _, percent := range []int{0, 50, 100} {
			images = append(images, image{fsys.Crash(percent, seed), durable})
		}
	})
	e := open(t, small(fsys))
	h.work(t, e, 240)
	require.NoError(t, e.Close())
	require.Greater(t, len(images), 300)

	var found atomic.Uint64
	var next atomic.Int64
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(images) && !t.Failed(); i = int(next.Add(1)) - 1 {
				e, err := pebblekv.Open(small(images[i].fs), nil)
				if err != nil {
					t.Errorf("image %d of %d: %v", i, len(images), err)
					return
				}
				if n := check(t, e, images[i].durable, valueSize); n > images[i].durable {
					found.Add(1)
				}
				require.NoError(t, e.Close())
			}
		})
	}
	all.Wait()
	require.Positive(t, found.Load(), "some images hold more than was reported as durable")
}

// Opening changes which files are the store. The file system may write the
// changes in any order until they are synced.
func TestCrash_WhileOpening(t *testing.T) {
	empty := faultfs.New()
	stored := faultfs.New()
	var h history
	e := open(t, small(stored))
	for range 100 {
		_, err := h.commit(e, valueSize)
		require.NoError(t, err)
	}
	require.NoError(t, e.Close())
	for durable, fsys := range map[uint64]*faultfs.FS{0: empty, 100: stored.Crash(0, 0)} {
		var mu sync.Mutex
		var images []*faultfs.FS
		fsys.Watch(func(faultfs.Op, string) {
			mu.Lock()
			defer mu.Unlock()
			for range 8 {
				images = append(images, fsys.Crash(50, uint64(len(images))))
			}
		})
		e := open(t, small(fsys))
		check(t, e, durable, valueSize)
		require.NoError(t, e.Close())
		for _, image := range images {
			e := open(t, small(image))
			require.Equal(t, durable, check(t, e, durable, valueSize))
			require.NoError(t, e.Close())
		}
	}
}

// Whatever fails first, at whatever moment: the store goes on reading what is
// durable, refuses to write, and leaves on the disk what a crash could have
// left.
func TestCrash_FailureLeavesWhatACrashLeaves(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 7
	}
	tables := 0
	for n := 1; ; n += step {
		fsys := faultfs.New()
		fsys.Fail(faultfs.All, n, errDisk)
		var h history
		noticed := 0 // changes when the failure had been noticed; 0: not before Close
		e, err := pebblekv.Open(small(fsys), nil)
		if err != nil {
			require.ErrorIs(t, err, errDisk)
		} else {
			asked := h.work(t, e, 200)
			if e.Stats().Failed != nil {
				noticed = fsys.Count(faultfs.All)
				requireFailed(t, e.Writable(), errDisk)
				require.GreaterOrEqual(t, check(t, e, h.durableSoFar(), valueSize), h.durableSoFar())
			}
			tables += strings.Count(strings.Join(list(t, fsys), " "), ".sst")
			failed := e.Stats().Failed
			if err := e.Close(); err != nil || failed != nil {
				requireFailed(t, err, errDisk)
			}
			require.Equal(t, asked, h.calls, "every callback is called once")
			for _, err := range h.failed {
				requireFailed(t, err, errDisk)
			}
		}
		total := fsys.Count(faultfs.All)
		if total < n {
			require.Greater(t, n, 100)
			require.Positive(t, tables)
			return
		}
		if noticed > 0 { // what other goroutines had begun may still end
			require.LessOrEqual(t, total, noticed+4, "nothing is changed after a failure")
		}
		for i, percent := range []int{0, 50, 100} {
			e := open(t, small(fsys.Crash(percent, uint64(i))))
			check(t, e, h.durable, valueSize)
			require.NoError(t, e.Close())
		}
	}
}

func list(t *testing.T, fsys *faultfs.FS) []string {
	names, err := fsys.List("/a/data")
	require.NoError(t, err)
	return names
}

func TestCrash_FullDiskDuringASyncIsAFailure(t *testing.T) {
	fsys := faultfs.New()
	e := open(t, small(fsys))
	n := set(t, e, "k", "v")
	require.NoError(t, wait(e, n))
	fsys.Fail(faultfs.Sync, 1, syscall.ENOSPC)
	err := wait(e, set(t, e, "k", "w"))
	requireFailed(t, err, syscall.ENOSPC)
	require.ErrorIs(t, err, store.ErrFull)
	require.ErrorIs(t, e.Writable(), store.ErrFull)
	v, _, err := e.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
	require.ErrorIs(t, e.Close(), store.ErrFull)
}

// crashed returns an image whose newest log holds commits that were reported as
// durable, and the path of that log.
func crashed(t *testing.T, commits int) (*faultfs.FS, string) {
	fsys := faultfs.New()
	cfg := small(fsys)
	cfg.Memtable = 16 << 20
	e := open(t, cfg)
	var h history
	for range commits {
		n, err := h.commit(e, 50)
		require.NoError(t, err)
		if h.last%7 == 0 {
			require.NoError(t, wait(e, n))
		}
	}
	n, err := h.commit(e, 50)
	require.NoError(t, err)
	require.NoError(t, wait(e, n))
	image := fsys.Crash(0, 0)
	require.NoError(t, e.Close())
	log := ""
	for _, name := range list(t, image) {
		if strings.HasSuffix(name, ".log") {
			log = max(log, name)
		}
	}
	return image, path.Join("/a/data", log)
}

// damaged returns a copy of an image in which damage has been done to a file.
func damaged(t require.TestingT, image *faultfs.FS, file string, damage func([]byte) []byte) *faultfs.FS {
	c := image.Crash(100, 0)
	data := damage(read(t, c, file))
	f, err := c.Create(file, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(data)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return c
}

func read(t require.TestingT, fsys *faultfs.FS, file string) []byte {
	f, err := fsys.Open(file)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	data := make([]byte, info.Size())
	_, err = f.ReadAt(data, 0)
	require.NoError(t, err)
	return data
}

// openDamaged opens an image and checks that it holds the first so many
// commits, or is refused as damaged.
func openDamaged(t *testing.T, image *faultfs.FS) (count uint64, opened bool) {
	e, err := pebblekv.Open(small(image), nil)
	if err != nil {
		require.ErrorIs(t, err, store.ErrCorrupt)
		return 0, false
	}
	count = check(t, e, 0, 50)
	require.NoError(t, e.Close())
	return count, true
}

func TestCrash_TruncatedLogOpensWithAPrefix(t *testing.T) {
	image, log := crashed(t, 60)
	size := len(read(t, image, log))
	require.Less(t, size, 32<<10)
	last := uint64(61)
	for keep := size; keep >= max(0, size-1000); keep-- {
		count, opened := openDamaged(t, damaged(t, image, log, func(data []byte) []byte { return data[:keep] }))
		require.True(t, opened)
		require.LessOrEqual(t, count, last)
		last = count
	}
	require.Less(t, last, uint64(58))
}

func TestCrash_FlippedBitsAreDetected(t *testing.T) {
	image, log := crashed(t, 60)
	size := len(read(t, image, log))
	for i := size - 1000; i < size; i++ {
		openDamaged(t, damaged(t, image, log, flip(i)))
	}
}

func flip(i int) func([]byte) []byte {
	return func(data []byte) []byte {
		data[i] ^= 1 << (i % 8)
		return data
	}
}

// Damage of synced data differs from a torn tail in what follows, at least a
// block of 32 KiB further on.
func TestCrash_DamageInsideTheLogIsNoTornTail(t *testing.T) {
	image, log := crashed(t, 1000)
	size := len(read(t, image, log))
	require.Greater(t, size, 96<<10)
	for i := 100; i < 32<<10; i += 1000 {
		_, opened := openDamaged(t, damaged(t, image, log, flip(i)))
		require.False(t, opened, "flipped at %d of %d", i, size)
	}
}

// Damage of any file is found when the store is opened, or else when what is
// damaged is read.
func TestCrash_DamageOfAnyFileIsDetected(t *testing.T) {
	fsys := faultfs.New()
	e := open(t, small(fsys))
	var h history
	for range 300 {
		_, err := h.commit(e, 700)
		require.NoError(t, err)
	}
	require.NoError(t, e.Close())
	for _, name := range list(t, fsys) {
		if name == "LOCK" || strings.HasPrefix(name, "marker") {
			continue
		}
		file := path.Join("/a/data", name)
		size := len(read(t, fsys, file))
		for i := 0; i < size; i += max(1, size/40) {
			e, err := pebblekv.Open(small(damaged(t, fsys, file, func(data []byte) []byte {
				data[i] ^= 0x55
				return data
			})), nil)
			if err != nil {
				require.ErrorIs(t, err, store.ErrCorrupt, "%s at %d", name, i)
				continue
			}
			var damage error
			for _, err := range e.Scan(nil, nil, false) {
				damage = err
			}
			if damage != nil {
				require.ErrorIs(t, damage, store.ErrCorrupt)
			} else {
				check(t, e, 0, 700)
			}
			require.NoError(t, e.Close())
		}
	}
}
