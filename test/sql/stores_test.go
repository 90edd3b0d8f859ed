package sql_test

import (
	"context"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSQL_BackupWhileObjectsWriteHasWholeTurns(t *testing.T) {
	const objects, turns = 4, 20
	dir := t.TempDir()
	rt, cells := newTables(t, disk.At(filepath.Join(dir, "data")), countable)
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	var acknowledged [objects]atomic.Int64
	begun := make(chan struct{}, objects)
	for i := range objects {
		stub := cells.Named(strconv.Itoa(i))
		writing.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				if err := fixture.Commit(
					t, stub, func(s *dog.Storage) error { storeBoth(t, s, n); return nil },
				); err != nil {
					t.Errorf("turn %d of %d: %v", n, i, err)
					return
				}
				acknowledged[i].Store(int64(n))
				if n == turns {
					begun <- struct{}{}
				}
			}
		})
	}
	for range objects {
		<-begun
	}
	var before [objects]int64
	for i := range before {
		before[i] = acknowledged[i].Load()
	}
	copied := filepath.Join(dir, "copy")
	err := rt.Backup(t.Context(), copied)
	cancel()
	writing.Wait()
	require.NoError(t, err)

	_, restored := newTables(t, disk.At(copied), countable)
	for i := range objects {
		require.NoError(t, fixture.Commit(t, restored.Named(strconv.Itoa(i)), func(s *dog.Storage) error {
			n, _, err := dog.QueryRowAs[int](s.SQL(), "SELECT count(*) FROM t")
			require.NoError(t, err)
			require.GreaterOrEqual(t, int64(n), before[i], "it has what was there before")
			whole := make([]int, n)
			for k := range whole {
				whole[k] = k + 1
			}
			requireBoth(t, s, whole...)
			return nil
		}))
	}
}

func TestSQL_WorksForMoreObjectsThanOpenDatabases(t *testing.T) {
	keep := disk.With(disk.Options{Dir: t.TempDir(), OpenDatabases: 2})
	_, cells := newTables(t, keep, countable)
	for round := range 3 {
		for i := range 20 {
			require.NoError(t, fixture.Commit(t, cells.Named(strconv.Itoa(i)), func(s *dog.Storage) error {
				want := make([]int, round)
				for n := range want {
					want[n] = n
				}
				requireBoth(t, s, want...)
				storeBoth(t, s, round)
				return nil
			}))
		}
	}
}
