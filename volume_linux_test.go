package dog_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

var volumeWrites = flag.Int("volume-writes", 20_000, "how often TestSmallVolumes writes to each of its volumes")

// volume mounts a file system of a size. The test is skipped where that is not
// allowed.
func volume(t *testing.T, size string) string {
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("mounting is not allowed here")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

// However small a volume, an export that does not fit says so and leaves
// nothing.
func TestAnExportToAFullVolume(t *testing.T) {
	rt, err := dog.New(dog.Options{Store: disk.Memory(), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()
	cells, err := dog.RegisterObject(rt, "cell", func(*cell) {})
	require.NoError(t, err)
	require.NoError(t, inside(cells.Named("a"), func(_ context.Context, c *cell) error {
		_, err := c.Storage().SQL().Exec("CREATE TABLE t (a); INSERT INTO t SELECT randomblob(900) FROM generate_series(1, 40)")
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
func TestSmallVolumes(t *testing.T) {
	for _, size := range []string{"64m", "370m"} {
		t.Run(size, func(t *testing.T) {
			dir := filepath.Join(volume(t, size), "data")
			rt, err := dog.New(dog.Options{Store: disk.At(dir), Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			cells, err := dog.RegisterObject(rt, "cell", func(*cell) {})
			require.NoError(t, err)
			add := func(_ context.Context, c *cell) error {
				counts := dog.Values[int]{Storage: c.Storage()}
				_, err := counts.Update("n", func(n int) (int, error) { return n + 1, nil })
				return err
			}
			var next atomic.Int64
			var all sync.WaitGroup
			for range 64 {
				all.Go(func() {
					for i := next.Add(1); i <= int64(*volumeWrites) && !t.Failed(); i = next.Add(1) {
						if err := inside(cells.Named(fmt.Sprint(i%2000)), add); err != nil {
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
