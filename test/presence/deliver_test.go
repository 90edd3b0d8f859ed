package presence_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
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

var errNotNow = errors.New("not now")

// failures are the ways in which OnPresence can fail.
var failures = map[string]func(ctx context.Context, c *crowd) error{
	"an error": func(context.Context, *crowd) error { return errNotNow },
	"a panic":  func(context.Context, *crowd) error { panic(errNotNow) },
	"an exit":  func(context.Context, *crowd) error { runtime.Goexit(); return nil },
	"a reset":  func(_ context.Context, c *crowd) error { return c.abort(errNotNow) },
	"a reset in the middle": func(ctx context.Context, c *crowd) error {
		time.AfterFunc(time.Second, func() { _ = c.abort(errNotNow) })
		return fixture.Pause(ctx, 2*time.Second)
	},
}

// A change that OnPresence has not handled is delivered again as it was, before
// what has happened since.
func TestPresence_AChangeThatFailsIsDeliveredAgain(t *testing.T) {
	for failure, fail := range failures {
		t.Run(failure, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, "a group", crowdOptions{Options: dog.Options{Logger: slog.New(slog.DiscardHandler)}})
				times := 3
				var seqs []uint64
				c.on = func(ctx context.Context, p dog.PresenceChange) error {
					if len(p.Joined) > 0 { // it is a copy
						defer func() { p.Joined[0].UID = "x" }()
					}
					seqs = append(seqs, p.Seq)
					if times--; times >= 0 {
						return fail(ctx, c)
					}
					return nil
				}
				ada := c.enter("ada")
				c.enter("bob")
				time.Sleep(every)
				synctest.Wait()
				leave(ada)
				c.enter("cyd")
				first := "+ada +bob (2)"
				require.Equal(t, []string{first, first, first, first, "+cyd (3)", "-ada (2)"}, c.took(time.Minute))
				for i, seq := range seqs {
					require.Equal(t, seqs[0]+uint64(max(i-3, 0)), seq)
				}
			})
		})
	}
}

func TestPresence_FailuresAreSpacedOutAndLaterChangesWait(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		var failing atomic.Bool
		failing.Store(true)
		var at []time.Duration
		began := time.Now()
		c.on = func(context.Context, dog.PresenceChange) error {
			c.mu.Lock()
			at = append(at, time.Since(began))
			c.mu.Unlock()
			if failing.Load() {
				return errNotNow
			}
			return nil
		}
		ada := c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		leave(ada)
		c.enter("bob")
		bob := c.enter("bob")
		leave(bob)
		for _, told := range c.took(10 * time.Minute) {
			require.Equal(t, "+ada (1)", told)
		}
		c.mu.Lock()
		pause := every
		for i := 1; i < len(at); i++ {
			require.Equal(t, pause, at[i]-at[i-1])
			pause = min(2*pause, time.Minute)
		}
		require.Greater(t, len(at), 10)
		c.mu.Unlock()
		failing.Store(false)
		require.Equal(t, []string{"+ada (1)", "+bob -ada (1)"}, c.took(time.Minute))
		c.enter("cyd")
		require.Equal(t, []string{"+cyd (2)"}, c.took(every), "at the usual rate again")
	})
}

// OnPresence of one change runs at a time, also while it has given up the turn.
func TestPresence_ChangesDoNotOverlap(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		running := 0
		c.on = func(ctx context.Context, _ dog.PresenceChange) error {
			running++
			require.Equal(t, 1, running)
			err := fixture.Pause(ctx, 10*time.Second)
			running--
			return err
		}
		c.enter("ada")
		time.Sleep(every)
		for i := range 20 {
			c.enter(fmt.Sprint(i))
			time.Sleep(every)
		}
		require.Len(t, c.took(time.Minute), 2)
	})
}

func TestPresence_AnOnStartThatFailsDelaysTheChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, "a group", crowdOptions{})
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		c.mu.Lock()
		c.refuse = errNotNow
		c.mu.Unlock()
		c.enter("bob")
		require.NoError(t, c.abort(errNotNow))
		require.Empty(t, c.took(time.Minute))
		c.mu.Lock()
		c.refuse = nil
		c.mu.Unlock()
		require.Equal(t, []string{"+bob (2)"}, c.took(2*time.Minute))
	})
}

