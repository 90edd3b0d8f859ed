package call_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestCalls_OfAllForms(t *testing.T) {
	_, runners := newRunners(t, dog.Options{})
	ada := runners.Named("ada")
	require.NoError(t, dog.CallErr0(context.Background(), ada, (*runner).Tick))
	n, err := dog.Call0(context.Background(), ada, (*runner).Count)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(
		t,
		dog.CallErr(
			context.Background(), ada, (*runner).Run,
			func(ctx context.Context, c *runner) error { return c.Tick(ctx) },
		),
	)
	text, err := dog.Call(context.Background(), ada, (*runner).Ask, func(_ context.Context, c *runner) (string, error) {
		return fmt.Sprint(c.Name(), c.done), nil
	})
	require.NoError(t, err)
	require.Equal(t, "ada2", text)
}

func TestCall_ReachesGroupsReplicasAndGenericTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		text, err := dog.Call(context.Background(), h.Group.Stub, (*fixture.Lobby).Greet, "ada")
		require.NoError(t, err)
		require.Equal(t, "main greets ada", text)
		h.Enter("ada")
		stub, err := h.Identify(context.Background(), "bob")
		require.NoError(t, err)
		loads := h.Loads()
		for range 3 { // more than there is room for
			text, err = dog.Call(context.Background(), stub, (*fixture.Room).Greet, "bob")
			require.NoError(t, err)
			require.Equal(t, "a room greets bob", text)
		}
		require.Equal(t, loads, h.Loads(), "a call takes no place")

		stub.Release()
		time.Sleep(2 * time.Minute)
		_, err = dog.Call(context.Background(), stub, (*fixture.Room).Greet, "bob")
		require.ErrorIs(t, err, dog.ErrReplicaGone)

		boxes, err := dog.RegisterObject[drawer[string]](h.Runtime, "drawer", nil)
		require.NoError(t, err)
		require.NoError(t, dog.CallErr(context.Background(), boxes.Named("a"), (*drawer[string]).Put, "hello"))
		text, err = dog.Call0(context.Background(), boxes.Named("a"), (*drawer[string]).Get)
		require.NoError(t, err)
		require.Equal(t, "hello", text)
	})
}

// On a cluster they would be copied: see Call.
func TestCall_PassesGoValuesUnchanged(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	drawers, err := dog.RegisterObject[drawer[[]int]](rt, "drawer", nil)
	require.NoError(t, err)
	stub := drawers.Named("a")
	passed := []int{1}
	require.NoError(t, dog.CallErr(t.Context(), stub, (*drawer[[]int]).Put, passed))
	returned, err := dog.Call0(t.Context(), stub, (*drawer[[]int]).Get)
	require.NoError(t, err)
	require.Same(t, &passed[0], &returned[0])
}

func TestCall_OnlyExportedMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		_, runners := newRunners(t, dog.Options{Trace: &dog.Trace{EventDone: func(_ context.Context, e dog.EventInfo) {
			if e.Kind == dog.EventCall {
				events = append(events, e.Method)
			}
		}}})
		ada := runners.Named("ada")
		require.NoError(t, dog.CallErr0(context.Background(), ada, (*runner).Tick))
		for name, f := range map[string]func(*runner, context.Context) error{
			"closure": func(*runner, context.Context) error { return nil }, "function": foreignTick,
			"unexported": (*runner).hidden, "nil": nil,
		} {
			fixture.RequireUsage(t, dog.CallErr0(context.Background(), ada, f), "not an exported method", name)
		}
		synctest.Wait() // for the hook
		require.Equal(t, []string{"Tick"}, events)
		fixture.RequireUsage(
			t, dog.CallErr0(context.Background(), dog.Stub[runner]{}, (*runner).Tick), "not made by a runtime",
		)
	})
}

func TestCall_ReturnsTheMethodsErrorUnchanged(t *testing.T) {
	_, runners := newRunners(t, dog.Options{})
	refused := &dog.CloseError{Code: 3001}
	text, err := dog.Call(
		context.Background(), runners.Named("ada"), (*runner).Ask,
		func(context.Context, *runner) (string, error) {
			return "half", fmt.Errorf("asked: %w", refused)
		},
	)
	var got *dog.CloseError
	require.ErrorAs(t, err, &got)
	require.Same(t, refused, got)
	require.Empty(t, text)
}

