package dog_test

import (
	"context"
	"errors"
	"fmt"
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
