package turn_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/turn"
)

// newValued returns the context of an event with the value 2 of key "added".
// Its origin has the value 1 of key "origin".
func newValued(t *testing.T) (v *turn.Valued, given context.Context) {
	t.Helper()
	life, stop := context.WithCancel(background)
	t.Cleanup(stop)
	e, err := begin(background, &turn.Lock{}, life, turn.Inside(nil, context.WithValue(background, key("origin"), 1)))
	require.NoError(t, err)
	t.Cleanup(func() { e.End() })
	given = turn.Apart(e.Values())
	return e.With(context.WithValue(given, key("added"), 2), given), given
}

func TestValued_IsTheContextOfItsEvent(t *testing.T) {
	v, _ := newValued(t)
	bounding, cancel := context.WithTimeout(background, time.Hour)
	defer cancel()
	bounded := turn.Within(v, bounding)
	defer bounded.Release()
	for name, ctx := range map[string]context.Context{
		"itself": v, "derived": context.WithValue(v, key("c"), 3), "bounded": bounded,
	} {
		require.Same(t, v.Event, turn.From(ctx), name)
		if bound := turn.BoundOf(ctx); name == "bounded" {
			require.Equal(t, bounding, bound)
		} else {
			require.Nil(t, bound, name)
		}
		require.Equal(t, 1, ctx.Value(key("origin")), name)
		require.Equal(t, 2, ctx.Value(key("added")), name)
		require.NoError(t, context.Cause(ctx))
		_ = ctx.Done()
		require.Equal(t, 2, ctx.Value(key("added")), name)
		require.NoError(t, context.Cause(ctx))
	}
}

func TestValued_PassesItsValuesOnToEventsThatItWaitsFor(t *testing.T) {
	v, _ := newValued(t)
	bounding, cancel := context.WithCancel(background)
	defer cancel()
	bounded := turn.Within(v, bounding)
	defer bounded.Release()
	for name, ctx := range map[string]context.Context{"itself": v, "bounded": bounded} {
		for _, from := range []turn.Origin{turn.Inside(v.Event, ctx), turn.OriginOf(ctx)} {
			require.Equal(t, 2, from.Values.Value(key("added")), name)
			require.Nil(t, turn.From(from.Values), name)
		}
		follows := turn.Follow(ctx)
		require.Equal(t, 1, follows.Values.Value(key("origin")), name)
		require.Nil(t, follows.Values.Value(key("added")), name)
	}
}

// A context that has nothing to do with the given one takes none of its values
// away.
func TestValued_HasTheValuesOfBothContexts(t *testing.T) {
	v, given := newValued(t)
	other := context.WithValue(context.WithValue(background, key("added"), 3), key("origin"), 4)
	both := v.With(other, given)
	require.Equal(t, 3, both.Value(key("added")))
	require.Equal(t, 4, both.Value(key("origin")))
	both = v.With(context.WithValue(background, key("added"), 3), given)
	require.Equal(t, 3, both.Value(key("added")))
	require.Equal(t, 1, both.Value(key("origin")))
	require.Same(t, v.Event, turn.From(both))
}

func TestApart_HasOnlyValues(t *testing.T) {
	var none context.Context
	require.Nil(t, turn.Apart(none).Value(key("origin")))
	v, _ := newValued(t)
	ended, cancel := context.WithTimeout(v, time.Hour)
	cancel()
	apart := turn.Apart(ended)
	require.Equal(t, 2, apart.Value(key("added")))
	require.Nil(t, turn.From(apart))
	require.Nil(t, apart.Done())
	require.NoError(t, context.Cause(apart))
	_, limited := apart.Deadline()
	require.False(t, limited)
}

func TestCausedBy_IsTheCallerUntilItLeaves(t *testing.T) {
	v, _ := newValued(t)
	require.Nil(t, v.CausedBy())
	from := turn.OriginOf(v)
	e, err := begin(background, &turn.Lock{}, background, from)
	require.NoError(t, err)
	defer e.End()
	require.Same(t, v.Event, e.CausedBy())
	from.Call.Over()
	require.Nil(t, e.Caller())
	require.Same(t, v.Event, e.CausedBy(), "it has caused the event")
	e.Orphan()
	require.Nil(t, e.CausedBy())
}

// A handler may ask who waits for it in the moment in which its caller leaves.
func TestCaller_MayLeaveAtAnyTime(t *testing.T) {
	v, _ := newValued(t)
	e, err := begin(background, &turn.Lock{}, background, turn.OriginOf(v))
	require.NoError(t, err)
	defer e.End()
	var asking sync.WaitGroup
	asking.Go(func() {
		for e.Caller() != nil {
			runtime.Gosched()
		}
	})
	e.Orphan()
	asking.Wait()
}
