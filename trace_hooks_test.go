package dog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store"
)

// keeper is an object whose OnStart and OnStop do what a test says.
type keeper struct {
	dog.Object
	start, stop func(ctx context.Context, k *keeper) error
}

func (k *keeper) OnStart(ctx context.Context) error                            { return k.start(ctx, k) }
func (k *keeper) OnStop(ctx context.Context, _ dog.StopReason) error           { return k.stop(ctx, k) }
func (k *keeper) Nothing(context.Context) error                                { return nil }
func (k *keeper) Run(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// A hook about one object may use another, whose turn is kept by who has brought
// about what the hook tells of.
func TestAHookMayUseTheObjectsOfThoseWhoWait(t *testing.T) {
	for name, act := range map[string]func(ctx context.Context, to func(name string) dog.Stub[keeper]) error{
		"a call": func(ctx context.Context, to func(string) dog.Stub[keeper]) error {
			return dog.CallErr0(ctx, to("b"), (*keeper).Nothing)
		},
		"a call of a call": func(ctx context.Context, to func(string) dog.Stub[keeper]) error {
			return dog.CallErr(ctx, to("between"), (*keeper).Run, func(ctx context.Context) error {
				return dog.CallErr0(ctx, to("b"), (*keeper).Nothing)
			})
		},
		"a call that panics": func(ctx context.Context, to func(string) dog.Stub[keeper]) error {
			err := dog.CallErr(ctx, to("b"), (*keeper).Run, func(context.Context) error { panic("on purpose") })
			if !errors.Is(err, dog.ErrReset) {
				return fmt.Errorf("not reset: %w", err)
			}
			return nil
		},
		"a request": func(ctx context.Context, to func(string) dog.Stub[keeper]) error {
			to("b").ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
			return nil
		},
		"an abort": func(_ context.Context, to func(string) dog.Stub[keeper]) error {
			return to("b").Abort(errors.New("on purpose"))
		},
		"a start that fails": func(ctx context.Context, to func(string) dog.Stub[keeper]) error {
			if err := dog.CallErr0(ctx, to("b fails"), (*keeper).Nothing); !errors.Is(err, dog.ErrReset) {
				return fmt.Errorf("not reset: %w", err)
			}
			return nil
		},
	} {
		for _, where := range []string{"OnStart", "OnStop", "BlockConcurrencyWhile", "a handler"} {
			t.Run(name+" in "+where, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var keepers *dog.Namespace[keeper]
					var hooked sync.WaitGroup
					var armed atomic.Bool // when b is there, which is not to be aborted in its first event
					use := func(o dog.ObjectInfo) {
						if armed.Load() && strings.HasPrefix(o.Name, "b") {
							hooked.Add(1)
							defer hooked.Done()
							_ = dog.CallErr0(noCaller, keepers.Named("a"), (*keeper).Nothing)
						}
					}
					to := func(name string) dog.Stub[keeper] { return keepers.Named(name) }
					acted := 0
					in := func(place string) func(context.Context, *keeper) error {
						return func(ctx context.Context, k *keeper) error {
							if k.Name() == "b fails" {
								return errors.New("on purpose")
							}
							if k.Name() == "a" && where == place && acted == 0 {
								acted++
								return act(ctx, to)
							}
							return nil
						}
					}
					rt := dogtest.New(t, dog.Options{EvictAfter: time.Minute, Trace: &dog.Trace{
						ObjectStarted: use,
						ObjectStopped: func(o dog.ObjectInfo, _ error) { use(o) },
						EventDone:     func(e dog.EventInfo) { use(e.Object) },
					}})
					var err error
					keepers, err = dog.RegisterObject(rt, "keeper", &dog.ObjectOptions[keeper]{New: func() *keeper { return &keeper{start: in("OnStart"), stop: in("OnStop")} }})
					require.NoError(t, err)
					require.NoError(t, dog.CallErr0(t.Context(), to("b"), (*keeper).Nothing))
					synctest.Wait()
					armed.Store(true)
					require.NoError(t, dog.CallErr(t.Context(), to("a"), (*keeper).Run, func(ctx context.Context) error {
						switch where {
						case "a handler":
							return act(ctx, to)
						case "BlockConcurrencyWhile":
							return dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error { return act(ctx, to) })
						}
						return nil
					}))
					time.Sleep(5 * time.Minute)
					synctest.Wait()
					hooked.Wait()
				})
			})
		}
	}
}

