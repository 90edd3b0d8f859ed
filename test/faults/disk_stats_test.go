package faults_test

import (
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/sqlite"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

// boundedDisk is a troubled disk on which little may wait to become durable.
type boundedDisk struct{ *troubledDisk }

const unsynced = 5000 // bytes

func (v boundedDisk) OpenEngine(log *slog.Logger) (store.Engine, error) {
	return pebblekv.Open(
		pebblekv.Config{FS: v.FS, Dir: "/data", Cache: 1 << 20, SQL: sqlite.New(4, log), Unsynced: unsynced}, log,
	)
}

func TestDisk_StatsShowWaitsForASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := boundedDisk{newTroubledDisk()}
		rt, objects := fixture.NewObjects(t, dog.Options{Store: fixture.StoreOf(v)})
		const writers, size = 50, 200
		write := func() *sync.WaitGroup {
			var all sync.WaitGroup
			for i := range writers {
				all.Go(func() {
					stub := objects.Named(strconv.Itoa(i))
					_ = fixture.Commit(t, stub, func(s *dog.Storage) error { return s.Put("k", make([]byte, size)) })
				})
			}
			return &all
		}
		write().Wait()
		time.Sleep(time.Minute)
		before := rt.Stats().Store
		require.Zero(t, before.Unsynced)
		require.Zero(t, before.Waiting)
		require.Zero(t, before.SyncTime, "this disk takes no time")
		require.Positive(t, before.Memory)

		answer := v.hang()
		all := write()
		time.Sleep(3 * time.Second)
		slow := rt.Stats().Store
		require.Greater(t, slow.Unsynced, size)
		require.LessOrEqual(t, slow.Unsynced, unsynced)
		require.GreaterOrEqual(t, slow.Waiting, writers-unsynced/size, "the others")
		require.Equal(t, before.Syncs, slow.Syncs)
		answer()
		all.Wait()
		after := rt.Stats().Store
		require.Zero(t, after.Unsynced)
		require.Zero(t, after.Waiting)
		require.GreaterOrEqual(t, after.SyncTime, 3*time.Second)
		require.Equal(t, before.Commits+writers, after.Commits)
	})
}