// A handler that stores the number of the change with its own writes handles
// each exactly once in effect, over resets and restarts.
func TestPresence_SeqMakesAHandlerExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		calls, joined := 0, 0
		for process := range 3 {
			c := newCrowd(t, "an object", crowdOptions{Options: dog.Options{
				Store: fixture.StoreOf(engine), Logger: slog.New(slog.DiscardHandler),
			}})
			c.on = func(_ context.Context, p dog.PresenceChange) error {
				calls++
				storage := c.own.Storage()
				last, _, err := dog.Get[uint64](storage, "seq")
				if err != nil {
					return err
				}
				if p.Seq > last {
					if err := dog.Put(storage, "seq", p.Seq); err != nil {
						return err
					}
					joined, err = dog.Update(
						storage, "joined", func(n int) (int, error) { return n + len(p.Joined), nil },
					)
				}
				if calls%2 == 1 {
					return errNotNow // the writes are kept
				}
				return err
			}
			c.enter(fmt.Sprint("ada", process))
			time.Sleep(time.Second)
			c.enter(fmt.Sprint("bob", process))
			fixture.Elapse(time.Minute)
			require.NoError(t, c.rt.Shutdown(t.Context()))
		}
		// Each of 8 changes twice: two have joined, and those of the process
		// before have left.
		require.Equal(t, 16, calls)
		require.Equal(t, 6, joined)
	})
}

// The next change waits until the writes of the handler of the one before are
// durable.
func TestPresence_AChangeIsHandledWhenItsWritesAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		c := newCrowd(t, "a group", crowdOptions{Options: dog.Options{Store: fixture.StoreOf(engine)}})
		engine.Flush()
		t.Cleanup(engine.Prompt)
		c.on = func(context.Context, dog.PresenceChange) error {
			return c.own.Storage().Put("told", nil)
		}
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		c.enter("bob")
		require.Empty(t, c.took(time.Minute))
		engine.Prompt()
		require.Equal(t, []string{"+bob (2)"}, c.took(every))
	})
}

// A socket is a member once its client can see that it is connected, and a
// value counts when the writes before it are durable.
func TestPresence_WaitsForTheGateOfTheSocketsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		c := newCrowd(t, "a group", crowdOptions{Options: dog.Options{
			Store: fixture.StoreOf(engine), Logger: slog.New(slog.DiscardHandler),
		}})
		engine.Flush()
		t.Cleanup(engine.Prompt)
		c.message = func(_ context.Context, s *dog.Socket, m dog.Message) error {
			if err := c.crowdReplica.Storage().Put("k", nil); err != nil {
				return err
			}
			return s.SetPresence(m.String())
		}
		ada := c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		ada.Send("away")
		require.Empty(t, c.took(time.Minute))
		go func() { _, _, _ = c.srv.TryDial("/?u=bob", dogtest.DialOptions{}) }() // on the same replica
		require.Empty(t, c.took(5*time.Second))
		require.Equal(t, []string{"ada"}, c.members())
		engine.Flush()
		require.Equal(t, []string{`+bob ~ada="away" (2)`}, c.took(every))
		ada.Send("undone")
		synctest.Wait()
		engine.Fail(errNotNow)
		told := c.took(time.Minute)
		require.Len(t, told, 1)
		require.Contains(t, []string{"-ada -bob (0)", "-bob -ada (0)"}, told[0])
	})
}

func TestPresence_NothingIsToldAfterShutdownHasBegun(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		ada, bob := c.enter("ada"), c.enter("bob")
		require.Equal(t, []string{"+ada +bob (2)"}, c.took(every))
		leave(ada)
		c.enter("cyd")
		began := time.Now()
		require.NoError(t, c.rt.Shutdown(t.Context()))
		require.Equal(t, began, time.Now(), "it waits for no grace and no batch")
		require.Equal(t, 1, c.stops)
		leave(bob)
		require.Empty(t, c.took(time.Hour))
	})
}

// A change that waits for the turn when Shutdown begins is not delivered. A
// change whose handler runs is.
func TestPresence_ShutdownWaitsForTheHandlerThatRuns(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		ended := false
		c.on = func(context.Context, dog.PresenceChange) error {
			time.Sleep(5 * time.Second)
			ended = true
			return nil
		}
		ada := c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		require.NoError(t, c.rt.Shutdown(t.Context()))
		require.True(t, ended)

		c = newCrowd(t, kind, crowdOptions{})
		leave(ada)
		c.enter("ada")
		go func() {
			_ = c.inTurn(func(context.Context, listed) error { time.Sleep(5 * time.Second); return nil })
		}()
		fixture.Elapse(time.Second)
		require.NoError(t, c.rt.Shutdown(t.Context()))
		require.Empty(t, c.took(time.Hour))
	})
}
