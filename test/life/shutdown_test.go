package life_test

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// shutdown shuts a runtime down with all the time in the world.
func shutdown(t *testing.T, rt *dog.Runtime) {
	t.Helper()
	require.NoError(t, rt.Shutdown(context.Background()))
}

func TestShutdown_ClosesSocketsWith1001AndLetsTheirHandlersFinish(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var ended []string // guarded by the turn
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error {
				time.Sleep(time.Second)
				ended = append(ended, "handled "+m.String())
				return nil
			},
			Close: func(ctx context.Context, _ fixture.Owner, s *dog.Socket, code int, reason string) error {
				ended = append(ended, s.UID())
				require.NoError(t, ctx.Err())
				require.Equal(t, 1001, code)
				require.NotEmpty(t, reason)
				return nil
			},
		})
		ada, bob := v.Server.Dial("/?u=ada"), v.Server.Dial("/?u=bob")
		ada.Send("slow")
		synctest.Wait()
		start := time.Now()
		shutdown(t, v.Runtime)
		require.Equal(t, time.Second, time.Since(start), "it waits for the handler and for nothing else")
		require.Equal(t, "handled slow", ended[0])
		require.ElementsMatch(t, []string{"ada", "bob"}, ended[1:])
		for _, c := range []*dogtest.Client{ada, bob} {
			code, reason := c.Closed()
			require.Equal(t, 1001, code)
			require.Equal(t, "server shutting down", reason)
		}
		stats := v.Runtime.Stats()
		require.Zero(t, stats.Sockets)
		if fixture.IsReplica(kind) {
			require.Zero(t, stats.Groups[0].Replicas[0].Load)
		}
	})
}

func TestShutdown_OnCloseMayUseTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var failures []error
		answers := 0
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Close: func(ctx context.Context, r *fixture.Room, s *dog.Socket, _ int, _ string) error {
				replies, err := r.Gossip(ctx, "who is left?")
				broadcast := s.Broadcast("bye")
				_, whisper := s.Whisper(ctx, "nobody", "hello?")
				later := dog.Go(ctx, func(context.Context) error { return nil })
				if errors.Is(whisper, dog.ErrNoTarget) {
					whisper = nil
				}
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err, broadcast, whisper, later)
				for _, r := range replies {
					failures = append(failures, r.Err)
					answers++
				}
				return nil
			},
		})
		for _, u := range []string{"ada", "bob", "cyd"} {
			h.Join(u)
		}
		shutdown(t, h.Runtime)
		require.NoError(t, errors.Join(failures...))
		require.Equal(t, 6, answers, "each of three replicas gets two answers")
	})
}

func TestShutdown_RefusesRequestsDuringAndAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		h := fixture.NewRooms(
			t, 3,
			&fixture.Hooks{Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/late" {
					<-let
				}
				r.Connect(w, req, nil)
			}},
		)
		ctx := t.Context()
		before, err := h.Identify(ctx, "ada")
		require.NoError(t, err)
		late := make(chan *http.Response)
		go func() {
			_, answer, _ := h.Server.TryDial("/late?u=late", dogtest.DialOptions{})
			late <- answer
		}()
		synctest.Wait()
		done := make(chan error)
		go func() { done <- h.Runtime.Shutdown(context.Background()) }()
		synctest.Wait()

		refused := func() {
			for _, stub := range []http.Handler{before, h.Group} {
				w := httptest.NewRecorder()
				stub.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				require.Equal(t, http.StatusServiceUnavailable, w.Code)
				require.NotEmpty(t, w.Header().Get("Retry-After"))
			}
			_, err := h.Identify(ctx, "bob")
			require.ErrorIs(t, err, dog.ErrShutdown)
			require.ErrorIs(t, h.Group.Broadcast(ctx, "x"), dog.ErrShutdown)
			_, err = h.Group.Whisper(ctx, "ada", "x")
			require.ErrorIs(t, err, dog.ErrShutdown)
			_, err = h.Group.Gossip(ctx, "x")
			require.ErrorIs(t, err, dog.ErrShutdown)
			_, err = h.Group.Disconnect(ctx, "ada", 1000, "")
			require.ErrorIs(t, err, dog.ErrShutdown)
		}
		refused()
		select {
		case <-done:
			require.Fail(t, "Shutdown did not wait for the request under way")
		default:
		}
		close(let)
		answer := <-late
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode, "Connect is refused once shutdown has begun")
		require.NotEmpty(t, answer.Header.Get("Retry-After"))
		require.NoError(t, <-done)
		refused()
	})
}

