package object

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/turn"
)

func TestDeliver_FirstEventBeginsTheLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := add(newHost(t, Config{}), nil).named("a")
		require.True(t, o.Asleep())
		for range 3 {
			require.NoError(t, run(t.Context(), o, func(_ context.Context, life int) error {
				require.Equal(t, 1, life)
				return nil
			}))
		}
		require.False(t, o.Asleep())
		require.False(t, o.Busy())
		require.EqualValues(t, 3, o.TurnStats().Events)
	})
}

func TestDeliver_MovesEventsBehindAResetToTheNextLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := add(newHost(t, Config{}), nil).named("a")
		hangs, first := make(chan struct{}), make(chan error, 1)
		go func() {
			first <- run(t.Context(), o, func(context.Context, int) error { <-hangs; return nil })
		}()
		synctest.Wait()
		second := make(chan int, 1)
		go func() {
			_ = run(t.Context(), o, func(_ context.Context, life int) error { second <- life; return nil })
		}()
		synctest.Wait()
		o.Abort(errors.New("enough"))
		require.Equal(t, 2, <-second, "it does not wait for the handler that hangs")
		require.EqualValues(t, 1, o.Generation())
		close(hangs)
		require.ErrorIs(t, <-first, ErrReset)
	})
}

func TestDeliver_TurnsAPanicIntoAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := add(newHost(t, Config{}), nil).named("a")
		err := run(t.Context(), o, func(context.Context, int) error { panic("oh") })
		require.ErrorIs(t, err, ErrReset)
		require.ErrorContains(t, err, "panic: oh")
		require.True(t, o.Asleep())
	})
}

func TestHolder_FindsAnObjectUntilItIsRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := add(newHost(t, Config{}), nil)
		o := c.named("a")
		require.Same(t, o, c.Holder(o.ID))
		_, retired := o.Retire()
		require.True(t, retired)
		require.Nil(t, c.Holder(o.ID))
		require.ErrorIs(t, run(t.Context(), o, nothing), ErrRetired)
		require.NotSame(t, o, c.named("a"))
	})
}

func TestStart_FailureFailsWaitingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		o := add(newHost(t, Config{}), func(c *Class) {
			c.OnStart = func(context.Context, any) error {
				starts++
				time.Sleep(time.Second)
				return errors.New("no service")
			}
		}).named("a")
		failed := make(chan error, 3)
		for range cap(failed) {
			go func() { failed <- run(t.Context(), o, nothing) }()
		}
		for range cap(failed) {
			require.ErrorContains(t, <-failed, "no service")
		}
		require.Equal(t, 1, starts)
	})
}

func TestStart_IsRetriedWhileClientsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 2
		c := add(newHost(t, Config{}), func(c *Class) {
			c.OnStart = func(context.Context, any) error {
				if failures--; failures >= 0 {
					return errors.New("no service")
				}
				return nil
			}
		})
		o := c.named("a")
		o.Peers().(*peers).clients.Store(1)
		began := time.Now()
		require.NoError(t, run(t.Context(), o, func(_ context.Context, life int) error {
			require.Equal(t, 3, life)
			return nil
		}))
		require.Equal(t, wakePause+2*wakePause, time.Since(began))
		require.True(t, o.Peers().Occupied())
		require.Zero(t, o.Generation())

		o.Abort(errors.New("again"))
		failures = 1 + wakeRetries
		o.Peers().(*peers).clients.Store(1)
		require.ErrorContains(t, run(t.Context(), o, nothing), "no service")
		require.False(t, o.Peers().Occupied(), "the clients are cut off")
	})
}

func TestStart_EndsAtItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := add(newHost(t, Config{StartTimeout: time.Minute}), func(c *Class) {
			c.OnStart = func(ctx context.Context, _ any) error { <-ctx.Done(); return nil }
		}).named("a")
		require.ErrorIs(t, run(t.Context(), o, nothing), context.DeadlineExceeded)
	})
}

