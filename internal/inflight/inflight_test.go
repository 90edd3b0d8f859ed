package inflight_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/inflight"
)

func TestWork_WaitsForAdmittedWorkAndItsChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := inflight.New()
		require.True(t, w.Enter())
		w.Close()
		require.True(t, w.Closed())
		require.False(t, w.Enter(), "nothing new is admitted")
		require.Equal(t, 1, w.Len())

		waited := false
		go func() { w.Wait(); waited = true }()
		release := make(chan struct{})
		w.Spawn(func() { <-release }) // admitted work may begin more
		w.Leave()
		synctest.Wait()
		require.False(t, waited)
		close(release)
		synctest.Wait()
		require.True(t, waited)
		require.Zero(t, w.Len())
	})
}

func TestWork_DeliversATokenWhenItBecomesIdle(t *testing.T) {
	w := inflight.New()
	w.Close()
	<-w.Idle() // there was nothing to wait for
	w.Add()
	select {
	case <-w.Idle():
		t.Fatal("work is in progress")
	default:
	}
	w.Leave()
	<-w.Idle()
}
