package faults_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

var volumeWrites = flag.Int("volume-writes", 20_000, "how often TestVolume_SmallVolumes writes to each of its volumes")

// volume mounts a file system of a size. The test is skipped where this process
// has no right to.
func volume(t *testing.T, size string) string {
	if !mayMount(t) {
		t.Skip("this process may not mount a file system: run it as root, with CAP_SYS_ADMIN")
	}
	dir := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

// mayMount reports whether the process has CAP_SYS_ADMIN.
func mayMount(t *testing.T) bool {
	const sysAdmin = 1 << 21
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(status), "\nCapEff:")
	require.True(t, found)
	var rights uint64
	_, err = fmt.Sscanf(strings.TrimSpace(rest), "%x", &rights)
	require.NoError(t, err)
	return rights&sysAdmin != 0
}

// However small a volume, an export that does not fit fails with ErrStoreFull
// and leaves nothing.
func TestVolume_ExportToAFullVolume(t *testing.T) {
	rt, err := dog.New(dog.Options{Store: disk.Memory(), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()
	cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
	require.NoError(t, err)
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		_, err := c.Storage().
			SQL().
			Exec("CREATE TABLE t (a); INSERT INTO t SELECT randomblob(900) FROM generate_series(1, 40)")
		return errors.Join(err, c.Storage().Put("key", make([]byte, 50_000)))
	}))
	for pages := 1; ; pages++ {
		dir := volume(t, fmt.Sprintf("%dk", 4*pages))
		err := cells.Named("a").Export(t.Context(), filepath.Join(dir, "file"))
		if err == nil {
			require.Greater(t, pages, 10)
			return
		}
		require.ErrorIs(t, err, dog.ErrStoreFull)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	}
}

// A service with default options runs on a small volume, from the first
// registration on, however much it writes.
func TestVolume_SmallVolumes(t *testing.T) {
	for _, size := range []string{"64m", "370m"} {
		t.Run(size, func(t *testing.T) {
			dir := filepath.Join(volume(t, size), "data")
			rt, err := dog.New(dog.Options{Store: disk.At(dir), Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
			require.NoError(t, err)
			add := func(_ context.Context, c *fixture.Object) error {
				counts := dog.MapOf[int](c.Storage(), "")
				_, err := counts.Update("n", func(n int) (int, error) { return n + 1, nil })
				return err
			}
			var next atomic.Int64
			var all sync.WaitGroup
			for range 64 {
				all.Go(func() {
					for i := next.Add(1); i <= int64(*volumeWrites) && !t.Failed(); i = next.Add(1) {
						if err := fixture.InTurn(cells.Named(fmt.Sprint(i%2000)), add); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			require.NoError(t, rt.Stats().Store.Err)
			require.Less(t, rt.Stats().Store.Disk, uint64(48<<20))
			require.NoError(t, rt.Shutdown(context.Background()))
		})
	}
}

// A bulkWriter is an object that stores so many values of a size in one turn.
type bulkWriter struct{ dog.Object }

func (s *bulkWriter) Put(_ context.Context, load [2]int) (int, error) {
	random := rand.NewChaCha8([32]byte{byte(load[0])})
	for i := range load[0] {
		value := make([]byte, load[1])
		_, _ = random.Read(value)
		if err := s.Storage().Put(fmt.Sprint(i), value); err != nil {
			return i, err
		}
	}
	return load[0], nil
}

// One turn that stores more than a small volume takes is refused, and nobody
// else notices: not while others write, and not when the service is restarted.
// Turns that fit are let in.
func TestVolume_LargeTurnOnASmallVolume(t *testing.T) {
	dir := filepath.Join(volume(t, "64m"), "data")
	run := func(work func(rt *dog.Runtime, put func(name string, values, size int) error)) {
		rt, err := dog.New(dog.Options{Store: disk.At(dir), Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()
		pantries, err := dog.RegisterObject[bulkWriter](rt, "bulkWriter", nil)
		require.NoError(t, err)
		work(rt, func(name string, values, size int) error {
			_, err := dog.Call(context.Background(), pantries.Named(name), (*bulkWriter).Put, [2]int{values, size})
			return err
		})
	}
	run(func(rt *dog.Runtime, put func(name string, values, size int) error) {
		for _, mib := range []int{62, 10, 62, 2, 40, 12, 62} {
			var neighbours sync.WaitGroup
			for n := range 8 {
				neighbours.Go(func() {
					for range 20 {
						if err := put(fmt.Sprint("neighbour", n), 3, 1000); err != nil {
							t.Error(mib, err)
						}
					}
				})
			}
			err := put("flooder", mib, 1<<20)
			neighbours.Wait()
			if mib <= 12 {
				require.NoError(t, err, mib)
			} else {
				require.ErrorIs(t, err, dog.ErrStoreFull)
			}
			require.NoError(t, rt.Stats().Store.Err)
		}
	})
	run(func(_ *dog.Runtime, put func(name string, values, size int) error) {
		require.NoError(t, put("flooder", 1, 1000))
	})
}
