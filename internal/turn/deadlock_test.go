package turn_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/turn"
)

func TestDeadlock(t *testing.T) {
	nothing := func(context.Context) error { return nil }

	t.Run("an object that calls itself while it keeps its turn", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var a turn.Lock
			err := run(background, &a, func(ctx context.Context) error {
				require.NoError(t, call(ctx, &a, nothing), "without keeping it there is nothing wrong with it")
				return keep(ctx, func() error { return call(ctx, &a, nothing) })
			})
			require.ErrorIs(t, err, turn.ErrDeadlock)
			require.NoError(t, run(background, &a, nothing))
		})
	})

	t.Run("through another object", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var a, b turn.Lock
			err := run(background, &a, func(ctx context.Context) error {
				return keep(ctx, func() error {
					return call(ctx, &b, func(ctx context.Context) error { return call(ctx, &a, nothing) })
				})
			})
			require.ErrorIs(t, err, turn.ErrDeadlock)
		})
	})

	t.Run("two that keep their turns and call each other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var a, b turn.Lock
			cross := func(from, to *turn.Lock) error {
				return run(background, from, func(ctx context.Context) error {
					return keep(ctx, func() error {
						time.Sleep(time.Second) // until both have begun
						return call(ctx, to, nothing)
					})
				})
			}
			results := make(chan error, 2)
			go func() { results <- cross(&a, &b) }()
			go func() { results <- cross(&b, &a) }()
			err1, err2 := <-results, <-results
			require.ErrorIs(t, errors.Join(err1, err2), turn.ErrDeadlock)
			require.True(t, err1 == nil || err2 == nil, "one of them is enough")
		})
	})

	t.Run("closed by an event that takes its turn back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var a, b turn.Lock
			results := make(chan error, 2)
			go func() {
				results <- run(background, &a, func(ctx context.Context) error {
					return keep(ctx, func() error {
						return call(ctx, &b, func(ctx context.Context) error { return sleep(ctx, time.Second) })
					})
				})
			}()
			synctest.Wait()
			go func() {
				results <- run(background, &b, func(ctx context.Context) error {
					return keep(ctx, func() error { return call(ctx, &a, nothing) })
				})
			}()
			require.ErrorIs(t, <-results, turn.ErrDeadlock)
			require.NoError(t, <-results)
		})
	})

	t.Run("by joining", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var a, b turn.Lock
			blocker, err := begin(background, &b, background, turn.Origin{})
			require.NoError(t, err)
			var work *turn.Event
			go func() {
				_ = run(background, &b, func(ctx context.Context) error {
					work = turn.From(ctx)
					return call(ctx, &a, nothing)
				})
			}()
			err = run(background, &a, func(ctx context.Context) error {
				return keep(ctx, func() error {
					blocker.End()
					synctest.Wait() // work waits for a
					return work.Join(turn.From(ctx))
				})
			})
			require.ErrorIs(t, err, turn.ErrDeadlock)
		})
	})

	t.Run("a caller that no longer waits closes no cycle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var a, b turn.Lock
			late := make(chan error, 1)
			require.NoError(t, run(background, &a, func(ctx context.Context) error {
				return keep(ctx, func() error {
					from := turn.OriginOf(ctx)
					child, err := begin(ctx, &b, background, from)
					require.NoError(t, err)
					from.Call.Over()
					go func() {
						defer child.End()
						late <- call(child, &a, nothing)
					}()
					synctest.Wait()
					return nil
				})
			}))
			require.NoError(t, <-late)
		})
	})
}

