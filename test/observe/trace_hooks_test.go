package observe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// startStop is an object whose OnStart and OnStop are set by a test.
type startStop struct {
	dog.Object
	start, stop func(ctx context.Context, k *startStop) error
}

func (k *startStop) OnStart(ctx context.Context) error                            { return k.start(ctx, k) }
func (k *startStop) OnStop(ctx context.Context, _ dog.StopReason) error           { return k.stop(ctx, k) }
func (k *startStop) Nothing(context.Context) error                                { return nil }
func (k *startStop) Run(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// A hook about one object may use another whose turn is kept by the event that
// the hook reports.
func TestTrace_HookMayUseWaitingObjects(t *testing.T) {
	for name, act := range map[string]func(ctx context.Context, to func(name string) dog.Stub[startStop]) error{
		"a call": func(ctx context.Context, to func(string) dog.Stub[startStop]) error {
			return dog.CallErr0(ctx, to("b"), (*startStop).Nothing)
		},
		"a call of a call": func(ctx context.Context, to func(string) dog.Stub[startStop]) error {
			return dog.CallErr(ctx, to("between"), (*startStop).Run, func(ctx context.Context) error {
				return dog.CallErr0(ctx, to("b"), (*startStop).Nothing)
			})
		},
		"a call that panics": func(ctx context.Context, to func(string) dog.Stub[startStop]) error {
			err := dog.CallErr(ctx, to("b"), (*startStop).Run, func(context.Context) error { panic("on purpose") })
			if !errors.Is(err, dog.ErrReset) {
				return fmt.Errorf("not reset: %w", err)
			}
			return nil
		},
		"a request": func(ctx context.Context, to func(string) dog.Stub[startStop]) error {
			to("b").ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
			return nil
		},
		"an abort": func(_ context.Context, to func(string) dog.Stub[startStop]) error {
			return to("b").Abort(errors.New("on purpose"))
		},
		"a start that fails": func(ctx context.Context, to func(string) dog.Stub[startStop]) error {
			if err := dog.CallErr0(ctx, to("b fails"), (*startStop).Nothing); !errors.Is(err, dog.ErrReset) {
				return fmt.Errorf("not reset: %w", err)
			}
			return nil
		},
	} {
		for _, where := range []string{"OnStart", "OnStop", "BlockConcurrencyWhile", "a handler"} {
			t.Run(name+" in "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var startStops *dog.Namespace[startStop]
					var hooked sync.WaitGroup
					var armed atomic.Bool // when b is there, which is not to be aborted in its first event
					use := func(o dog.ObjectInfo) {
						if armed.Load() && strings.HasPrefix(o.Name, "b") {
							hooked.Add(1)
							defer hooked.Done()
							_ = dog.CallErr0(context.Background(), startStops.Named("a"), (*startStop).Nothing)
						}
					}
					to := func(name string) dog.Stub[startStop] { return startStops.Named(name) }
					acted := 0
					in := func(place string) func(context.Context, *startStop) error {
						return func(ctx context.Context, k *startStop) error {
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
						EventDone:     func(_ context.Context, e dog.EventInfo) { use(e.Object) },
					}})
					var err error
					startStops, err = dog.RegisterObject(
						rt, "startStop",
						&dog.ObjectOptions[startStop]{
							New: func() *startStop { return &startStop{start: in("OnStart"), stop: in("OnStop")} },
						},
					)
					require.NoError(t, err)
					require.NoError(t, dog.CallErr0(t.Context(), to("b"), (*startStop).Nothing))
					synctest.Wait()
					armed.Store(true)
					require.NoError(
						t,
						dog.CallErr(t.Context(), to("a"), (*startStop).Run, func(ctx context.Context) error {
							switch where {
							case "a handler":
								return act(ctx, to)
							case "BlockConcurrencyWhile":
								return dog.BlockConcurrencyWhile(
									ctx, func(ctx context.Context) error { return act(ctx, to) },
								)
							}
							return nil
						}),
					)
					time.Sleep(5 * time.Minute)
					synctest.Wait()
					hooked.Wait()
				})
			})
		}
	}
}

