package timer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// metronome is an object with timers.
type metronome struct {
	dog.Object
	start func(m *metronome) // OnStart; nil: nothing
	did   *fixture.Lines
}

func (m *metronome) OnStart(context.Context) error {
	if m.start != nil {
		m.start(m)
	}
	return nil
}

func (m *metronome) OnOpen(_ context.Context, s *dog.Socket) error { return s.Send("hello") }

func (m *metronome) OnStop(_ context.Context, reason dog.StopReason) error {
	return m.did.Add("stopped: %s", reason)
}

// Do runs a function in the turn.
func (m *metronome) Do(ctx context.Context, f func(context.Context, *metronome) error) error {
	return f(ctx, m)
}

// metronomes is a runtime with one metronome.
type metronomes struct {
	rt   *dog.Runtime
	ns   *dog.Namespace[metronome]
	did  fixture.Lines
	from time.Time
}

func newMetronomes(
	t *testing.T, options dog.Options, objects dog.ObjectOptions[metronome], start func(*metronome),
) *metronomes {
	t.Helper()
	m := &metronomes{rt: dogtest.New(t, options), from: time.Now()}
	objects.New = func() *metronome { return &metronome{start: start, did: &m.did} }
	ns, err := dog.RegisterObject(m.rt, "metronome", &objects)
	require.NoError(t, err)
	m.ns = ns
	return m
}

// do runs a function in the metronome's turn.
func (m *metronomes) do(t *testing.T, f func(ctx context.Context, o *metronome) error) {
	t.Helper()
	require.NoError(t, dog.CallErr(t.Context(), m.ns.Named("a"), (*metronome).Do, f))
}

// beat notes when it is, in milliseconds.
func (m *metronomes) beat() error { return m.did.Add("%d", time.Since(m.from).Milliseconds()) }

// live reports whether the metronome is in memory.
func (m *metronomes) live() bool {
	for range m.ns.Objects() {
		return true
	}
	return false
}

// beats returns so many times from first on, at intervals.
func beats(first, interval, n int) (at []string) {
	for i := range n {
		at = append(at, fmt.Sprint(first+i*interval))
	}
	return at
}

func TestTimer_EveryKeepsItsRateWithASlowFunction(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		want  []string
	}{
		"no time":             {0, beats(50, 50, 20)},
		"a part of a tick":    {20 * time.Millisecond, beats(50, 50, 20)},
		"nearly a tick":       {49 * time.Millisecond, beats(50, 50, 20)},
		"more than a tick":    {70 * time.Millisecond, beats(50, 100, 10)},
		"more than two ticks": {120 * time.Millisecond, beats(50, 150, 7)},
	} {
		for _, awaits := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, awaits: %v", name, awaits), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMetronomes(t, dog.Options{}, dog.ObjectOptions[metronome]{}, nil)
					var timer *dog.Timer
					m.do(t, func(_ context.Context, o *metronome) error {
						timer = o.Every(50*time.Millisecond, func(ctx context.Context) error {
							if err := m.beat(); err != nil {
								return err
							}
							if awaits {
								return dog.Await(ctx, func() error { time.Sleep(c.takes); return nil })
							}
							time.Sleep(c.takes)
							return nil
						})
						return nil
					})
					fixture.Elapse(1010 * time.Millisecond)
					require.Equal(t, c.want, m.did.Take())
					require.True(t, timer.Stop())
				})
			})
		}
	}
}

func TestTimer_TicksDoNotPileUpBehindAnotherHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetronomes(t, dog.Options{}, dog.ObjectOptions[metronome]{}, nil)
		m.do(t, func(_ context.Context, o *metronome) error {
			o.Every(50*time.Millisecond, func(context.Context) error { return m.beat() })
			time.Sleep(510 * time.Millisecond) // with the turn
			return nil
		})
		fixture.Elapse(120 * time.Millisecond)
		require.Equal(
			t, []string{"510", "550", "600"}, m.did.Take(), "one of ten has waited, and the rate is what it was",
		)
	})
}