func TestShutdown_MayBeCalledConcurrentlyAndRepeatedly(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(
			t, kind, dog.Options{},
			&fixture.OwnerHooks{Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error {
				time.Sleep(time.Second)
				return nil
			}},
		)
		v.Enter("ada")
		results := make(chan error, 5)
		for range cap(results) {
			go func() { results <- v.Runtime.Shutdown(context.Background()) }()
		}
		synctest.Wait()
		require.Empty(t, results, "all wait for the end")
		for range cap(results) {
			require.NoError(t, <-results)
		}
		// A context that is done does not turn what is complete into a failure.
		done, cancel := context.WithCancel(context.Background())
		cancel()
		for range 20 {
			require.NoError(t, v.Runtime.Shutdown(done))
		}
	})
}

func TestShutdown_OfAnUnusedRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, err := dog.New(dog.Options{})
		require.NoError(t, err)
		require.NoError(t, rt.Shutdown(context.Background()))
	})
}

func TestShutdown_GivesUpWhenItsContextEnds(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		let := make(chan struct{})
		var cause error
		var closed []string // guarded by the turn
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Message: func(ctx context.Context, _ fixture.Owner, _ *dog.Socket, _ dog.Message) error {
				<-let
				cause = context.Cause(ctx)
				return nil
			},
			Close: func(_ context.Context, _ fixture.Owner, s *dog.Socket, code int, _ string) error {
				closed = append(closed, s.UID())
				require.Equal(t, 1001, code)
				return nil
			},
		})
		ada, bob := v.Server.Dial("/?u=ada"), v.Server.Dial("/?u=bob")
		ada.Send("stuck")
		synctest.Wait()
		impatient := errors.New("impatient")
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Second, impatient)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, v.Runtime.Shutdown(ctx), impatient)
		require.Equal(t, time.Second, time.Since(start))
		for _, c := range []*dogtest.Client{ada, bob} {
			code, _ := c.Closed()
			require.Equal(t, 1001, code)
		}

		close(let)
		shutdown(t, v.Runtime)
		require.ErrorIs(t, cause, dog.ErrShutdown, "the handler gets the cause")
		slices.Sort(closed)
		require.Equal(t, []string{"ada", "bob"}, closed, "OnClose runs even then, once for each")
	})
}

func TestShutdown_TimeoutCutsConnections(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{})
		v.Server.DialWith("/?u=silent", dogtest.DialOptions{OnDemand: true})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, v.Runtime.Shutdown(ctx), context.DeadlineExceeded)
		start := time.Now()
		shutdown(t, v.Runtime)
		require.Equal(t, start, time.Now(), "the rest of CloseTimeout is not waited for")
	})
}

func TestShutdown_TimeoutRefusesQueuedRequests(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		let := make(chan struct{})
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Receive: func(fixture.Owner, http.ResponseWriter, *http.Request) error { <-let; return nil },
		})
		statuses := make(chan int, 2)
		get := func() {
			status, _ := v.Server.Get("/?u=ada")
			statuses <- status
		}
		go get()
		synctest.Wait()
		go get()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, v.Runtime.Shutdown(ctx), context.DeadlineExceeded)
		require.Equal(t, http.StatusServiceUnavailable, <-statuses)
		close(let)
		require.Equal(t, http.StatusOK, <-statuses, "an answer that comes late is an answer")
		shutdown(t, v.Runtime)
	})
}

