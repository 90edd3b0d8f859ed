package life_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// stopHook is an object whose end a test decides.
type stopHook struct {
	dog.Object
	stop func(ctx context.Context, name string) error
}

func (c *stopHook) Do(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

func (c *stopHook) OnStop(ctx context.Context, _ dog.StopReason) error { return c.stop(ctx, c.Name()) }

func newStopHooks(
	t testing.TB, options dog.Options, n int, stop func(ctx context.Context, name string) error,
) (*dog.Runtime, *dog.Namespace[stopHook]) {
	t.Helper()
	rt, err := dog.New(options)
	require.NoError(t, err)
	stopHooks, err := dog.RegisterObject(
		rt, "stopHook", &dog.ObjectOptions[stopHook]{New: func() *stopHook { return &stopHook{stop: stop} }},
	)
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, dog.CallErr(context.Background(), stopHooks.Named(strconv.Itoa(i)), (*stopHook).Do, nothing))
	}
	return rt, stopHooks
}

func nothing(context.Context) error { return nil }

func TestShutdown_HangingOnStopsDoNotPreventOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		var stopped atomic.Int32
		rt, _ := newStopHooks(t, dog.Options{}, 1000, func(_ context.Context, name string) error {
			if n, _ := strconv.Atoi(name); n%4 == 0 {
				<-until
			}
			stopped.Add(1)
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.ErrorIs(t, rt.Shutdown(ctx), context.DeadlineExceeded)
		require.EqualValues(t, 750, stopped.Load())
		close(until)
		require.NoError(t, rt.Shutdown(context.Background()))
		require.EqualValues(t, 1000, stopped.Load())
	})
}

func TestShutdown_ObjectCalledWhileOthersStopIsStoppedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopHooks *dog.Namespace[stopHook]
		var mu sync.Mutex
		stops := make(map[string]int)
		call := func(ctx context.Context, name string) error {
			return dog.CallErr(ctx, stopHooks.Named(name), (*stopHook).Do, nothing)
		}
		var rt *dog.Runtime
		rt, stopHooks = newStopHooks(t, dog.Options{}, 0, func(ctx context.Context, name string) error {
			mu.Lock()
			stops[name]++
			mu.Unlock()
			switch name {
			case "report": // to one that may have been stopped
				time.Sleep(time.Second)
				return call(ctx, "ledger")
			case "ping":
				return call(ctx, "pong")
			case "pong":
				return call(ctx, "ping")
			}
			return nil
		})
		for _, name := range []string{"report", "ledger", "ping", "pong"} {
			require.NoError(t, call(t.Context(), name))
		}
		require.NoError(t, rt.Shutdown(context.Background()), "those that call each other endlessly come to an end")
		require.Equal(t, 1, stops["report"])
		require.Equal(t, 2, stops["ledger"], "each life has its OnStop")
		require.LessOrEqual(t, stops["ping"], 10)
	})
}

// A busy object is stopped when it falls idle, whatever another one does.
func TestShutdown_BusyObjectIsStoppedWhenItFallsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan time.Time, 10)
		rt, stopHooks := newStopHooks(
			t, dog.Options{}, 0, func(context.Context, string) error { stopped <- time.Now(); return nil },
		)
		until := make(chan struct{})
		ended := make(chan error, 2)
		for name, wait := range map[string]func(){
			"slow": func() { time.Sleep(5 * time.Second) },
			"hung": func() { <-until },
		} {
			go func() {
				work := func(context.Context) error { wait(); return nil }
				ended <- dog.CallErr(context.Background(), stopHooks.Named(name), (*stopHook).Do, work)
			}()
		}
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := rt.Shutdown(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, "dog: shutdown gave up: context deadline exceeded: "+
			`1 requests, sockets and goroutines have not ended, 1 objects: stopHook "hung"`)
		require.LessOrEqual(t, (<-stopped).Sub(start), 7*time.Second)
		require.Empty(t, stopped)
		close(until)
		require.NoError(t, rt.Shutdown(context.Background()))
		require.Len(t, stopped, 1)
		require.NoError(t, errors.Join(<-ended, <-ended))
	})
}

// A Shutdown whose context has ended before it is called, as that of a server's
// Shutdown that took all the time, still sends close frames.
func TestShutdown_WithAnEndedContextStopsIdleObjectsAndClosesSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		h := fixture.NewRooms(
			t, 50,
			&fixture.Hooks{
				Message: func(context.Context, *fixture.Room, *dog.Socket, dog.Message) error { <-let; return nil },
			},
		)
		var stopped atomic.Int32
		stopHooks, err := dog.RegisterObject(h.Runtime, "stopHook", &dog.ObjectOptions[stopHook]{New: func() *stopHook {
			return &stopHook{stop: func(context.Context, string) error {
				stopped.Add(1)
				time.Sleep(time.Second / 2)
				stopped.Add(1)
				return nil
			}}
		}})
		require.NoError(t, err)
		require.NoError(t, dog.CallErr(t.Context(), stopHooks.Named("a"), (*stopHook).Do, nothing))
		var clients []*dogtest.Client
		for i := range 20 {
			clients = append(clients, h.Enter("user"+strconv.Itoa(i)))
		}
		clients[0].Send("hang")
		synctest.Wait()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		start := time.Now()
		require.ErrorIs(t, h.Runtime.Shutdown(over), context.Canceled)
		require.LessOrEqual(t, time.Since(start), time.Second)
		require.EqualValues(t, 2, stopped.Load())
		for _, c := range clients {
			code, _ := c.Closed()
			require.Equal(t, 1001, code)
		}
		close(let)
		shutdown(t, h.Runtime)
	})
}

// Output of a handler waits for the disk. Once the context of Shutdown has
// ended, the close frame does not.
func TestShutdown_ClosesSocketsWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		h := fixture.NewRoomsWith(
			t, dog.Options{Store: fixture.StoreOf(engine)}, dog.GroupOptions[fixture.Lobby]{Limit: 5},
			&fixture.Hooks{
				Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, _ dog.Message) error {
					return errors.Join(fixture.Put(r), s.Send("never sent"))
				},
			},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		ada.Send("store")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.ErrorIs(t, h.Runtime.Shutdown(ctx), context.DeadlineExceeded)
		for _, c := range []*dogtest.Client{ada, bob} {
			code, _ := c.Closed()
			require.Equal(t, 1001, code)
			require.Empty(t, c.Received())
		}
		engine.Prompt()
		shutdown(t, h.Runtime)
	})
}

// BenchmarkShutdown stops 50,000 objects whose OnStop stores something.
func BenchmarkShutdown(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		rt, err := dog.New(dog.Options{Store: disk.At(b.TempDir())})
		require.NoError(b, err)
		stopSavers, err := dog.RegisterObject[stopSaver](rt, "stopSaver", nil)
		require.NoError(b, err)
		var all sync.WaitGroup
		for w := range 64 {
			all.Go(func() {
				for i := w; i < 50_000; i += 64 {
					_ = dog.CallErr0(context.Background(), stopSavers.Named(strconv.Itoa(i)), (*stopSaver).Nothing)
				}
			})
		}
		all.Wait()
		b.StartTimer()
		require.NoError(b, rt.Shutdown(context.Background()))
	}
}

type stopSaver struct{ dog.Object }

func (s *stopSaver) Nothing(context.Context) error { return nil }

func (s *stopSaver) OnStop(context.Context, dog.StopReason) error {
	return s.Storage().Put("k", make([]byte, 200))
}