func TestTimer_StopInAHandlerPreventsFurtherTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetronomes(t, dog.Options{}, dog.ObjectOptions[metronome]{}, nil)
		var timers []*dog.Timer
		begin := func(o *metronome) {
			timers = []*dog.Timer{
				o.Every(50*time.Millisecond, func(context.Context) error { return m.beat() }),
				o.After(50*time.Millisecond, func(context.Context) error { return m.beat() }),
			}
		}
		m.do(t, func(_ context.Context, o *metronome) error {
			begin(o)
			time.Sleep(time.Second) // both are due and wait for the turn
			for _, timer := range timers {
				require.True(t, timer.Stop())
				require.False(t, timer.Stop())
			}
			return nil
		})
		fixture.Elapse(time.Second)
		require.Empty(t, m.did.Take())

		// From outside it ends what has not begun.
		m.do(t, func(_ context.Context, o *metronome) error { begin(o); return nil })
		for _, timer := range timers {
			require.True(t, timer.Stop())
		}
		fixture.Elapse(time.Second)
		require.Empty(t, m.did.Take())

		// The function itself may stop its timer.
		var timer *dog.Timer
		m.do(t, func(_ context.Context, o *metronome) error {
			timer = o.Every(time.Second, func(context.Context) error {
				require.True(t, timer.Stop())
				return m.did.Add("tick")
			})
			return nil
		})
		fixture.Elapse(time.Minute)
		require.Equal(t, []string{"tick"}, m.did.Take()[:1])
		require.False(t, timer.Stop())
	})
}

func TestTimer_AfterRunsOnce(t *testing.T) {
	for name, d := range map[string]time.Duration{"later": time.Second, "now": 0, "in the past": -time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMetronomes(t, dog.Options{}, dog.ObjectOptions[metronome]{}, nil)
				var timer *dog.Timer
				m.do(t, func(_ context.Context, o *metronome) error {
					timer = o.After(d, func(context.Context) error {
						require.False(t, timer.Stop(), "it runs, and would not again")
						o.After(time.Second, func(context.Context) error { return m.beat() })
						return m.beat()
					})
					return nil
				})
				fixture.Elapse(10 * time.Second)
				at := max(d, 0).Milliseconds()
				require.Equal(t, beats(int(at), 1000, 2), m.did.Take())
				require.False(t, timer.Stop())
			})
		})
	}
}

func TestTimer_OnStartBeginsTimersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, _ := fixture.LogToBuffer()
		var m *metronomes
		m = newMetronomes(t, options, dog.ObjectOptions[metronome]{}, func(o *metronome) {
			o.Every(time.Second, func(context.Context) error { return m.did.Add("tick") })
		})
		m.do(t, func(context.Context, *metronome) error { return nil })
		fixture.Elapse(2500 * time.Millisecond)
		require.NoError(t, m.ns.Named("a").Abort(nil))
		require.Equal(t, []string{"tick", "tick"}, m.did.Take())
		fixture.Elapse(time.Minute)
		require.Empty(t, m.did.Take(), "nothing starts it")
		m.do(t, func(context.Context, *metronome) error { return nil })
		fixture.Elapse(1500 * time.Millisecond)
		require.Equal(t, []string{"tick"}, m.did.Take())
	})
}

func TestTimers_InvalidOnesDoNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := func(context.Context) error { panic("it ran") }
		var object metronome
		var group struct{ dog.Group }
		var replica struct{ dog.Replica }
		inert := []*dog.Timer{
			object.After(0, never), object.Every(1, never), group.After(0, never), group.Every(1, never),
			replica.After(0, never), replica.Every(1, never), new(dog.Timer), nil,
		}
		options, log := fixture.LogToBuffer()
		m := newMetronomes(t, options, dog.ObjectOptions[metronome]{}, nil)
		m.do(t, func(_ context.Context, o *metronome) error {
			inert = append(inert, o.Every(0, never), o.Every(-time.Second, never))
			return nil
		})
		require.Equal(t, 2, strings.Count(log.String(), "Every needs an interval above 0"))
		fixture.Elapse(time.Hour)
		for i, timer := range inert {
			require.False(t, timer.Stop(), i)
			require.Equal(t, i != 7, timer != nil, i)
		}
		require.False(t, m.live(), "they do not keep it")

		require.NoError(t, m.rt.Shutdown(t.Context()))
	})
}

