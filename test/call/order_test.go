package call_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// Whatever the objects do meanwhile, the calls of one goroutine run in order,
// each at most once, and their results match what happened.
func TestCalls_ThroughOneStubRunInOrder(t *testing.T) {
	type step struct {
		kind string
		wait time.Duration
	}
	steps := rapid.Custom(func(t *rapid.T) step {
		return step{
			rapid.SampledFrom([]string{"fine", "fine", "wait", "panic", "abort", "error", "hurry"}).Draw(t, "kind"),
			time.Duration(rapid.IntRange(0, 3).Draw(t, "wait")) * time.Second,
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		plans := rapid.SliceOfN(rapid.SliceOfN(steps, 1, 8), 1, 4).Draw(rt, "plans")
		synctest.Test(t, func(t *testing.T) {
			_, runners := newRunners(t, dog.Options{EvictAfter: time.Second})
			ada := runners.Named("ada")
			var mu sync.Mutex
			ran := make([][]int, len(plans)) // by caller, in the order in which they began
			var all sync.WaitGroup
			for who, plan := range plans {
				all.Go(func() {
					for i, s := range plan {
						ctx, cancel := context.Background(), context.CancelFunc(func() {})
						if s.kind == "hurry" {
							ctx, cancel = context.WithTimeout(ctx, time.Second)
						}
						began, ended := false, false
						err := run(ctx, ada, func(ctx context.Context, c *runner) error {
							began = true
							mu.Lock()
							ran[who] = append(ran[who], i)
							mu.Unlock()
							c.done++
							switch s.kind {
							case "wait":
								if err := fixture.Idle(ctx, s.wait); err != nil {
									return err
								}
							case "panic":
								panic("as planned")
							case "abort":
								c.Abort(io.ErrNoProgress)
							case "error":
								return io.ErrShortBuffer
							case "hurry":
								time.Sleep(s.wait) // keeps the turn
							}
							ended = true
							return nil
						})
						cancel()
						switch {
						case err == nil:
							require.True(t, ended)
						case errors.Is(err, io.ErrShortBuffer):
							require.True(t, began)
							require.Equal(t, "error", s.kind)
						case errors.Is(err, context.DeadlineExceeded):
							require.Equal(t, "hurry", s.kind)
						default:
							require.ErrorIs(t, err, dog.ErrReset)
							require.True(t, began, "what has not begun is not lost by a reset")
						}
					}
				})
			}
			all.Wait()
			for _, order := range ran {
				for i := 1; i < len(order); i++ {
					require.Less(t, order[i-1], order[i])
				}
			}
		})
	})
}