// Who keeps a turn may wait for an event that somebody else has brought about.
func TestAHookMayUseAnObjectThatWaitsForAReplicaWithItsTurnKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var keepers *dog.Namespace[keeper]
		used := make(chan error, 1)
		h := newHallsWith(t, dog.Options{Trace: &dog.Trace{EventDone: func(e dog.EventInfo) {
			if e.Kind == dog.EventClusterize {
				used <- dog.CallErr0(noCaller, keepers.Named("a"), (*keeper).Nothing)
			}
		}}}, limit(5), &hooks{}, func(ctx context.Context, _ string) (string, error) {
			return "", pause(ctx, time.Second)
		})
		nothing := func(context.Context, *keeper) error { return nil }
		var err error
		keepers, err = dog.RegisterObject(h.rt, "keeper", &dog.ObjectOptions[keeper]{
			New: func() *keeper { return &keeper{start: nothing, stop: nothing} },
		})
		require.NoError(t, err)
		first := make(chan error, 1)
		go func() {
			_, err := h.identify(noCaller, "first")
			first <- err
		}()
		synctest.Wait() // Clusterize runs
		require.NoError(t, dog.CallErr(t.Context(), keepers.Named("a"), (*keeper).Run, func(ctx context.Context) error {
			return dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error {
				_, err := h.identify(ctx, "second")
				return err
			})
		}))
		require.NoError(t, <-first)
		require.NoError(t, <-used)
	})
}

// What has come meanwhile is told by somebody else.
func TestACallerWaitsForNoHookButItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cells := newCells(t, dog.Options{Trace: &dog.Trace{
			EventDone: func(dog.EventInfo) { time.Sleep(time.Second) },
		}})
		a := cells.Named("a")
		require.NoError(t, dog.CallErr0(t.Context(), a, (*cell).Nothing)) // it is there
		time.Sleep(time.Minute)
		const calls = 5
		took := make(chan time.Duration, calls)
		for range calls {
			go func() {
				began := time.Now()
				_ = dog.CallErr0(noCaller, a, (*cell).Nothing)
				took <- time.Since(began)
			}()
		}
		var all []time.Duration
		for range calls {
			all = append(all, <-took)
		}
		require.Equal(t, []time.Duration{0, 0, 0, 0, time.Second}, all)
	})
}

// What waits to be told because a hook hangs is bounded.
func TestCallersAreHeldUpByHooksWhenAThousandEventsWaitToBeTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var hooks, returned atomic.Int64
		var armed atomic.Bool
		until := make(chan struct{})
		_, cells := newCells(t, dog.Options{Trace: &dog.Trace{EventDone: func(dog.EventInfo) {
			if armed.Load() {
				hooks.Add(1)
				<-until
			}
		}}})
		a := cells.Named("a")
		require.NoError(t, dog.CallErr0(t.Context(), a, (*cell).Nothing)) // it is there
		synctest.Wait()
		armed.Store(true)
		call := func() {
			_ = dog.CallErr0(noCaller, a, (*cell).Nothing)
			returned.Add(1)
		}
		go call()
		synctest.Wait()
		for range 1000 {
			call()
		}
		synctest.Wait()
		require.EqualValues(t, 1, hooks.Load())
		for range 10 {
			go call()
		}
		synctest.Wait()
		require.EqualValues(t, 11, hooks.Load())
		require.EqualValues(t, 1000, returned.Load())
		close(until)
		synctest.Wait()
		require.EqualValues(t, 1011, hooks.Load())
		require.EqualValues(t, 1011, returned.Load())
	})
}

// The order is that of the turns also when something keeps the goroutine of the
// earlier event between its turn and the hook.
func TestAnEventWhoseEndIsLoggedIsToldOfBeforeTheNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var d diary
		const message = "a handler returned while another goroutine used its context: use dog.Go"
		_, cells := newCells(t, dog.Options{Logger: slog.New(slowLog{slog.DiscardHandler, message}), Trace: &dog.Trace{
			EventDone: func(e dog.EventInfo) { d.note("%v", e.Err) },
		}})
		a := cells.Named("a")
		require.NoError(t, dog.CallErr0(t.Context(), a, (*cell).Nothing)) // it is there
		synctest.Wait()
		d.take()
		go func() {
			_ = dog.CallErr(noCaller, a, (*cell).Do, func(ctx context.Context) error {
				err := dog.Await(ctx, func() error {
					go func() { _ = dog.Await(ctx, func() error { time.Sleep(time.Minute); return nil }) }()
					time.Sleep(time.Second) // until that waits too
					return errors.New("first")
				})
				return err // with its context in use, which is logged after the turn
			})
		}()
		time.Sleep(1500 * time.Millisecond) // it is being logged
		require.Error(t, dog.CallErr(t.Context(), a, (*cell).Do, func(context.Context) error { return errors.New("second") }))
		time.Sleep(time.Hour)
		require.Equal(t, []string{"first", "second"}, d.take())
	})
}

// slowest returns what a Trace of one object notes whose hooks take a while.
func slowest(note func(format string, args ...any)) *dog.Trace {
	slow := func(what string) {
		note("%s", what)
		time.Sleep(50 * time.Millisecond)
		note("end of %s", what)
	}
	return &dog.Trace{
		ObjectStarted: func(dog.ObjectInfo) { slow("start") },
		ObjectStopped: func(_ dog.ObjectInfo, cause error) { slow(fmt.Sprint("stop, reset ", cause != nil)) },
		EventDone:     func(e dog.EventInfo) { slow(e.Kind.String()) },
	}
}

