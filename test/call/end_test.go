package call_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestCall_PanicOfAMethodIsAResetError(t *testing.T) {
	_, runners := newRunners(t, dog.Options{})
	ada, bob := runners.Named("ada"), runners.Named("bob")
	require.NoError(t, dog.CallErr0(context.Background(), bob, (*runner).Tick))
	require.NoError(t, run(context.Background(), ada, func(ctx context.Context, c *runner) error {
		c.done++
		err := run(ctx, bob, func(context.Context, *runner) error { panic(io.ErrNoProgress) })
		require.ErrorIs(t, err, dog.ErrReset)
		require.ErrorIs(t, err, io.ErrNoProgress)
		var p *dog.PanicError
		require.ErrorAs(t, err, &p)
		require.Equal(t, 1, c.done)
		n, err := dog.Call0(ctx, bob, (*runner).Count)
		require.Zero(t, n, "the next call finds a new object")
		return err
	}))
}

func TestCall_GoexitOfAMethodEndsTheCallersGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, runners := newRunners(t, dog.Options{})
		ada, bob := runners.Named("ada"), runners.Named("bob")
		require.NoError(t, dog.CallErr0(context.Background(), ada, (*runner).Tick))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = run(context.Background(), ada, func(ctx context.Context, _ *runner) error {
				return run(ctx, bob, func(context.Context, *runner) error { runtime.Goexit(); return nil })
			})
			t.Error("the goroutine goes on")
		}()
		<-ended
		n, err := dog.Call0(context.Background(), ada, (*runner).Count)
		require.NoError(t, err)
		require.Zero(t, n, "both have been reset")
	})
}

func TestCall_ResetEndsRunningCallsButNotQueuedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, runners := newRunners(t, dog.Options{})
		ada := runners.Named("ada")
		reason := errors.New("enough")
		var underWay, waiting error
		var all sync.WaitGroup
		all.Go(func() {
			underWay = run(
				context.Background(), ada,
				func(ctx context.Context, c *runner) error { c.done++; return fixture.Idle(ctx, time.Hour) },
			)
		})
		synctest.Wait()
		all.Go(func() {
			_ = run(context.Background(), ada, func(_ context.Context, c *runner) error {
				time.Sleep(time.Second)
				c.Abort(reason)
				return nil
			})
		})
		synctest.Wait()
		all.Go(func() {
			waiting = run(context.Background(), ada, func(_ context.Context, c *runner) error {
				require.Zero(t, c.done)
				return nil
			})
		})
		all.Wait()
		require.ErrorIs(t, underWay, dog.ErrReset)
		require.ErrorIs(t, underWay, reason)
		require.NoError(t, waiting)
	})
}

func TestCall_ReturnsTheResetOfItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, runners := newRunners(t, dog.Options{})
		ada, bob := runners.Named("ada"), runners.Named("bob")
		reason := errors.New("enough")
		finished := false
		err := run(context.Background(), ada, func(ctx context.Context, c *runner) error {
			time.AfterFunc(time.Second, func() { c.Abort(reason) })
			err := run(ctx, bob, func(ctx context.Context, _ *runner) error {
				err := fixture.Idle(ctx, time.Minute)
				finished = err == nil
				return err
			})
			require.ErrorIs(t, err, reason)
			return nil
		})
		require.ErrorIs(t, err, reason)
		require.True(t, finished, "the callee goes on, as when a client goes away")
	})
}

func TestCall_ShutdownWaitsForCallsAndLetsHandlersMakeThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, runners := newRunners(t, dog.Options{})
		ada, bob := runners.Named("ada"), runners.Named("bob")
		result := make(chan error, 1)
		go func() {
			result <- run(context.Background(), ada, func(ctx context.Context, _ *runner) error {
				if err := fixture.Idle(ctx, time.Second); err != nil {
					return err
				}
				return dog.CallErr0(ctx, bob, (*runner).Tick)
			})
		}()
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- rt.Shutdown(context.Background()) }()
		synctest.Wait()
		require.ErrorIs(t, dog.CallErr0(context.Background(), bob, (*runner).Tick), dog.ErrShutdown)
		require.NoError(t, <-result)
		require.NoError(t, <-down)
	})
}

func TestCall_EndsWhenShutdownTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, runners := newRunners(t, dog.Options{})
		ada := runners.Named("ada")
		results := make(chan error, 2)
		for range 2 { // one runs, one waits for the turn
			go func() {
				results <- run(context.Background(), ada, func(ctx context.Context, _ *runner) error {
					return dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error {
						return fixture.Idle(ctx, time.Hour)
					})
				})
			}()
		}
		synctest.Wait()
		impatient, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, rt.Shutdown(impatient), context.DeadlineExceeded)
		require.ErrorIs(t, <-results, dog.ErrShutdown)
		require.ErrorIs(t, <-results, dog.ErrShutdown)
	})
}
