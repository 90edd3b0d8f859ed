package storage_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/osfile"
)

// makers make a directory or a file with a name.
var makers = map[string]func(ctx context.Context, o *parcels, name string) error{
	"backup": func(ctx context.Context, o *parcels, name string) error { return o.rt.Backup(ctx, name) },
	"export": func(ctx context.Context, o *parcels, name string) error { return o.Named("a").Export(ctx, name) },
}

// watchFiles has f called before each change of files, with its number.
func watchFiles(t *testing.T, f func(n int, op osfile.Op, name string) error) {
	t.Helper()
	n := 0
	t.Cleanup(osfile.Watch(func(op osfile.Op, name string) error {
		n++
		return f(n, op, name)
	}))
}

func forEachMaker(t *testing.T, f func(t *testing.T, o *parcels, kind, name string)) {
	for kind := range makers {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
				fill(t, o.Named("a"), "x")
				f(t, o, kind, filepath.Join(t.TempDir(), "made"))
			})
		})
	}
}

func TestBackup_OrExportExistsExactlyIfItReturnsNoError(t *testing.T) {
	forEachMaker(t, func(t *testing.T, o *parcels, kind, name string) {
		for n := 1; ; n++ {
			ctx, cancel := context.WithCancel(t.Context())
			reached := false
			watchFiles(t, func(i int, _ osfile.Op, _ string) error {
				if i == n {
					reached = true
					cancel()
					time.Sleep(time.Second) // a caller that does not wait returns
				}
				return nil
			})
			err := makers[kind](ctx, o, name)
			cancel()
			_, missing := os.Lstat(name)
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorIs(t, missing, os.ErrNotExist, "after change %d", n)
			} else {
				require.NoError(t, missing)
			}
			synctest.Wait()
			time.Sleep(time.Minute) // what goes on has ended
			_, later := os.Lstat(name)
			require.Equal(t, missing, later)
			require.NoError(t, os.RemoveAll(name))
			if !reached {
				require.NoError(t, err)
				require.Greater(t, n, 5)
				return
			}
		}
	})
}

func TestBackup_WaitsForASlowDiskOnceRenamed(t *testing.T) {
	forEachMaker(t, func(t *testing.T, o *parcels, kind, name string) {
		ctx, cancel := context.WithCancel(t.Context())
		placed := false
		watchFiles(t, func(_ int, op osfile.Op, changed string) error {
			if placed = placed || op == osfile.OpRename && changed == name; placed && op == osfile.OpSyncDir {
				cancel()
				time.Sleep(time.Hour)
			}
			return nil
		})
		start := time.Now()
		require.NoError(t, makers[kind](ctx, o, name))
		require.Equal(t, time.Hour, time.Since(start))
		_, err := os.Lstat(name)
		require.NoError(t, err)
	})
}

func TestBackup_FailureKeepsFilesOfOthers(t *testing.T) {
	forEachMaker(t, func(t *testing.T, o *parcels, kind, name string) {
		failed, placed := errors.New("the disk failed"), false
		watchFiles(t, func(_ int, op osfile.Op, changed string) error {
			if placed = placed || op == osfile.OpRename && changed == name; placed && op == osfile.OpSyncDir {
				require.NoError(t, os.Rename(name, name+".moved"))
				require.NoError(t, os.WriteFile(name, []byte("precious"), 0o600))
				return failed
			}
			return nil
		})
		require.ErrorIs(t, makers[kind](t.Context(), o, name), failed)
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, "precious", string(content))
	})
}

func TestBackup_FailureRemovesItsFiles(t *testing.T) {
	forEachMaker(t, func(t *testing.T, o *parcels, kind, name string) {
		failed, placed := errors.New("the disk failed"), false
		watchFiles(t, func(_ int, op osfile.Op, changed string) error {
			if op == osfile.OpSyncDir && placed {
				return failed
			}
			placed = placed || op == osfile.OpRename && changed == name
			return nil
		})
		require.ErrorIs(t, makers[kind](t.Context(), o, name), failed)
		left, err := os.ReadDir(filepath.Dir(name))
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestBackup_FailureKeepsAReplacedParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
		parent := filepath.Join(t.TempDir(), "parent")
		failed := errors.New("the disk failed")
		watchFiles(t, func(_ int, op osfile.Op, changed string) error {
			if op == osfile.OpMkdir && filepath.Dir(changed) == parent { // the scratch directory
				require.NoError(t, os.Rename(parent, parent+".moved"))
				require.NoError(t, os.Mkdir(parent, 0o700))
				return failed
			}
			return nil
		})
		require.ErrorIs(t, o.rt.Backup(t.Context(), filepath.Join(parent, "copy")), failed)
		require.DirExists(t, parent)
	})
}
