package gate_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/gate"
)

// Output of a commit outside the object's transactions waits for it, and what
// is sent after it waits as well. The open transaction has no part in it.
func TestSendAfter_IsInOrderAndOutlivesTheTransaction(t *testing.T) {
	d := &disk{durable: 1}
	g := gate.New(d, func(error) {})
	var got []string
	say := func(text string) func(error) {
		return func(lost error) {
			if lost == nil {
				got = append(got, text)
			}
		}
	}
	g.Wrote()
	g.Send(say("undone"))
	g.SendAfter(2, say("stored"))
	g.Failed(errors.New("as asked"))
	g.Send(say("after it"))
	require.Empty(t, got)
	d.sync(2)
	require.Equal(t, []string{"stored", "after it"}, got)
	require.True(t, g.Open())
	g.SendAfter(2, say("durable already"))
	require.Equal(t, []string{"stored", "after it", "durable already"}, got)
}

// A send function can keep back what comes after it.
func TestPause_HoldsWhatComesAfter(t *testing.T) {
	g := gate.New(&disk{}, func(error) {})
	var got []string
	g.Send(func(error) { g.Pause() })
	g.Send(func(error) { got = append(got, "after it") })
	require.Empty(t, got)
	require.False(t, g.Open())
	g.Resume()
	require.Equal(t, []string{"after it"}, got)
	require.True(t, g.Open())
}