func TestShutdown_TimeoutEndsTheContextOfHandlers(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(
			t, kind, dog.Options{},
			&fixture.OwnerHooks{Receive: func(_ fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				<-req.Context().Done()
				dog.WriteError(w, context.Cause(req.Context()))
				return nil
			}},
		)
		status := make(chan int)
		go func() {
			code, _ := v.Server.Get("/?u=ada")
			status <- code
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, v.Runtime.Shutdown(ctx), context.DeadlineExceeded)
		require.Equal(t, http.StatusServiceUnavailable, <-status)
		shutdown(t, v.Runtime)
	})
}

func TestShutdown_WaitsForGo(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var ran []string // guarded by the turn
		v := fixture.NewOwners(
			t, kind, dog.Options{},
			&fixture.OwnerHooks{Open: func(ctx context.Context, _ fixture.Owner, _ *dog.Socket) error {
				return dog.Go(ctx, func(ctx context.Context) error {
					time.Sleep(time.Second)
					ran = append(ran, "first")
					return dog.Go(ctx, func(ctx context.Context) error {
						time.Sleep(time.Second)
						ran = append(ran, "second")
						return ctx.Err()
					})
				})
			}},
		)
		v.Server.Dial("/?u=ada")
		shutdown(t, v.Runtime)
		require.Equal(t, []string{"first", "second"}, ran)
	})
}

func TestShutdown_SilentClientDelaysItByCloseTimeoutAtMost(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		closes := 0
		v := fixture.NewOwners(
			t, kind, dog.Options{Sockets: dog.SocketOptions{CloseTimeout: 3 * time.Second}},
			&fixture.OwnerHooks{
				Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error { closes++; return nil },
			},
		)
		v.Server.DialWith("/?u=silent", dogtest.DialOptions{OnDemand: true})
		v.Server.Dial("/?u=ada")
		start := time.Now()
		shutdown(t, v.Runtime)
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, 2, closes)
	})
}

// A socket whose handshake has begun before Shutdown, and that joins after it,
// is closed like the others.
func TestShutdown_MissesNoConcurrentSocket(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		ended := 0
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Close: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, code int, _ string) error {
				ended = code
				return nil
			},
		})
		network, err := v.Server.Client().Transport.(fixture.Dialer).DialContext(t.Context(), "", "")
		require.NoError(t, err)
		defer network.Close()
		go fixture.NewUpgrade("/?u=ada").Write(network)
		synctest.Wait() // the server cannot finish the handshake: nobody reads its answer
		done := make(chan error)
		go func() { done <- v.Runtime.Shutdown(context.Background()) }()
		synctest.Wait()

		client := bufio.NewReader(network)
		answer, err := http.ReadResponse(client, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
		closing, err := client.Peek(4)
		require.NoError(t, err)
		require.Equal(t, []byte{0x88, closing[1], 1001 >> 8, 1001 & 0xff}, closing, "a close frame")
		require.NoError(t, network.Close())
		require.NoError(t, <-done)
		require.Equal(t, 1001, ended)
		require.Zero(t, v.Runtime.Stats().Sockets)
	})
}

// closing is a store that takes its time to close.
type closing struct {
	*storetest.Engine
	let chan struct{}
}

func (c *closing) OpenEngine(*slog.Logger) (store.Engine, error) { return c, nil }

func (c *closing) Close() error {
	<-c.let
	return c.Engine.Close()
}

func TestShutdown_ReportsThatTheStoreHasNotClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &closing{storetest.New(), make(chan struct{})}
		rt, err := dog.New(dog.Options{Store: fixture.StoreOf(engine)})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.EqualError(
			t, rt.Shutdown(ctx), "dog: shutdown gave up: context deadline exceeded: the store has not closed",
		)
		close(engine.let)
		require.NoError(t, rt.Shutdown(t.Context()))
		require.NoError(t, rt.Shutdown(ctx), "it is over, whatever the context")
	})
}
