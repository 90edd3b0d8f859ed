package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/gate"
)

func TestWaitWithin_EndsWhenATransactionDoesNot(t *testing.T) {
	tests := map[string]struct {
		do   func(g *gate.Gate, d *disk) // after the wait has begun
		want error
		took time.Duration
	}{
		"it does not end": {do: func(*gate.Gate, *disk) {}, want: gate.ErrUnended, took: 10 * time.Second},
		"it ends in time, and the disk is slow": {
			do: func(g *gate.Gate, d *disk) {
				time.Sleep(9 * time.Second)
				g.Committed(1)
				time.Sleep(time.Hour)
				d.sync(1)
			},
			took: time.Hour + 9*time.Second,
		},
		"it ends in time, and the next one does not": {
			do: func(g *gate.Gate, d *disk) {
				time.Sleep(9 * time.Second)
				g.Committed(1)
				g.Wrote()
				time.Sleep(time.Minute)
				d.sync(1)
			},
			took: time.Minute + 9*time.Second,
		},
		"it is undone": {
			do: func(g *gate.Gate, _ *disk) {
				time.Sleep(9 * time.Second)
				g.Failed(errors.New("as asked"))
			},
			took: 9 * time.Second,
		},
		"it is lost": {
			do: func(g *gate.Gate, d *disk) {
				time.Sleep(9 * time.Second)
				g.Committed(1)
				time.Sleep(time.Minute)
				d.fail(errLost)
			},
			want: errLost, took: time.Minute + 9*time.Second,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := new(disk)
				g := gate.New(d, func(error) {})
				g.Wrote()
				began := time.Now()
				waited := make(chan error, 1)
				go func() { waited <- g.WaitWithin(context.Background(), 10*time.Second) }()
				synctest.Wait()
				tt.do(g, d)
				require.ErrorIs(t, <-waited, tt.want)
				require.Equal(t, tt.took, time.Since(began))
			})
		})
	}
}

// Nobody but the caller is affected by the end of a wait.
func TestWaitWithin_LeavesTheGateAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, e := new(disk), new(recorder)
		g := gate.New(d, func(error) { t.Error("nothing is lost") })
		g.Wrote()
		e.send(g, 1)
		require.ErrorIs(t, g.WaitWithin(t.Context(), time.Second), gate.ErrUnended)
		e.send(g, 2)
		require.Empty(t, e.sent)
		g.Committed(1)
		d.sync(1)
		require.Equal(t, []int{1, 2}, e.sent)
		require.True(t, g.Open())
		require.NoError(t, g.WaitWithin(t.Context(), time.Second))
	})
}
