package disk_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/store"
)

func TestOptions_MinFreeIsReservedBeforeWriting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, err := dog.New(dog.Options{Store: disk.With(disk.Options{Dir: dir, MinFree: 1 << 62})})
	require.ErrorIs(t, err, dog.ErrStoreFull)
	require.NoDirExists(t, dir)

	e := open(t, disk.With(disk.Options{Dir: dir, MinFree: 1}))
	set(t, e, "k", "v")
	require.NoError(t, e.Writable())
	require.NoError(t, e.Close())

	before, err := os.ReadDir(dir)
	require.NoError(t, err)
	_, err = dog.New(dog.Options{Store: disk.With(disk.Options{Dir: dir, MinFree: 1 << 62})})
	require.ErrorIs(t, err, dog.ErrStoreFull)
	after, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// With a bound that no two commits fit into, each waits until those before it
// are durable.
func TestOptions_UnsyncedBoundsLossInACrash(t *testing.T) {
	const commits = 20
	e := open(t, disk.With(disk.Options{Dir: t.TempDir(), Unsynced: 1}))
	before := e.Stats()
	var all sync.WaitGroup
	for i := range commits {
		all.Go(func() {
			b := e.Begin()
			b.Set(fmt.Append(nil, i), nil)
			if _, err := b.Commit(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	after := e.Stats()
	require.EqualValues(t, commits, after.Commits-before.Commits)
	require.GreaterOrEqual(t, after.Syncs-before.Syncs, uint64(commits-1), "no sync was shared")
	require.NoError(t, e.Close())
}

func TestOptions_CacheBoundsMemory(t *testing.T) {
	dir := t.TempDir()
	const values, size = 128, 64 << 10
	e := open(t, disk.With(disk.Options{Dir: dir}))
	random := rand.NewChaCha8([32]byte{})
	for i := range values {
		value := make([]byte, size)
		_, _ = random.Read(value)
		set(t, e, fmt.Sprint(i), string(value))
	}
	require.NoError(t, e.Close())

	memory := func(cache int64) uint64 {
		e := open(t, disk.With(disk.Options{Dir: dir, Cache: cache}))
		defer func() { require.NoError(t, e.Close()) }()
		read(t, e, values)
		return e.Stats().Memory
	}
	memory(1 << 20) // moves what is in the log to its place
	small, large := memory(1<<20), memory(64<<20)
	require.GreaterOrEqual(t, large, uint64(values*size), "all that was read stays in memory")
	require.Less(t, small, large-values*size/2)
}

func read(t *testing.T, e store.Engine, values int) {
	for i := range values {
		_, found, err := e.Get(fmt.Append(nil, i))
		require.NoError(t, err)
		require.True(t, found)
	}
}
