package turn_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/turn"
)

func begun(t *testing.T, l *turn.Lock, from turn.Origin) *turn.Event {
	t.Helper()
	ticket, err := l.Queue(from)
	require.NoError(t, err)
	e, err := ticket.Redeem(context.Background())
	require.NoError(t, err)
	return e
}

func TestOnEnd_IsCalledOnce(t *testing.T) {
	var l turn.Lock
	e := begun(t, &l, turn.Origin{})
	var ran []string
	e.OnEnd(func() { ran = append(ran, "kept"); require.False(t, e.HasTurn()) })
	stop := e.OnEnd(func() { ran = append(ran, "withdrawn") })
	stop()
	require.Empty(t, ran)
	require.True(t, e.HasTurn())
	_, _ = e.End()
	require.Equal(t, []string{"kept"}, ran)
	e.OnEnd(func() { ran = append(ran, "late") })
	require.Equal(t, []string{"kept", "late"}, ran)

	other := begun(t, &l, turn.Origin{})
	_, _ = other.End()
	require.Len(t, ran, 2, "another event's end is not this one's")
}

func TestHasTurn_IsFalseOnlyDuringAWait(t *testing.T) {
	var l turn.Lock
	e := begun(t, &l, turn.Origin{})
	wait, err := turn.Yield(e)
	require.NoError(t, err)
	require.False(t, e.HasTurn())
	wait.Resume()
	require.NoError(t, e.Keep())
	wait, err = turn.Yield(e)
	require.NoError(t, err)
	require.True(t, e.HasTurn())
	wait.Resume()
	e.Unkeep()
	_, _ = e.End()
}

func TestCaller_IsTheWaitingEvent(t *testing.T) {
	var l, m turn.Lock
	e := begun(t, &l, turn.Origin{})
	from := turn.OriginOf(e)
	called := begun(t, &m, from)
	require.Equal(t, e, called.Caller())
	from.Call.Over()
	require.Nil(t, called.Caller())
	_, _ = called.End()
	started := begun(t, &m, turn.Follow(e))
	require.Nil(t, started.Caller(), "nobody waits for it")
	_, _ = started.End()
	_, _ = e.End()
}
