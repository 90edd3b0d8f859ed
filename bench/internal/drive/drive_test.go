package drive

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// sleeper takes a millisecond for an operation.
type sleeper struct {
	own    time.Duration // the latency that it reports; 0: none
	runs   atomic.Int64
	failAt int64
	closed bool
}

var errBroken = errors.New("broken")

func (s *sleeper) Run(_, n int) (began time.Time, err error) {
	if s.runs.Add(1) == s.failAt {
		return began, errBroken
	}
	time.Sleep(time.Duration(n) * time.Millisecond)
	if s.own > 0 {
		began = time.Now().Add(-s.own)
	}
	return began, nil
}

func (s *sleeper) Close() error {
	s.closed = true
	return nil
}

func TestRate_CountsAllWorkersAfterTheWarmUp(t *testing.T) {
	for name, c := range map[string]struct {
		own     time.Duration
		batch   int
		latency any // in milliseconds
	}{
		"an operation is timed":                   {0, 1, 1.},
		"a batch is not":                          {0, 10, nil},
		"an operation that times itself is asked": {250 * time.Microsecond, 1, 0.25},
		"a batch that times itself is asked":      {250 * time.Microsecond, 10, 0.25},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sleeper{own: c.own}
				figures, err := Rate(s, 3, c.batch, time.Second)
				require.NoError(t, err)
				require.InDelta(t, 3000, figures[PerSecond], 1e-6)
				for _, name := range []string{P50, P99} {
					if latency, timed := figures[name]; timed || c.latency != nil {
						require.Equal(t, c.latency, latency)
					}
				}
				require.True(t, s.closed)
			})
		})
	}
}

func TestRate_FailsOnAFailedOperation(t *testing.T) {
	for _, at := range []int64{1, 500} {
		synctest.Test(t, func(t *testing.T) {
			s := &sleeper{failAt: at}
			_, err := Rate(s, 3, 1, time.Second)
			require.ErrorIs(t, err, errBroken)
			require.True(t, s.closed)
		})
	}
}

func TestFill_RunsEachOperationOnce(t *testing.T) {
	done := make([]atomic.Int64, 1000)
	require.NoError(t, Fill(len(done), 64, func(i int) error {
		done[i].Add(1)
		return nil
	}))
	for i := range done {
		require.EqualValues(t, 1, done[i].Load())
	}
	require.ErrorIs(t, Fill(1000, 64, func(int) error { return errBroken }), errBroken)
}