func TestCall_MethodEndsWithItsCallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, runners := newRunners(t, dog.Options{})
		ada, bob := runners.Named("ada"), runners.Named("bob")
		limited, cancel := context.WithTimeout(
			context.WithValue(context.Background(), contextKey{}, "value"), time.Minute,
		)
		defer cancel()
		began := time.Now()
		err := run(limited, ada, func(ctx context.Context, c *runner) error {
			require.Equal(t, "value", ctx.Value(contextKey{}))
			return run(ctx, bob, func(ctx context.Context, c *runner) error {
				deadline, ok := ctx.Deadline()
				require.True(t, ok)
				require.Equal(t, began.Add(time.Minute), deadline)
				err := fixture.Idle(ctx, time.Hour)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				c.done++
				return nil
			})
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, began.Add(time.Minute), time.Now())
		n, err := dog.Call0(context.Background(), bob, (*runner).Count)
		require.NoError(t, err)
		require.Equal(t, 1, n, "what the method did stays")

		reason := errors.New("enough")
		canceled, stop := context.WithCancelCause(context.Background())
		time.AfterFunc(time.Second, func() { stop(reason) })
		require.ErrorIs(
			t,
			run(canceled, ada, func(ctx context.Context, _ *runner) error { return fixture.Idle(ctx, time.Hour) }),
			reason,
		)
		require.ErrorIs(t, run(canceled, ada, func(context.Context, *runner) error { panic("unreachable") }), reason)
	})
}

func TestCall_WaitForTheTurnEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, runners := newRunners(t, dog.Options{})
		ada := runners.Named("ada")
		go func() {
			_ = run(context.Background(), ada, func(ctx context.Context, _ *runner) error {
				return dog.BlockConcurrencyWhile(
					ctx, func(ctx context.Context) error { return fixture.Idle(ctx, time.Hour) },
				)
			})
		}()
		synctest.Wait()
		limited, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.ErrorIs(
			t, run(limited, ada, func(context.Context, *runner) error { panic("unreachable") }),
			context.DeadlineExceeded,
		)
		n, err := dog.Call0(context.Background(), ada, (*runner).Count)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

func TestCall_GivesUpTheCallersTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, runners := newRunners(t, dog.Options{})
		ada, bob := runners.Named("ada"), runners.Named("bob")
		log := make(chan string, 10)
		require.NoError(t, run(context.Background(), ada, func(ctx context.Context, c *runner) error {
			require.NoError(t, dog.Go(ctx, func(context.Context) error { log <- "another event of ada"; return nil }))
			err := run(ctx, bob, func(ctx context.Context, _ *runner) error {
				err := fixture.Idle(ctx, time.Second)
				log <- "bob"
				return errors.Join(
					err, run(ctx, ada, func(context.Context, *runner) error { log <- "back at ada"; return nil }),
				)
			})
			log <- "ada"
			return errors.Join(
				err, run(ctx, ada, func(context.Context, *runner) error { log <- "ada herself"; return nil }),
			)
		}))
		for _, want := range []string{"another event of ada", "bob", "back at ada", "ada", "ada herself"} {
			require.Equal(t, want, <-log)
		}
	})
}

func TestCalls_InvalidOnesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, runners := newRunners(t, dog.Options{})
		ada, bob := runners.Named("ada"), runners.Named("bob")
		kept := func(ctx context.Context, f func(ctx context.Context) error) error {
			var err error
			return errors.Join(
				dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error { err = f(ctx); return nil }), err,
			)
		}
		err := run(context.Background(), ada, func(ctx context.Context, _ *runner) error {
			return kept(ctx, func(ctx context.Context) error {
				return run(
					ctx, bob,
					func(ctx context.Context, _ *runner) error { return dog.CallErr0(ctx, ada, (*runner).Tick) },
				)
			})
		})
		require.ErrorIs(t, err, dog.ErrDeadlock)

		var stale context.Context
		require.NoError(t, run(context.Background(), ada, func(ctx context.Context, c *runner) error {
			stale = ctx
			err := c.Storage().Transaction(func() error { return dog.CallErr0(ctx, bob, (*runner).Tick) })
			require.ErrorIs(t, err, dog.ErrInTransaction)
			return nil
		}))
		require.ErrorIs(t, dog.CallErr0(stale, bob, (*runner).Tick), dog.ErrOutsideTurn)
		n, err := dog.Call0(context.Background(), bob, (*runner).Count)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

func TestCalls_BeyondTheBoundAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, runners := newRunners(t, dog.Options{MaxWaiting: 2})
		ada := runners.Named("ada")
		results := make(chan error, 5)
		for range 5 {
			go func() {
				// keeps the turn
				results <- run(context.Background(), ada, func(context.Context, *runner) error {
					time.Sleep(time.Second)
					return nil
				})
			}()
			synctest.Wait()
		}
		for range 2 {
			require.ErrorIs(t, <-results, dog.ErrOverloaded)
		}
		for range 3 {
			require.NoError(t, <-results)
		}
	})
}

func TestCall_ReachesAnObjectThatHasBeenEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, runners := newRunners(t, dog.Options{EvictAfter: time.Second})
		ada := runners.Named("ada")
		require.NoError(t, dog.CallErr0(context.Background(), ada, (*runner).Tick))
		time.Sleep(time.Minute)
		require.Empty(t, rt.Stats().Groups)
		for range runners.Objects() {
			require.Fail(t, "the object is still in memory")
		}
		n, err := dog.Call0(context.Background(), ada, (*runner).Count)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}