func TestSweeper_EvictsIdleObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := add(newHost(t, Config{EvictAfter: time.Minute}), nil)
		idle, busy, occupied, ticking := c.named("idle"), c.named("busy"), c.named("occupied"), c.named("ticking")
		occupied.Peers().(*peers).clients.Store(1)
		for _, o := range []*Object{idle, occupied} {
			require.NoError(t, run(t.Context(), o, nothing))
		}
		var timer Timer
		require.NoError(t, run(t.Context(), ticking, func(ctx context.Context, _ int) error {
			timer.Begin(LifeOf(turn.From(ctx)), time.Hour, 0, nil)
			return nil
		}))
		ends := make(chan struct{})
		go func() { _ = run(t.Context(), busy, func(context.Context, int) error { <-ends; return nil }) }()
		time.Sleep(59 * time.Second)
		require.Len(t, c.Live(), 4)
		time.Sleep(3 * time.Second)
		require.ElementsMatch(t, []*Object{busy, occupied, ticking}, c.Live())
		close(ends)
		require.True(t, timer.Stop())
		occupied.Peers().Disconnect(0)
		time.Sleep(63 * time.Second)
		require.Empty(t, c.Live())
	})
}

func TestSweeper_EvictsTheLongestIdleBeyondTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := add(newHost(t, Config{MaxObjects: 8}), nil)
		for i := range 9 {
			time.Sleep(2 * time.Second) // so that a scan sees them one after the other
			require.NoError(t, c.Room(t.Context()))
			require.NoError(t, run(t.Context(), c.named(fmt.Sprint(i)), nothing))
		}
		synctest.Wait()
		require.Len(t, c.Live(), 8)
		require.Nil(t, c.Holder(NamedID("test", ID{}, "0")))
	})
}

func TestSweeper_HibernatesAnObjectWithClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := add(newHost(t, Config{HibernateAfter: time.Minute}), func(c *Class) { c.Hibernates = true }).named("a")
		o.Peers().(*peers).clients.Store(1)
		require.NoError(t, run(t.Context(), o, nothing))
		time.Sleep(59 * time.Second)
		require.False(t, o.Asleep())
		time.Sleep(3 * time.Second)
		require.True(t, o.Asleep())
		require.True(t, o.Peers().Occupied())
		require.NoError(t, run(t.Context(), o, func(_ context.Context, life int) error {
			require.Equal(t, 2, life)
			return nil
		}))
		require.Zero(t, o.Generation(), "clients survive it")
	})
}

// OnStop runs in 64 objects at a time, and one that hangs gives up its place
// after a second.
func TestStop_LimitsConcurrentStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, other atomic.Int32
		ends := make(chan struct{})
		h := newHost(t, Config{EvictAfter: time.Minute})
		c := add(h, func(c *Class) {
			c.OnStop = func(_ context.Context, _ any, reason StopReason) error {
				running.Add(1)
				if reason != StopIdle {
					other.Add(1)
				}
				<-ends
				return nil
			}
		})
		for i := range stopsAtOnce + 1 {
			require.NoError(t, run(t.Context(), c.named(fmt.Sprint(i)), nothing))
		}
		for running.Load() == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		require.EqualValues(t, stopsAtOnce, running.Load())
		time.Sleep(stopPlace)
		synctest.Wait()
		require.EqualValues(t, stopsAtOnce+1, running.Load())
		close(ends)
		synctest.Wait()
		require.Empty(t, c.Live())
		require.Zero(t, other.Load())
	})
}

func TestStopObjects_StopsBusyObjectsWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan string, 2)
		h := newHost(t, Config{})
		c := add(h, func(c *Class) {
			c.OnStop = func(_ context.Context, v any, reason StopReason) error {
				stopped <- fmt.Sprint(v, reason == StopShutdown)
				return nil
			}
		})
		require.NoError(t, run(t.Context(), c.named("idle"), nothing))
		ends := make(chan struct{})
		require.NoError(t, h.Enter())
		go func() {
			defer h.Work.Leave()
			_ = run(t.Context(), c.named("busy"), func(context.Context, int) error { <-ends; return nil })
		}()
		synctest.Wait()
		h.Work.Close()
		over := make(chan struct{})
		go func() { h.StopObjects(time.Second); close(over) }()
		<-h.IdleStopped()
		require.Equal(t, "1 true", <-stopped)
		close(ends)
		<-over
		require.Equal(t, "2 true", <-stopped)
	})
}
