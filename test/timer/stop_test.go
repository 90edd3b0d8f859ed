package timer_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestTimer_StopReportsWhetherItWasPending(t *testing.T) {
	nothing := func(context.Context) error { return nil }
	for name, c := range map[string]struct {
		begin   func(o *metronome) *dog.Timer
		full    bool // when it is due, the queue of the object has no room
		pending bool // a minute later
	}{
		"After that has run":    {func(o *metronome) *dog.Timer { return o.After(time.Second, nothing) }, false, false},
		"After that is not due": {func(o *metronome) *dog.Timer { return o.After(time.Hour, nothing) }, true, true},
		"After that has failed": {func(o *metronome) *dog.Timer {
			return o.After(time.Second, func(context.Context) error { return errors.New("failed") })
		}, false, false},
		"After that was dropped":             {func(o *metronome) *dog.Timer { return o.After(time.Second, nothing) }, true, false},
		"Every with ticks that were dropped": {func(o *metronome) *dog.Timer { return o.Every(time.Second, nothing) }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options, _ := fixture.LogToBuffer()
				options.MaxWaiting = 1
				m := newMetronomes(t, options, dog.ObjectOptions[metronome]{}, nil)
				var timer *dog.Timer
				m.do(t, func(_ context.Context, o *metronome) error { timer = c.begin(o); return nil })
				if c.full {
					release := make(chan struct{})
					for range 2 {
						go func() {
							_ = dog.CallErr(t.Context(), m.ns.Named("a"), (*metronome).Do,
								func(context.Context, *metronome) error { <-release; return nil })
						}()
						synctest.Wait()
					}
					defer synctest.Wait()
					defer close(release)
				}
				fixture.Elapse(time.Minute)
				require.Equal(t, c.pending, timer.Stop())
				require.False(t, timer.Stop(), "it has been stopped")
			})
		})
	}
}
