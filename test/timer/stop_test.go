package timer_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestTimer_StopReportsWhetherItWasPending(t *testing.T) {
	nothing := func(context.Context) error { return nil }
	for name, c := range map[string]struct {
		begin   func(o *metronome) *dog.Timer
		full    bool // when it is due, more events wait than may
		pending bool // a minute later
	}{
		"After that has run":    {func(o *metronome) *dog.Timer { return o.After(time.Second, nothing) }, false, false},
		"After that is not due": {func(o *metronome) *dog.Timer { return o.After(time.Hour, nothing) }, true, true},
		"After that has failed": {func(o *metronome) *dog.Timer {
			return o.After(time.Second, func(context.Context) error { return errors.New("failed") })
		}, false, false},
		"After that waits for its turn": {func(o *metronome) *dog.Timer {
			return o.After(time.Second, nothing)
		}, true, true},
		"Every whose tick waits for its turn": {func(o *metronome) *dog.Timer {
			return o.Every(time.Second, nothing)
		}, true, true},
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

// clock is an object with timers and without OnStop, which Shutdown leaves as
// it is.
type clock struct{ dog.Object }

// Do runs a function in the turn.
func (c *clock) Do(ctx context.Context, f func(context.Context, *clock) error) error {
	return f(ctx, c)
}

func TestTimer_StopReportsNothingPendingDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		clocks, err := dog.RegisterObject[clock](rt, "clock", nil)
		require.NoError(t, err)
		in := func(name string, f func(ctx context.Context, c *clock) error) {
			require.NoError(t, dog.CallErr(t.Context(), clocks.Named(name), (*clock).Do, f))
		}
		never := func(context.Context) error { panic("it runs") }
		var pending []*dog.Timer // when Shutdown begins
		ticks := 0
		in("idle", func(_ context.Context, c *clock) error {
			pending = append(pending, c.After(time.Hour, never), c.Every(time.Hour, never))
			return nil
		})
		stopped := make(chan error, 1)
		in("busy", func(ctx context.Context, c *clock) error {
			runs := c.Every(time.Second, func(ctx context.Context) error {
				ticks++
				return dog.Await(ctx, func() error { <-dog.Stopping(ctx); return nil })
			})
			if err := fixture.Pause(ctx, 1500*time.Millisecond); err != nil {
				return err
			}
			waits := c.After(0, never)
			time.Sleep(time.Millisecond) // it is due, and waits for the turn
			require.True(t, c.After(time.Hour, never).Stop())
			go func() { stopped <- rt.Shutdown(context.Background()) }()
			<-rt.Stopping()
			require.False(t, runs.Stop())
			require.False(t, c.After(time.Hour, never).Stop())
			pending = append(pending, waits, c.After(0, never), c.Every(time.Second, never))
			return nil
		})
		require.NoError(t, <-stopped)
		require.Equal(t, 1, ticks)
		for _, timer := range pending {
			require.False(t, timer.Stop())
		}
	})
}

func TestTimer_StopFromOutsideEndsADueTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clocks, err := dog.RegisterObject[clock](dogtest.New(t, dog.Options{}), "clock", nil)
		require.NoError(t, err)
		never := func(context.Context) error { panic("it runs") }
		require.NoError(t, dog.CallErr(t.Context(), clocks.Named("a"), (*clock).Do,
			func(_ context.Context, c *clock) error {
				timers := []*dog.Timer{c.After(time.Millisecond, never), c.Every(time.Millisecond, never)}
				time.Sleep(time.Second) // both wait for the turn
				stopped := make(chan bool)
				for _, timer := range timers {
					go func() { stopped <- timer.Stop() }()
					require.True(t, <-stopped)
				}
				return nil
			}))
		fixture.Elapse(time.Minute)
		require.False(t, new(clock).After(0, never).Stop(), "the object is not running")
	})
}
