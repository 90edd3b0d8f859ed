package call_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

func newGatedRunners(t *testing.T) (*dog.Namespace[runner], *storetest.Engine) {
	t.Helper()
	engine := storetest.New()
	_, runners := newRunners(t, dog.Options{Store: fixture.StoreOf(engine)})
	engine.Flush()
	t.Cleanup(engine.Prompt)
	return runners, engine
}

func keepKey(c *runner) error { return c.Storage().Put("key", []byte("so")) }

func TestCall_ReturnsWhenTheCalleesWritesAreDurable(t *testing.T) {
	for name, failed := range map[string]error{"result": nil, "error": io.ErrNoProgress} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runners, engine := newGatedRunners(t)
				ada := runners.Named("ada")
				result := make(chan error, 2)
				go func() {
					result <- run(context.Background(), ada, func(_ context.Context, c *runner) error {
						return errors.Join(keepKey(c), failed)
					})
				}()
				synctest.Wait()
				require.Empty(t, result)

				// The object goes on; what it stores next is none of the first
				// call's business.
				go func() {
					result <- run(context.Background(), ada, func(_ context.Context, c *runner) error {
						require.NoError(t, keepKey(c))
						engine.Flush()
						time.Sleep(time.Second)
						return io.ErrShortBuffer
					})
				}()
				synctest.Wait()
				require.Len(t, result, 1)
				require.ErrorIs(t, <-result, failed)
				time.Sleep(time.Minute)
				require.Empty(t, result)
				engine.Flush()
				require.ErrorIs(t, <-result, io.ErrShortBuffer)
			})
		})
	}
}

func TestCall_BeginsWhenTheCallersWritesAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runners, engine := newGatedRunners(t)
		ada, bob := runners.Named("ada"), runners.Named("bob")
		var called atomic.Bool
		result := make(chan error, 1)
		go func() {
			result <- run(context.Background(), ada, func(ctx context.Context, c *runner) error {
				return errors.Join(keepKey(c), run(ctx, bob, func(context.Context, *runner) error {
					called.Store(true)
					return nil
				}))
			})
		}()
		synctest.Wait()
		require.False(t, called.Load())
		engine.Flush()
		require.NoError(t, <-result)
		require.True(t, called.Load())
	})
}

func TestCall_LostResultIsAResetError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runners, engine := newGatedRunners(t)
		ada := runners.Named("ada")
		result := make(chan error, 1)
		go func() {
			result <- run(context.Background(), ada, func(_ context.Context, c *runner) error { return keepKey(c) })
		}()
		synctest.Wait()
		engine.Fail(io.ErrNoProgress)
		err := <-result
		require.ErrorIs(t, err, dog.ErrReset)
		require.ErrorIs(t, err, io.ErrNoProgress)
		var reset *dog.ResetError
		require.ErrorAs(t, err, &reset)
		require.Equal(t, ada.ID(), reset.Object)
	})
}

func TestCall_WaitForTheDiskEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runners, _ := newGatedRunners(t)
		limited, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := run(limited, runners.Named("ada"), func(_ context.Context, c *runner) error { return keepKey(c) })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, dog.ErrReset)
	})
}

func TestCall_ErrorThatUndoesWritesDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)})
		runners, err := dog.RegisterObject(rt, "runner", &dog.ObjectOptions[runner]{RollbackOnError: true})
		require.NoError(t, err)
		engine.Flush()
		t.Cleanup(engine.Prompt)
		err = run(context.Background(), runners.Named("ada"), func(_ context.Context, c *runner) error {
			return errors.Join(keepKey(c), io.ErrNoProgress)
		})
		require.ErrorIs(t, err, io.ErrNoProgress)
		require.NotErrorIs(t, err, dog.ErrReset)
	})
}
