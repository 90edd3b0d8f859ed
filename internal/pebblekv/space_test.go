package pebblekv_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
)

// limited returns a file system of a size and the configuration of a store on
// it, all of whose limits are the defaults.
func limited(size uint64) (*faultfs.FS, pebblekv.Config) {
	fsys := faultfs.New()
	fsys.Limit(size)
	return fsys, pebblekv.Config{FS: fsys, Dir: "/a/data"}
}

func free(t require.TestingT, fsys *faultfs.FS) int64 {
	usage, err := fsys.GetDiskUsage("/")
	require.NoError(t, err)
	return int64(usage.AvailBytes)
}

// raise raises one of 2,000 counters, which takes size bytes.
func raise(e *pebblekv.Engine, i, size int) error {
	b := e.Begin()
	b.Set(fmt.Appendf(nil, "counter/%04d", i%2000), binary.BigEndian.AppendUint64(make([]byte, size-8), uint64(i)))
	_, err := b.Commit()
	return err
}

// What is overwritten does not fill a volume, however small and however much is
// written.
func TestSpace_OverwritingDoesNotFillASmallVolume(t *testing.T) {
	for _, v := range []struct{ mib, size int }{{16, 500}, {64, 2000}, {370, 8000}} {
		t.Run(fmt.Sprint(v.mib, " MiB"), func(t *testing.T) {
			fsys, cfg := limited(uint64(v.mib) << 20)
			e := open(t, cfg)
			most := uint64(0)
			n := min(v.mib, 32) << 20 / v.size
			for i := range n {
				require.NoError(t, raise(e, i, v.size))
				if i%1000 == 0 {
					most = max(most, e.Stats().Disk)
				}
			}
			require.Less(t, most, uint64(v.mib)<<20/2)
			require.NoError(t, e.Close())
			require.Greater(t, free(t, fsys), int64(v.mib)<<20/2)
			e = open(t, cfg)
			require.Len(t, contents(t, e), 2000)
			require.NoError(t, e.Close())
		})
	}
}

// A store does not open if it could not continue. Open fails at once and
// changes nothing.
func TestOpen_FailsOnAFullDisk(t *testing.T) {
	for _, left := range []int64{0, 1, 4096, 1 << 20, 3 << 20} {
		t.Run(fmt.Sprint(left, " bytes left"), func(t *testing.T) {
			fsys, cfg := limited(64 << 20)
			fsys.Ballast(64<<20 - left)
			_, err := pebblekv.Open(cfg, nil)
			require.ErrorIs(t, err, store.ErrFull)
			require.ErrorContains(t, err, "make room on the volume")
			_, err = fsys.Stat("/a")
			require.ErrorIs(t, err, os.ErrNotExist)
			fsys.Ballast(-64<<20 + left)

			e := open(t, cfg)
			for i := range 2000 {
				require.NoError(t, raise(e, i, 1000))
			}
			want := contents(t, e)
			require.NoError(t, e.Close())
			files := list(t, fsys)
			ballast := fsys.Ballast(free(t, fsys) - left)
			_, err = pebblekv.Open(cfg, nil)
			require.ErrorIs(t, err, store.ErrFull)
			require.ErrorContains(t, err, "make room on the volume")
			require.ElementsMatch(t, files, list(t, fsys))
			fsys.Ballast(-ballast)
			e = open(t, cfg)
			require.Equal(t, want, contents(t, e))
			require.NoError(t, e.Close())
		})
	}
}

// blind is a volume that cannot report its free space.
type blind struct{ *faultfs.FS }

func (blind) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

// At whatever moment the space ends, a store opens or reports that the disk is
// full, and loses nothing.
func TestOpen_EndsWhereverSpaceRunsOut(t *testing.T) {
	fsys, cfg := limited(64 << 20)
	cfg.FS = blind{fsys}
	opens := func(left int64, want map[string]string) bool {
		ballast := fsys.Ballast(free(t, fsys) - left)
		e, err := pebblekv.Open(cfg, nil)
		if err == nil {
			require.Equal(t, want, contents(t, e))
			err = e.Close()
		} else {
			require.ErrorIs(t, err, store.ErrFull, "%d bytes left", left)
		}
		fsys.Ballast(-ballast)
		return err == nil
	}
	for left := int64(0); !opens(left, map[string]string{}); left += 512 {
		require.Less(t, left, int64(1<<20))
	}
	e := open(t, cfg)
	for i := range 2000 {
		require.NoError(t, raise(e, i, 1000))
	}
	want := contents(t, e)
	require.NoError(t, e.Close())
	for left := int64(0); !opens(left, want); left += 32 << 10 {
		require.Less(t, left, int64(8<<20))
	}
}

