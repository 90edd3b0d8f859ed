package turn_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/turn"
)

// An undisturbed event runs on the fast path. These are its states on the way
// between both paths.
func TestLock_HasTheSameStateOnBothPaths(t *testing.T) {
	for _, slow := range []bool{false, true} {
		var l turn.Lock
		e := begun(t, &l, turn.Origin{})
		if slow {
			e.OnEnd(func() {}) // it needs the mutex
		}
		require.False(t, l.Idle())
		require.NoError(t, l.Running())
		require.NoError(t, l.Closed())
		require.EqualValues(t, 1, l.Stats().Events)
		require.NoError(t, e.Usable())
		require.True(t, e.Holds())
		require.True(t, e.HasTurn())
		_, idle := l.QueueIdle(turn.Origin{}, nil)
		require.False(t, idle)
		e.End()

		require.True(t, l.Idle())
		require.ErrorIs(t, l.Running(), turn.ErrOutside)
		requireEnded(t, e)
		next := begun(t, &l, turn.Origin{})
		requireEnded(t, e) // and is not taken for the next one
		require.EqualValues(t, 2, l.Stats().Events)
		next.End()
		requireEnded(t, e)

		reason := errors.New("reset")
		require.True(t, l.CloseIdle(reason, nil))
		require.Equal(t, reason, l.Closed())
		require.Equal(t, reason, l.Running())
		_, err := l.Queue(turn.Origin{})
		require.Equal(t, reason, err)
		require.EqualValues(t, 2, l.Stats().Events)
	}
}

func requireEnded(t *testing.T, e *turn.Event) {
	t.Helper()
	require.ErrorIs(t, e.Usable(), turn.ErrOutside)
	require.ErrorIs(t, e.Keep(), turn.ErrOutside)
	require.False(t, e.Holds())
	require.False(t, e.HasTurn())
	_, err := turn.Yield(e)
	require.ErrorIs(t, err, turn.ErrOutside)
	ended := false
	e.OnEnd(func() { ended = true })
	require.True(t, ended)
}

func TestClose_ReachesAnUndisturbedEvent(t *testing.T) {
	var l turn.Lock
	e := begun(t, &l, turn.Origin{})
	reason := errors.New("reset")
	require.NoError(t, l.Close(reason))
	require.NoError(t, e.Usable(), "it continues")
	closed, misuse := e.End()
	require.Equal(t, reason, closed)
	require.NoError(t, misuse)
	require.True(t, l.Idle())
}

// TestLock_ExcludesWhileThePathsChange lets the race detector watch data that
// the turn guards, and counts the events.
func TestLock_ExcludesWhileThePathsChange(t *testing.T) {
	const goroutines, rounds = 8, 2000
	var l turn.Lock
	var ran, began uint64 // guarded by the turn
	var wg sync.WaitGroup
	event := func(ctx context.Context) error {
		began++
		defer func() { ran++ }() // with the turn, since it runs last
		e := turn.From(ctx)
		switch rand.IntN(8) {
		case 0:
			return sleep(ctx, 0)
		case 1:
			return keep(ctx, func() error { return sleep(ctx, 0) })
		case 2:
			defer e.OnEnd(func() {})()
		case 3: // a goroutine that the handler waits for also waits
			w, err := turn.Yield(ctx)
			if err != nil {
				return err
			}
			defer w.Resume()
			return sleep(ctx, 0)
		}
		return e.Usable()
	}
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				switch rand.IntN(16) {
				case 0:
					l.Idle()
				case 1:
					if l.Stats().Events > goroutines*rounds {
						t.Error("too many events")
					}
				case 2:
					if l.Closed() != nil {
						t.Error("closed")
					}
				}
				if err := run(background, &l, event); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.True(t, l.Idle())
	require.EqualValues(t, goroutines*rounds, ran)
	require.EqualValues(t, goroutines*rounds, began)
	require.EqualValues(t, goroutines*rounds, l.Stats().Events)
}
