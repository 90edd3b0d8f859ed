package turn_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/turn"
)

var background = context.Background()

func begin(wait context.Context, l *turn.Lock, life context.Context, from turn.Origin) (*turn.Event, error) {
	if life != background {
		l.Life = life
	}
	ticket, err := l.Queue(from)
	if err != nil {
		return nil, err
	}
	return ticket.Redeem(wait)
}

// run is what an owner of locks does for an event: begin, handle, end.
func run(ctx context.Context, l *turn.Lock, handle func(ctx context.Context) error) error {
	e, err := begin(ctx, l, background, turn.OriginOf(ctx))
	if err != nil {
		return err
	}
	defer e.End()
	return handle(e)
}

// call is run on behalf of the event of ctx, which waits for it.
func call(ctx context.Context, l *turn.Lock, handle func(ctx context.Context) error) error {
	e, err := turn.Yield(ctx)
	if err != nil {
		return err
	}
	defer e.Resume()
	return run(ctx, l, handle)
}

func keep(ctx context.Context, f func() error) error {
	e := turn.From(ctx)
	if err := e.Keep(); err != nil {
		return err
	}
	defer e.Unkeep()
	return f()
}

func sleep(ctx context.Context, d time.Duration) error {
	e, err := turn.Yield(ctx)
	if err != nil {
		return err
	}
	defer e.Resume()
	time.Sleep(d)
	return nil
}

func TestLock_RunsEventsOneAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l turn.Lock
		var order []int // the turn is its guard: the race detector watches
		first, err := begin(background, &l, background, turn.Origin{})
		require.NoError(t, err)
		for i := range 20 {
			go func() {
				_ = run(background, &l, func(context.Context) error {
					order = append(order, i)
					return nil
				})
			}()
			synctest.Wait()
		}
		require.Empty(t, order)
		first.End()
		synctest.Wait()
		require.Len(t, order, 20)
		require.IsIncreasing(t, order)
		require.Equal(t, uint64(21), l.Stats().Events)
		require.Equal(t, uint64(20), l.Stats().Waits)
	})
}

func TestQueue_WaitEndsWithTheCallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l turn.Lock
		first, err := begin(background, &l, background, turn.Origin{})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		_, err = begin(ctx, &l, background, turn.Origin{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		first.End()
		require.NoError(t, run(background, &l, func(context.Context) error { return nil }))
		require.True(t, l.CloseIdle(errors.New("done"), nil), "the cancelled event left nothing behind")
	})
}

func TestYield_LetsOthersInUnlessTheTurnIsKept(t *testing.T) {
	for _, kept := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var l turn.Lock
			var log []string
			go func() {
				_ = run(background, &l, func(ctx context.Context) error {
					log = append(log, "a begins")
					wait := func() error { return sleep(ctx, time.Second) }
					var err error
					if kept {
						err = keep(ctx, wait)
					} else {
						err = wait()
					}
					log = append(log, "a ends")
					return err
				})
			}()
			synctest.Wait()
			require.NoError(t, run(background, &l, func(context.Context) error {
				log = append(log, "b")
				return nil
			}))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if kept {
				require.Equal(t, []string{"a begins", "a ends", "b"}, log)
			} else {
				require.Equal(t, []string{"a begins", "b", "a ends"}, log)
			}
		})
	}
}

func TestEvent_ContextMayBeUsedConcurrentlyDuringAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l turn.Lock
		require.NoError(t, run(background, &l, func(ctx context.Context) error {
			e, err := turn.Yield(ctx)
			require.NoError(t, err)
			done := make(chan error)
			for range 3 {
				go func() { done <- sleep(ctx, time.Second) }()
			}
			for range 3 {
				require.NoError(t, <-done)
			}
			require.NoError(
				t, run(background, &l, func(context.Context) error { return nil }), "the turn is still free",
			)
			e.Resume()
			return nil
		}))
	})
}

func TestEvent_ContextEndsWithItsHandler(t *testing.T) {
	var l turn.Lock
	var stale context.Context
	require.NoError(t, run(background, &l, func(ctx context.Context) error {
		stale = ctx
		return nil
	}))
	_, err := turn.Yield(stale)
	require.ErrorIs(t, err, turn.ErrOutside)
	require.ErrorIs(t, turn.From(stale).Keep(), turn.ErrOutside)
}

func TestLock_StrictChecksTheGoroutine(t *testing.T) {
	l := turn.Lock{Strict: true}
	require.NoError(t, run(background, &l, func(ctx context.Context) error {
		stranger := make(chan error)
		go func() {
			_, err := turn.Yield(ctx)
			stranger <- err
		}()
		require.ErrorIs(t, <-stranger, turn.ErrOutside)
		return sleep(ctx, 0)
	}))
}

func TestLock_LenientReportsAContextStillInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l turn.Lock
		e, err := begin(background, &l, background, turn.Origin{})
		require.NoError(t, err)
		go func() { _ = sleep(e, time.Second) }()
		synctest.Wait()
		_, misuse := e.End()
		require.ErrorIs(t, misuse, turn.ErrOutside)
		time.Sleep(2 * time.Second)
		require.True(t, l.CloseIdle(errors.New("done"), nil), "the stray goroutine did not take the turn")
	})
}

