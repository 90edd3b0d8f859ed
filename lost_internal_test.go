package dog

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store/storetest"
)

type sleeper struct{ Object }

func (s *sleeper) Store(context.Context) error       { return s.Storage().Put("said", nil) }
func (s *sleeper) Read(context.Context) (int, error) { return 1, nil }

// The store fails in the very moment in which the object goes to sleep.
func TestAnObjectThatFallsAsleepWhileTheStoreFailsGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		rt, err := New(Options{Store: &opener{engine.OpenEngine}, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		sleepers, err := RegisterObject[sleeper](rt, "sleeper", nil)
		require.NoError(t, err)
		engine.Flush()
		stub := sleepers.Named("a")
		stored := make(chan error, 1)
		go func() { stored <- CallErr0(t.Context(), stub, (*sleeper).Store) }()
		synctest.Wait()

		o, err := stub.to.object()
		require.NoError(t, err)
		inst := o.current.Load()
		o.mu.Lock()
		require.True(t, inst.turn.CloseIdle(errAsleep, nil))
		engine.Fail(errors.New("no disk"))
		o.endLocked(inst)
		o.mu.Unlock()
		inst.over()
		require.ErrorIs(t, <-stored, ErrReset)
		synctest.Wait()

		n, err := Call0(t.Context(), stub, (*sleeper).Read)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		_, retired := o.retire()
		require.True(t, retired)
		require.NoError(t, rt.Shutdown(t.Context()))
	})
}