func TestTimer_ErrorIsLoggedAndHeedsRollbackOnError(t *testing.T) {
	for _, rollback := range []bool{false, true} {
		t.Run(fmt.Sprint("RollbackOnError: ", rollback), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options, log := fixture.LogToBuffer()
				m := newMetronomes(t, options, dog.ObjectOptions[metronome]{RollbackOnError: rollback}, nil)
				runs := 0
				m.do(t, func(_ context.Context, o *metronome) error {
					o.Every(time.Second, func(context.Context) error {
						runs++
						return errors.Join(dog.Put(o.Storage(), "runs", runs), errors.New("it failed"))
					})
					return nil
				})
				fixture.Elapse(2500 * time.Millisecond)
				require.Equal(t, 2, runs, "it goes on")
				require.Equal(t, 2, strings.Count(log.String(), "it failed"))
				m.do(t, func(_ context.Context, o *metronome) error {
					_, found, err := dog.Get[int](o.Storage(), "runs")
					require.Equal(t, !rollback, found)
					return err
				})
				require.NoError(t, m.ns.Named("a").Abort(nil))
			})
		})
	}
}

func TestTimer_PanicResetsTheObject(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		options, log := fixture.LogToBuffer()
		runs := 0
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, _ dog.Message) error {
				o.Every(time.Second, func(context.Context) error {
					if runs++; runs == 3 {
						panic("a bug")
					}
					return o.Broadcast("tick")
				})
				return nil
			},
		})
		ada := v.Enter("ada")
		ada.Send("begin")
		require.Equal(t, "tick", ada.Receive().String())
		require.Equal(t, "tick", ada.Receive().String())
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		fixture.Elapse(time.Minute)
		require.Equal(t, 3, runs)
		require.Contains(t, log.String(), "a bug")
	})
}

func TestTimer_TickIsASeparateEvent(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		var kinds []dog.EventKind
		m := newMetronomes(
			t, dog.Options{Trace: &dog.Trace{
				EventDone: func(_ context.Context, e dog.EventInfo) { kinds = append(kinds, e.Kind) },
			}},
			dog.ObjectOptions[metronome]{}, nil,
		)
		ctx := context.WithValue(t.Context(), key{}, "the caller's")
		require.NoError(
			t,
			dog.CallErr(ctx, m.ns.Named("a"), (*metronome).Do, func(ctx context.Context, o *metronome) error {
				require.Equal(t, "the caller's", ctx.Value(key{}))
				o.After(time.Second, func(ctx context.Context) error {
					require.Nil(t, ctx.Value(key{}))
					return o.Storage().Put("k", nil) // it has the turn
				})
				return nil
			}),
		)
		fixture.Elapse(2 * time.Second)
		require.Equal(t, []dog.EventKind{dog.EventStart, dog.EventCall, dog.EventTimer}, kinds)
	})
}

// A timer that is refused would be lost, since nobody tries again.
func TestTimer_RunsAlthoughTooManyEventsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := fixture.LogToBuffer()
		options.MaxWaiting = 1
		m := newMetronomes(t, options, dog.ObjectOptions[metronome]{}, nil)
		m.do(t, func(_ context.Context, o *metronome) error {
			o.Every(time.Second, func(context.Context) error { return m.beat() })
			o.After(2*time.Second, func(context.Context) error { return m.did.Add("after") })
			go func() {
				_ = dog.CallErr(context.Background(), m.ns.Named("a"), (*metronome).Do,
					func(context.Context, *metronome) error { return nil }) // waits
			}()
			time.Sleep(2500 * time.Millisecond)
			return nil
		})
		synctest.Wait()
		require.Equal(t, []string{"2500", "after"}, m.did.Take(), "one tick has waited")
		fixture.Elapse(time.Second)
		require.Equal(t, []string{"3000"}, m.did.Take())
		require.Empty(t, log.String())
	})
}