func TestWhatIsToldOfAnObjectComesInTheOrderInWhichItHappened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var d diary
		_, cells := newCells(t, dog.Options{EvictAfter: time.Second, Trace: slowest(d.note)})
		a := cells.Named("a")
		for range 3 {
			go func() { _ = dog.CallErr0(noCaller, a, (*cell).Nothing) }()
		}
		time.Sleep(20 * time.Millisecond) // while the first is being told
		require.NoError(t, a.Abort(errors.New("on purpose")))
		_ = dog.CallErr0(noCaller, a, (*cell).Nothing)
		time.Sleep(time.Minute)
		var want []string
		for _, what := range []string{
			"start", "OnStart", "Call", "Call", "Call", "stop, reset true",
			"start", "OnStart", "Call", "stop, reset false",
		} {
			want = append(want, what, "end of "+what)
		}
		require.Equal(t, want, d.take())
	})
}

// The turn decides the order, however long hooks take and whoever runs them.
func TestEventsAreToldOfInTheOrderOfTheirTurns(t *testing.T) {
	const events = 300
	var mu sync.Mutex
	var told []string
	rt := dogtest.New(t, dog.Options{Trace: &dog.Trace{EventDone: func(e dog.EventInfo) {
		if e.Err != nil {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e.Err.Error())
		}
	}}})
	nothing := func(context.Context, *keeper) error { return nil }
	keepers, err := dog.RegisterObject(rt, "keeper", &dog.ObjectOptions[keeper]{New: func() *keeper { return &keeper{start: nothing, stop: nothing} }})
	require.NoError(t, err)
	n := 0
	var all sync.WaitGroup
	for range events {
		all.Go(func() {
			_ = dog.CallErr(noCaller, keepers.Named("a"), (*keeper).Run, func(context.Context) error {
				n++
				return errors.New(strconv.Itoa(n))
			})
		})
	}
	all.Wait()
	require.NoError(t, rt.Shutdown(noCaller))
	want := make([]string, events)
	for i := range want {
		want[i] = strconv.Itoa(i + 1)
	}
	require.Equal(t, want, told)
}

// An object that leaves memory and comes back is told of in order, too.
func TestTheLivesOfAnObjectAreToldOfInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var d diary
		_, cells := newCells(t, dog.Options{EvictAfter: time.Second, Trace: &dog.Trace{
			ObjectStarted: func(dog.ObjectInfo) { time.Sleep(time.Second); d.note("start") },
			ObjectStopped: func(dog.ObjectInfo, error) { time.Sleep(time.Minute); d.note("stop") },
		}})
		for range 3 {
			require.NoError(t, dog.CallErr0(t.Context(), cells.Named("a"), (*cell).Nothing))
			time.Sleep(5 * time.Second) // it leaves memory
		}
		time.Sleep(time.Hour)
		require.Equal(t, []string{"start", "stop", "start", "stop", "start", "stop"}, d.take())
	})
}

// leisurely is a store whose databases take a minute to close.
type leisurely struct{ inner dog.Store }

func (l leisurely) OpenEngine(log *slog.Logger) (store.Engine, error) {
	e, err := hook.OpenStore(l.inner, log)
	return leisurelyEngine{e}, err
}

type leisurelyEngine struct{ store.Engine }

func (e leisurelyEngine) OpenSQL(pages store.Pages, limits store.SQLLimits) (store.SQL, error) {
	db, err := e.Engine.OpenSQL(pages, limits)
	return leisurelySQL{db}, err
}

type leisurelySQL struct{ store.SQL }

func (s leisurelySQL) Close() error {
	time.Sleep(time.Minute)
	return s.SQL.Close()
}

// The next life may begin while something is still busy with the end of the one
// before: the log with a reset, say, or the database.
func TestTheEndOfALifeIsToldOfBeforeTheNextLife(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(a dog.Stub[cell])
		told string
	}{
		"a reset": {func(a dog.Stub[cell]) {
			go func() { _ = a.Abort(errors.New("on purpose")) }()
			synctest.Wait()
		}, "cell reset"},
		"leaving memory": {func(dog.Stub[cell]) { time.Sleep(10 * time.Second) }, "cell retired"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var d diary
				trace := d.trace()
				trace.EventDone = nil
				_, cells := newCells(t, dog.Options{
					Store: asStore(leisurely{dogtest.NewDisk(t)}), EvictAfter: time.Second, Trace: trace,
					Logger: slog.New(slowLog{slog.DiscardHandler, "object reset"}),
				})
				a := cells.Named("a")
				require.NoError(t, turnIn(t, a, func(s *dog.Storage) error {
					sqlExec(t, s, "SELECT 1")
					return nil
				}))
				c.end(a)
				began := time.Now()
				require.NoError(t, dog.CallErr0(t.Context(), a, (*cell).Nothing))
				require.Equal(t, began, time.Now(), "it waits for nothing")
				require.Equal(t, []string{"cell started", c.told, "cell started"}, d.take())
				time.Sleep(time.Hour)
			})
		})
	}
}