// One Resume closes two circles; only one is broken.
func TestDeadlock_EveryCycleIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b, c turn.Lock
		keep := func(l *turn.Lock) *turn.Event {
			e, err := begin(background, l, background, turn.Origin{})
			require.NoError(t, err)
			require.NoError(t, e.Keep())
			return e
		}
		e, err := begin(background, &a, background, turn.Origin{}) // clusterize
		require.NoError(t, err)
		wait, err := turn.Yield(e)
		require.NoError(t, err)
		k := keep(&a)
		p1, p2 := keep(&b), keep(&c)
		require.NoError(t, e.Join(p1))
		require.NoError(t, e.Join(p2))
		got := make(chan error, 2)
		for _, l := range []*turn.Lock{&b, &c} {
			go func() {
				z, err := begin(background, l, background, turn.OriginOf(k))
				if err == nil {
					z.End()
				}
				got <- err
			}()
		}
		synctest.Wait()
		go wait.Resume()
		synctest.Wait()
		require.Len(t, got, 2, "both of K's calls are in a circle with E")
		for _, x := range []*turn.Event{k, p1, p2} {
			x.Unkeep()
			x.End()
		}
		synctest.Wait()
		e.End()
	})
}

// Whatever events call each other, keeping their turns or not, everything ends:
// synctest reports a deadlock that goes unnoticed.
func TestDeadlock_RandomCallsEnd(t *testing.T) {
	type step struct {
		target int
		kept   bool
		then   []int // indices of further steps, run one after the other
		pause  time.Duration
	}
	rapid.Check(t, func(rt *rapid.T) {
		locks := make([]turn.Lock, rapid.IntRange(1, 4).Draw(rt, "locks"))
		steps := make([]step, rapid.IntRange(1, 12).Draw(rt, "steps"))
		for i := range steps {
			s := step{
				target: rapid.IntRange(0, len(locks)-1).Draw(rt, "target"),
				kept:   rapid.Bool().Draw(rt, "kept"),
				pause:  time.Duration(rapid.IntRange(0, 3).Draw(rt, "pause")) * time.Millisecond,
			}
			for j := i + 1; j < len(steps); j++ {
				if rapid.IntRange(0, 3).Draw(rt, "calls") == 0 {
					s.then = append(s.then, j)
				}
			}
			steps[i] = s
		}
		roots := rapid.IntRange(1, 5).Draw(rt, "roots")
		synctest.Test(t, func(t *testing.T) {
			running := make([]int, len(locks))
			var perform func(ctx context.Context, i int) error
			perform = func(ctx context.Context, i int) error {
				s := steps[i]
				return call(ctx, &locks[s.target], func(ctx context.Context) error {
					running[s.target]++
					require.Equal(t, 1, running[s.target])
					defer func() { running[s.target]-- }()
					work := func() error {
						err := sleep(ctx, s.pause)
						for _, next := range s.then {
							err = errors.Join(err, perform(ctx, next))
						}
						return err
					}
					if s.kept {
						return keep(ctx, work)
					}
					running[s.target]-- // others may run while it waits
					err := work()
					running[s.target]++
					return err
				})
			}
			done := make(chan error, roots)
			for r := range roots {
				go func() { done <- perform(background, r%len(steps)) }()
			}
			for range roots {
				if err := <-done; err != nil {
					require.ErrorIs(t, err, turn.ErrDeadlock)
				}
			}
			for i := range locks {
				require.True(t, locks[i].CloseIdle(errors.New("done"), nil))
			}
		})
	})
}

// A strict lock knows who waits, also if the context does not say it.
func TestDeadlock_StrictLockFindsItWithAnotherContext(t *testing.T) {
	nothing := func(context.Context) error { return nil }
	for name, again := range map[string]func(ctx context.Context, a, b *turn.Lock) error{
		"at once": func(_ context.Context, a, _ *turn.Lock) error { return call(background, a, nothing) },
		"through another object": func(_ context.Context, a, b *turn.Lock) error {
			return call(background, b, func(ctx context.Context) error { return call(ctx, a, nothing) })
		},
		"behind another event": func(_ context.Context, a, _ *turn.Lock) error {
			go func() { _ = run(background, a, nothing) }()
			synctest.Wait()
			return call(background, a, nothing)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := turn.Lock{Strict: true}, turn.Lock{Strict: true}
				err := run(background, &a, func(ctx context.Context) error { return again(ctx, &a, &b) })
				require.ErrorIs(t, err, turn.ErrDeadlock)
				require.NoError(t, run(background, &a, nothing))
				require.NoError(t, run(background, &a, func(ctx context.Context) error {
					return call(ctx, &a, nothing)
				}))
			})
		})
	}
}