// Of what keeps the disk from having enough space, the store gives back its own
// part before it refuses anything.
func TestSpace_IsReclaimedBeforeCommitsAreRefused(t *testing.T) {
	fsys, cfg := limited(64 << 20)
	cfg.Memtable = 8 << 20 // of which the logs may take several times as much
	e := open(t, cfg)
	for i := 0; e.Stats().Disk < 16<<20; i++ {
		require.NoError(t, raise(e, i, 4000))
	}
	fsys.Ballast(free(t, fsys) - 8<<20 + 64<<10) // a little less than the reserve is left
	for i := range 2000 {
		require.NoError(t, raise(e, i, 4000))
	}
	require.Eventually(
		t, func() bool { return free(t, fsys) >= 8<<20 }, time.Minute, 10*time.Millisecond, "the reserve",
	)
	require.NoError(t, e.Close())
}

func TestSpace_WritingResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, cfg := limited(64 << 20)
		e := open(t, cfg)
		require.NoError(t, raise(e, 0, 1000))
		for range 3 {
			ballast := fsys.Ballast(free(t, fsys) - 1<<20)
			time.Sleep(2 * time.Second)
			before := fsys.Count(faultfs.All)
			for range 100 {
				require.ErrorIs(t, raise(e, 1, 1000), store.ErrFull)
				time.Sleep(time.Second)
			}
			require.Less(t, fsys.Count(faultfs.All), before+50, "a full store does nothing")
			fsys.Ballast(-ballast)
			time.Sleep(2 * time.Second)
			require.NoError(t, raise(e, 1, 1000))
		}
		require.NoError(t, e.Close())
	})
}

// A store whose contents fill the volume reports that before anything fails.
func TestSpace_FullVolumeIsNoFailure(t *testing.T) {
	fsys, cfg := limited(64 << 20)
	e := open(t, cfg)
	var err error
	n := uint64(0)
	for ; err == nil; n++ {
		b := e.Begin()
		b.Set(name(n), fill(n, 50_000))
		_, err = b.Commit()
	}
	require.ErrorIs(t, err, store.ErrFull)
	require.NotErrorIs(t, err, store.ErrFailed)
	require.Greater(t, n, uint64(600), "most of the volume can be used")
	require.NoError(t, e.Stats().Failed)
	require.NoError(t, e.Close())
	require.Positive(t, free(t, fsys))
}

func TestStats_ReportTheSizeOfTheDirectory(t *testing.T) {
	cfg := pebblekv.Config{Dir: t.TempDir(), Memtable: 1 << 20}
	e := open(t, cfg)
	defer func() { require.NoError(t, e.Close()) }()
	for i := range 20_000 {
		require.NoError(t, raise(e, i, 500))
	}
	require.Eventually(t, func() bool {
		var taken uint64
		err := filepath.Walk(cfg.Dir, func(_ string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				taken += blocks(info)
			}
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
		}
		return e.Stats().Disk == taken
	}, time.Minute, 10*time.Millisecond)
}

func TestSpace_LargeCommitOnASmallVolume(t *testing.T) {
	for _, v := range []struct {
		volume, part int   // in MiB
		sizes        []int // in parts
	}{
		{16, 1, []int{15}},
		{16, 1, []int{4, 1, 3}},
		{64, 1, []int{62, 18, 25}},
		{64, 1, []int{1, 10, 2, 15, 1, 1, 5, 12, 8}},
		{64, 3, []int{1, 2, 3, 4, 5}},
	} {
		t.Run(fmt.Sprint(v.volume, " MiB, ", v.sizes), func(t *testing.T) {
			_, cfg := limited(uint64(v.volume) << 20)
			e := open(t, cfg)
			want := map[string]string{}
			let, refused := 0, 0
			for round := range 2 {
				for i, size := range v.sizes {
					seed := uint64(round*len(v.sizes) + i)
					b := e.Begin()
					set := map[string]string{}
					for part := range size {
						key := fmt.Sprint("large/", i, "/", part)
						set[key] = string(fill(seed<<32+uint64(part), v.part<<20))
						b.Set([]byte(key), []byte(set[key]))
					}
					if n, err := b.Commit(); err == nil {
						let++
						maps.Copy(want, set)
						require.NoError(t, wait(e, n))
					} else {
						refused++
						require.ErrorIs(t, err, store.ErrFull)
						require.NotErrorIs(t, err, store.ErrFailed)
						require.Regexp(t, `has \d+ bytes.* and \d+ are free|make room`, err)
					}
					for n := range 10 {
						key := fmt.Sprint("small/", n)
						b := e.Begin()
						b.Set([]byte(key), fill(seed, 1000))
						n, err := b.Commit()
						require.NoError(t, err, "everybody else goes on")
						require.NoError(t, wait(e, n))
						want[key] = string(fill(seed, 1000))
					}
				}
			}
			require.Equal(t, len(v.sizes) > 1, let > 0)
			require.Positive(t, refused)
			require.NoError(t, e.Stats().Failed)
			require.NoError(t, e.Close())
			e = open(t, cfg)
			require.Equal(t, want, contents(t, e))
			require.NoError(t, e.Close())
		})
	}
}