func TestEnd_ReleasesAStrayGoroutineThatWaitsForTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l turn.Lock
		e := begun(t, &l, turn.Origin{})
		resume := make(chan struct{})
		go func() { // the handler does not wait for it
			w, err := turn.Yield(e)
			require.NoError(t, err)
			<-resume
			w.Resume()
		}()
		synctest.Wait()
		other := begun(t, &l, turn.Origin{})
		close(resume)
		synctest.Wait() // it is in the queue
		_, misuse := e.End()
		require.ErrorIs(t, misuse, turn.ErrOutside)
		other.End()
		require.True(t, l.Idle())
		begun(t, &l, turn.Origin{}).End() // the turn has not been given to the event that has ended
	})
}

func TestClose_RefusesQueuedEventsAndLetsOthersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l turn.Lock
		reason := errors.New("reset")
		var running int
		handler := func(ctx context.Context) error {
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			running++
			require.Equal(t, 1, running)
			running--
			return nil
		}
		results := make(chan error, 3)
		go func() { results <- run(background, &l, handler) }()
		go func() { results <- run(background, &l, handler) }()
		synctest.Wait() // both wait
		holder, err := begin(background, &l, background, turn.Origin{})
		require.NoError(t, err)
		go func() { results <- run(background, &l, handler) }()
		synctest.Wait() // queued
		require.False(t, l.CloseIdle(reason, nil))
		l.Close(reason)
		l.Close(errors.New("too late"))
		require.ErrorIs(t, <-results, reason)
		_, err = begin(background, &l, background, turn.Origin{})
		require.ErrorIs(t, err, reason)
		_, err = l.Queue(turn.Origin{})
		require.ErrorIs(t, err, reason)
		holder.End()
		require.NoError(t, <-results)
		require.NoError(t, <-results)
	})
}

func TestTicket_KeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l turn.Lock
		first, err := begin(background, &l, background, turn.Origin{})
		require.NoError(t, err)
		ticket, err := l.Queue(turn.Origin{})
		require.NoError(t, err)
		var log []string
		go func() {
			_ = run(background, &l, func(context.Context) error { log = append(log, "later"); return nil })
		}()
		synctest.Wait()
		first.End()
		e, err := ticket.Redeem(background)
		require.NoError(t, err)
		log = append(log, "ticket")
		e.End()
		synctest.Wait()
		require.Equal(t, []string{"ticket", "later"}, log)
	})
}

type key string

func TestEvent_HasTheCallersValuesAndTheObjectsLifetime(t *testing.T) {
	var l turn.Lock
	life, stop := context.WithCancelCause(context.WithValue(background, key("a"), 1))
	ctx, cancel := context.WithCancel(context.WithValue(background, key("b"), 2))
	e, err := begin(ctx, &l, life, turn.OriginOf(ctx))
	require.NoError(t, err)
	defer e.End()
	derived := context.WithValue(e, key("c"), 3)
	require.Equal(t, []any{1, 2, 3}, []any{derived.Value(key("a")), derived.Value(key("b")), derived.Value(key("c"))})
	require.Same(t, e, turn.From(derived))
	cancel()
	require.NoError(t, e.Err(), "a handler goes on when its client goes away")
	reason := errors.New("reset")
	stop(reason)
	require.ErrorIs(t, context.Cause(derived), reason)
}

func TestEvent_HasItsTurnAfterAWaitWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := turn.Lock{Strict: true}
		e, _ := begin(background, &a, background, turn.Origin{})
		outer, err := turn.Yield(e)
		require.NoError(t, err)
		go func() { // not waited for by the handler
			w, err := turn.Yield(e)
			require.NoError(t, err)
			time.Sleep(time.Second)
			w.Resume()
		}()
		synctest.Wait()
		outer.Resume() // the handler goes on, believing it has the turn
		ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
		defer cancel()
		result := make(chan error)
		go func() { // not the one that has the turn
			_, err := begin(ctx, &a, background, turn.Origin{})
			result <- err
		}()
		require.ErrorIs(t, <-result, context.DeadlineExceeded, "another event has the turn as well")
		e.End()
		time.Sleep(2 * time.Second) // until the stray goroutine has ended
	})
}

func TestEvent_DoesNotKeepItsStarterInMemory(t *testing.T) {
	var l turn.Lock
	first, err := begin(background, &l, background, turn.Follow(context.WithValue(background, key("a"), 1)))
	require.NoError(t, err)
	second, err := l.Queue(turn.Follow(context.WithValue(first, key("b"), 2)))
	require.NoError(t, err)
	gone := weak.Make(first)
	first.End()
	first = nil
	e, err := second.Redeem(background)
	require.NoError(t, err)
	runtime.GC()
	require.Nil(t, gone.Value())
	require.Equal(t, 1, e.Value(key("a")))
	e.End()
}
