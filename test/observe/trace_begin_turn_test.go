package observe_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// The turn decides the order of EventBegin, as it does that of handlers.
func TestTrace_EventBeginIsCalledBeforeEachHandlerInItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d, done fixture.TraceLog
		hops := newHops(t, dog.Options{EvictAfter: 1000 * time.Hour, Trace: &dog.Trace{
			EventBegin: func(ctx context.Context, e dog.EventInfo) context.Context {
				d.Note("begin %v", e.Wait)
				time.Sleep(time.Second)
				d.Note("begun")
				return ctx
			},
			EventDone: func(_ context.Context, e dog.EventInfo) {
				done.Note("%v %v", e.Wait, e.Run)
				time.Sleep(time.Hour) // beyond the next EventBegin
			},
		}}, nil, nil)
		time.Sleep(24 * time.Hour)
		d.Take()
		done.Take()
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() {
				time.Sleep(time.Duration(i)) // in this order
				_ = dog.CallErr(context.Background(), hops.Named("a"), (*hop).Do, do(func(context.Context) error {
					d.Note("handler")
					return nil
				}))
			})
		}
		all.Wait()
		time.Sleep(24 * time.Hour)
		require.Equal(t, []string{
			"begin 0s", "begun", "handler", "begin 999.999999ms", "begun", "handler",
		}, d.Take())
		require.Equal(t, []string{"0s 1s", "999.999999ms 1s"}, done.Take())
	})
}

// Each EventBegin has its EventDone, whatever becomes of the handler and of the
// object.
func TestTrace_EventBeginAndEventDoneComeInPairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		open := make(map[string]int)
		begun := 0
		hops := newHops(t, dog.Options{EvictAfter: time.Minute, Trace: &dog.Trace{
			EventBegin: func(ctx context.Context, e dog.EventInfo) context.Context {
				mu.Lock()
				defer mu.Unlock()
				begun++
				path := nameOf(&e) + strconv.Itoa(begun)
				open[path]++
				return context.WithValue(ctx, pathKey{}, path)
			},
			EventDone: func(ctx context.Context, _ dog.EventInfo) {
				mu.Lock()
				defer mu.Unlock()
				open[pathOf(ctx)]--
			},
		}}, nil, func(context.Context) {})
		for i := range 20 {
			for _, f := range []func(context.Context, *hop) error{
				do(nil),
				do(func(context.Context) error { return errors.New("on purpose") }),
				do(func(context.Context) error { panic("on purpose") }),
				func(_ context.Context, h *hop) error { h.Abort(errors.New("on purpose")); return nil },
				func(_ context.Context, h *hop) error { return h.Storage().Alarms().Set(time.Now().Add(time.Second)) },
				do(func(ctx context.Context) error {
					return dog.Go(ctx, func(ctx context.Context) error { return fixture.Pause(ctx, time.Second) })
				}),
			} {
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*time.Second/10)
					defer cancel()
					_ = dog.CallErr(ctx, hops.Named(strconv.Itoa(i)), (*hop).Do, f)
				}()
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Greater(t, begun, 100)
		require.Len(t, open, begun)
		for path, n := range open {
			require.Zero(t, n, path)
		}
	})
}

func TestTrace_EventBeginThatHangsHoldsUpOnlyItsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		until := make(chan struct{})
		hops := newHops(t, dog.Options{Trace: &dog.Trace{
			EventBegin: func(ctx context.Context, e dog.EventInfo) context.Context {
				if hangs.Load() && e.Object.Name == "a" {
					<-until
				}
				return ctx
			},
		}}, nil, nil)
		hangs.Store(true)
		ended := make(chan error, 2)
		for range 2 {
			go func() { ended <- dog.CallErr(context.Background(), hops.Named("a"), (*hop).Do, do(nil)) }()
		}
		synctest.Wait()
		began := time.Now()
		for _, name := range []string{"b", "new"} {
			require.NoError(t, dog.CallErr(t.Context(), hops.Named(name), (*hop).Do, do(nil)))
		}
		require.Equal(t, began, time.Now())
		require.Empty(t, ended)
		close(until)
		require.NoError(t, errors.Join(<-ended, <-ended))
	})
}