// An event that keeps its turn may wait for an event that another caller has
// started.
func TestTrace_HookMayUseAnObjectThatKeepsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var startStops *dog.Namespace[startStop]
		used := make(chan error, 1)
		trace := &dog.Trace{EventDone: func(_ context.Context, e dog.EventInfo) {
			if e.Kind == dog.EventClusterize {
				used <- dog.CallErr0(context.Background(), startStops.Named("a"), (*startStop).Nothing)
			}
		}}
		clusterize := func(ctx context.Context, _ string) (string, error) {
			return "", fixture.Pause(ctx, time.Second)
		}
		h := fixture.NewHookedLobbiesWith(
			t, dog.Options{Trace: trace}, fixture.LobbyLimit(5), &fixture.Hooks{}, clusterize,
		)
		nothing := func(context.Context, *startStop) error { return nil }
		var err error
		startStops, err = dog.RegisterObject(h.Runtime, "startStop", &dog.ObjectOptions[startStop]{
			New: func() *startStop { return &startStop{start: nothing, stop: nothing} },
		})
		require.NoError(t, err)
		first := make(chan error, 1)
		go func() {
			_, err := h.Identify(context.Background(), "first")
			first <- err
		}()
		synctest.Wait() // Clusterize runs
		a := startStops.Named("a")
		require.NoError(t, dog.CallErr(t.Context(), a, (*startStop).Run, func(ctx context.Context) error {
			return dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error {
				_, err := h.Identify(ctx, "second")
				return err
			})
		}))
		require.NoError(t, <-first)
		require.NoError(t, <-used)
	})
}

// Events that arrive meanwhile are reported by another goroutine.
func TestTrace_CallerWaitsOnlyForItsOwnHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cells := fixture.NewObjects(t, dog.Options{Trace: &dog.Trace{
			EventDone: func(context.Context, dog.EventInfo) { time.Sleep(time.Second) },
		}})
		a := cells.Named("a")
		require.NoError(t, dog.CallErr0(t.Context(), a, (*fixture.Object).Nothing)) // it is there
		time.Sleep(time.Minute)
		const calls = 5
		took := make(chan time.Duration, calls)
		for range calls {
			go func() {
				began := time.Now()
				_ = dog.CallErr0(context.Background(), a, (*fixture.Object).Nothing)
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

// The number of reports that wait for a hanging hook is bounded.
func TestTrace_CallersBlockBehindAThousandPendingHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hooks, returned atomic.Int64
		var armed atomic.Bool
		until := make(chan struct{})
		trace := &dog.Trace{EventDone: func(context.Context, dog.EventInfo) {
			if armed.Load() {
				hooks.Add(1)
				<-until
			}
		}}
		_, cells := fixture.NewObjects(t, dog.Options{Trace: trace})
		a := cells.Named("a")
		require.NoError(t, dog.CallErr0(t.Context(), a, (*fixture.Object).Nothing)) // it is there
		synctest.Wait()
		armed.Store(true)
		call := func() {
			_ = dog.CallErr0(context.Background(), a, (*fixture.Object).Nothing)
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

// The hooks of sockets are called by the goroutines of these.
func TestTrace_SocketWhoseHookHangsDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs, opened := make(chan struct{}), make(chan string, 2)
		v := fixture.NewOwners(t, "an object", dog.Options{Trace: &dog.Trace{
			SocketOpened: func(s *dog.Socket) {
				if s.UID() == "ada" {
					<-hangs
				}
				opened <- s.UID()
			},
		}}, &fixture.OwnerHooks{})
		v.Enter("ada")
		v.Enter("bob").Send("hello")
		require.Equal(t, "bob", <-opened)
		synctest.Wait()
		require.EqualValues(t, 1, v.Runtime.Stats().MessagesIn)
		close(hangs)
		require.Equal(t, "ada", <-opened)
	})
}
