package turn_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/turn"
)

// newBounded returns the context of an event that a caller bounds, and what
// stops the event's object.
func newBounded(t *testing.T, caller context.Context) (bounded *turn.Bounded, stop context.CancelCauseFunc) {
	t.Helper()
	life, stop := context.WithCancelCause(background)
	e, err := begin(background, &turn.Lock{}, life, turn.Inside(nil, caller))
	require.NoError(t, err)
	bounded = turn.Within(e, caller)
	t.Cleanup(func() {
		bounded.Release()
		e.End()
		stop(nil)
	})
	return bounded, stop
}

func TestBounded_EndsWithTheFirstOfItsContexts(t *testing.T) {
	reason := errors.New("reason")
	for _, test := range []struct {
		name  string
		end   func(caller, object context.CancelCauseFunc)
		err   error
		cause error
	}{
		{"the caller", func(caller, _ context.CancelCauseFunc) { caller(reason) }, context.Canceled, reason},
		{"the object", func(_, object context.CancelCauseFunc) { object(reason) }, context.Canceled, reason},
		{
			"time", func(_, _ context.CancelCauseFunc) { time.Sleep(time.Minute) },
			context.DeadlineExceeded, context.DeadlineExceeded,
		},
	} {
		for _, asked := range []string{"before", "after", "by a context that derives from it"} {
			t.Run(test.name+", asked "+asked, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					caller, cancel := context.WithCancelCause(background)
					defer cancel(nil)
					caller, expire := context.WithTimeout(caller, time.Minute)
					defer expire()
					bounded, stop := newBounded(t, caller)
					require.NoError(t, bounded.Err())
					require.NoError(t, context.Cause(bounded))
					ctx := context.Context(bounded)
					switch asked {
					case "before":
						select {
						case <-ctx.Done():
							require.Fail(t, "it has ended")
						default:
						}
					case "by a context that derives from it":
						derived, cancel := context.WithCancel(context.WithValue(bounded, key("c"), 1))
						defer cancel()
						ctx = derived
					}
					test.end(cancel, stop)
					synctest.Wait()
					require.ErrorIs(t, context.Cause(ctx), test.cause)
					require.Equal(t, test.err, ctx.Err())
					<-ctx.Done()
					require.Equal(t, test.err, bounded.Err())
				})
			})
		}
	}
}

func TestBounded_HasTheCallersDeadlineAndValues(t *testing.T) {
	caller, cancel := context.WithTimeout(context.WithValue(background, key("a"), 1), time.Hour)
	defer cancel()
	bounded, _ := newBounded(t, caller)
	want, _ := caller.Deadline()
	got, ok := bounded.Deadline()
	require.True(t, ok)
	require.Equal(t, want, got)
	require.Equal(t, 1, bounded.Value(key("a")))
	require.Same(t, bounded.Event, turn.From(bounded))
	require.Same(t, bounded.Event, turn.From(context.WithValue(bounded, key("b"), 2)))
	_ = bounded.Done()
	require.Equal(t, 1, bounded.Value(key("a")))
	require.Same(t, bounded.Event, turn.From(context.WithValue(bounded, key("b"), 2)))
}

func TestBounded_ReleaseDropsTheCallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, cancel := context.WithCancelCause(background)
		defer cancel(nil)
		bounded, _ := newBounded(t, caller)
		done := bounded.Done()
		bounded.Release()
		<-done
		cancel(errors.New("too late"))
		synctest.Wait()
		require.Equal(t, context.Canceled, context.Cause(bounded))
	})
}

func TestBounded_EndsIfItIsAskedAfterRelease(t *testing.T) {
	caller, cancel := context.WithCancel(background)
	defer cancel()
	bounded, _ := newBounded(t, caller)
	bounded.Release()
	done := bounded.Done()
	<-done
	require.Equal(t, context.Canceled, context.Cause(bounded))
	require.Equal(t, done, bounded.Done())
	bounded.Release() // nothing is left to release
}

func TestBounded_HasOneEndForAllWhoAsk(t *testing.T) {
	for range 100 {
		caller, cancel := context.WithCancel(background)
		bounded, _ := newBounded(t, caller)
		asked := make(chan (<-chan struct{}), 4)
		for range cap(asked) {
			go func() { asked <- bounded.Done() }()
		}
		first := <-asked
		for range cap(asked) - 1 {
			require.Equal(t, first, <-asked)
		}
		cancel()
		<-first
	}
}

func TestBoundOf_IsNotTheEndOfTheCallersObject(t *testing.T) {
	life, stop := context.WithCancel(background)
	defer stop()
	e, err := begin(background, &turn.Lock{}, life, turn.Origin{})
	require.NoError(t, err)
	defer e.End()
	caller, cancel := context.WithCancel(background)
	defer cancel()
	bounded := turn.Within(e, caller)
	defer bounded.Release()
	ofOwn, cancelOwn := context.WithCancel(bounded)
	defer cancelOwn()
	for _, unbounded := range []context.Context{
		background, e, context.WithValue(e, key("a"), 1), context.WithoutCancel(ofOwn),
	} {
		require.Nil(t, turn.BoundOf(unbounded))
	}
	for _, bound := range []context.Context{life, caller, ofOwn, context.WithValue(ofOwn, key("a"), 1)} {
		require.Equal(t, bound, turn.BoundOf(bound))
	}
	for _, own := range []context.Context{bounded, context.WithValue(bounded, key("a"), 1)} {
		require.Equal(t, caller, turn.BoundOf(own))
	}
	inner, err := begin(background, &turn.Lock{}, life, turn.Inside(nil, bounded)) // it has the values of bounded
	require.NoError(t, err)
	defer inner.End()
	require.Nil(t, turn.BoundOf(context.WithValue(inner, key("a"), 1)))
}