// A hook that uses the object which is about to run a handler would wait for
// itself, even with a context of its own.
func TestTrace_EventBeginThatUsesItsObjectIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hops *dog.Namespace[hop]
		var uses atomic.Bool
		used := make(chan error, 2)
		hops = newHops(t, dog.Options{CheckTurns: true, Trace: &dog.Trace{
			EventBegin: func(ctx context.Context, _ dog.EventInfo) context.Context {
				if uses.CompareAndSwap(true, false) {
					used <- dog.CallErr(ctx, hops.Named("a"), (*hop).Do, do(nil))
					used <- dog.CallErr(context.Background(), hops.Named("a"), (*hop).Do, do(nil))
				}
				return ctx
			},
		}}, nil, nil)
		uses.Store(true)
		require.NoError(t, dog.CallErr(t.Context(), hops.Named("a"), (*hop).Do, do(nil)))
		require.Len(t, used, 2)
		require.ErrorIs(t, <-used, dog.ErrDeadlock)
		require.ErrorIs(t, <-used, dog.ErrDeadlock)
	})
}

// It must not panic. If it does, that is no worse than in a handler.
func TestTrace_EventBeginThatPanicsResetsItsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var panics atomic.Bool
		var d fixture.TraceLog
		trace := d.Trace()
		trace.EventBegin = func(ctx context.Context, _ dog.EventInfo) context.Context {
			if panics.CompareAndSwap(true, false) {
				panic("on purpose")
			}
			return ctx
		}
		hops := newHops(t, dog.Options{Trace: trace}, nil, nil)
		d.Take()
		panics.Store(true)
		ran := false
		err := dog.CallErr(t.Context(), hops.Named("a"), (*hop).Do, do(func(context.Context) error {
			ran = true
			return nil
		}))
		var panicked *dog.PanicError
		require.ErrorAs(t, err, &panicked)
		require.Equal(t, "on purpose", panicked.Value)
		require.False(t, ran)
		require.NoError(t, dog.CallErr(t.Context(), hops.Named("a"), (*hop).Do, do(nil)))
		require.Equal(t, []string{"hop reset", "hop Call", "hop started", "hop OnStart", "hop Call"}, d.Take())
	})
}

// Without EventBegin, EventDone gets the context that it would have got. It is
// the caller's in its values only, so it outlives the caller, and a hook that
// uses it to call objects does not wait as a part of the caller's handler.
func TestTrace_EventDoneHasTheCallersValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hops *dog.Namespace[hop]
		type end struct {
			path, from   string
			err, reached error
		}
		var told atomic.Pointer[end]
		told.Store(new(end)) // until the objects are there
		hops = newHops(t, dog.Options{Trace: &dog.Trace{EventDone: func(ctx context.Context, e dog.EventInfo) {
			if e.Object.Name != "b" || !told.CompareAndSwap(nil, &end{}) {
				return
			}
			go func() { // and the caller's handler ends
				time.Sleep(time.Minute)
				err := dog.CallErr(ctx, hops.Named("a"), (*hop).Do, do(nil))
				told.Store(&end{pathOf(ctx), e.From.Name, ctx.Err(), err})
			}()
		}}}, nil, nil)
		told.Store(nil)
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), pathKey{}, "test"))
		left := errors.New("the caller has left")
		require.ErrorIs(t, dog.CallErr(ctx, hops.Named("a"), (*hop).Do, do(func(ctx context.Context) error {
			type key struct{}
			ctx = context.WithValue(ctx, key{}, "derived") // so that it leads to the event of a
			return dog.CallErr(ctx, hops.Named("b"), (*hop).Do, do(func(context.Context) error {
				cancel(left)
				return nil
			}))
		})), left)
		time.Sleep(time.Hour)
		require.Equal(t, &end{path: "test", from: "a"}, told.Load())
	})
}
