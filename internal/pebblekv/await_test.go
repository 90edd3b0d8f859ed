package pebblekv_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/store"
)

// What comes before a store is used has an end as opening has, where the disk
// hangs or is full.
func TestAwait_EndsOnAHangingOrFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, g, _ := gated(t, pebblekv.Config{})
		done := make(chan error, 1)
		done <- errDisk
		require.ErrorIs(t, e.Await(done), errDisk)
		g.close()
		go func() { done <- wait(e, set(t, e, "k", "v")) }()
		start := time.Now()
		require.ErrorIs(t, e.Await(done), store.ErrStalled)
		require.Equal(t, 10*time.Second, time.Since(start))
		g.open()
		require.NoError(t, <-done)
		require.NoError(t, e.Close())
	})
	synctest.Test(t, func(t *testing.T) {
		fsys, cfg := limited(64 << 20)
		e := open(t, cfg)
		n := set(t, e, "k", "v")
		require.NoError(t, wait(e, n))
		fsys.Ballast(math.MaxInt64)
		done := make(chan error, 1)
		start := time.Now()
		require.ErrorIs(t, e.Await(done), store.ErrFull)
		require.LessOrEqual(t, time.Since(start), 20*time.Second)
		_ = e.Close()
	})
}
