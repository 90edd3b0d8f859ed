package life_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
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

// starter is an object whose OnStart is set by a test.
type starter struct {
	dog.Object
	start func(ctx context.Context, s *starter) error
}

func (s *starter) OnStart(ctx context.Context) error { return s.start(ctx, s) }

func (s *starter) Nothing(context.Context) error { return nil }

func newStarters(
	t *testing.T, options dog.Options, start func(ctx context.Context, s *starter) error,
) *dog.Namespace[starter] {
	t.Helper()
	starters, err := dog.RegisterObject(
		dogtest.New(t, options), "starter",
		&dog.ObjectOptions[starter]{New: func() *starter { return &starter{start: start} }},
	)
	require.NoError(t, err)
	return starters
}

// callMany has many callers call an object and returns their errors and how
// long the last one took.
func callMany(stub dog.Stub[starter], callers int) (errs []error, took time.Duration) {
	errs = make([]error, callers)
	start := time.Now()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() { errs[i] = dog.CallErr0(context.Background(), stub, (*starter).Nothing) })
	}
	all.Wait()
	return errs, time.Since(start)
}

func TestStart_FailureReachesAllWaiters(t *testing.T) {
	noDatabase := errors.New("no database")
	for name, fail := range map[string]func() error{
		"an error":             func() error { return noDatabase },
		"a panic":              func() error { panic(noDatabase) },
		"the end of a context": func() error { return context.DeadlineExceeded },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				starts := 0
				starters := newStarters(t, dog.Options{}, func(context.Context, *starter) error {
					time.Sleep(5 * time.Second)
					if starts++; starts > 1 {
						return nil
					}
					return fail()
				})
				errs, took := callMany(starters.Named("a"), 100)
				require.Equal(t, 5*time.Second, took)
				require.Equal(t, 1, starts)
				for _, err := range errs {
					require.ErrorIs(t, err, dog.ErrReset)
					require.Equal(t, errs[0].Error(), err.Error(), "all get one error")
				}
				errs, took = callMany(starters.Named("a"), 100)
				require.NoError(t, errors.Join(errs...), "the next calls try again")
				require.Equal(t, 5*time.Second, took)
				require.Equal(t, 2, starts)
			})
		})
	}
}

func TestStart_HangingOneEndsAfterItsTimeout(t *testing.T) {
	for _, c := range []struct{ option, want time.Duration }{{0, 30 * time.Second}, {time.Minute, time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			let := make(chan struct{})
			var starts atomic.Int32
			var ended error
			starters := newStarters(
				t, dog.Options{StartTimeout: c.option},
				func(ctx context.Context, _ *starter) error {
					if starts.Add(1) == 1 {
						<-let // it does not heed its context
						ended = context.Cause(ctx)
					}
					return nil
				},
			)
			stub := starters.Named("a")
			errs, took := callMany(stub, 100)
			require.Equal(t, c.want, took)
			for _, err := range errs {
				require.ErrorIs(t, err, dog.ErrReset)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "StartTimeout")
			}
			require.NoError(t, dog.CallErr0(t.Context(), stub, (*starter).Nothing), "the next call tries again")
			close(let)
			synctest.Wait()
			require.ErrorIs(t, ended, dog.ErrReset)
			require.NoError(t, dog.CallErr0(t.Context(), stub, (*starter).Nothing))
			require.EqualValues(t, 2, starts.Load())
		})
	}
}

func TestStart_MayTakeLongWithoutATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starters := newStarters(t, dog.Options{StartTimeout: -1}, func(context.Context, *starter) error {
			time.Sleep(24 * time.Hour)
			return nil
		})
		require.NoError(t, dog.CallErr0(t.Context(), starters.Named("a"), (*starter).Nothing))
	})
}

// Who gives up waiting for a start gets away, and spoils nothing for the
// others.
func TestStart_CallersWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		starters := newStarters(t, dog.Options{}, func(context.Context, *starter) error {
			starts++
			time.Sleep(20 * time.Second)
			return nil
		})
		stub := starters.Named("a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first, second := make(chan error), make(chan error)
		began := time.Now()
		go func() { first <- dog.CallErr0(ctx, stub, (*starter).Nothing) }()
		synctest.Wait()
		go func() { second <- dog.CallErr0(context.Background(), stub, (*starter).Nothing) }()
		require.ErrorIs(t, <-first, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		require.NoError(t, <-second)
		require.Equal(t, 20*time.Second, time.Since(began))
		require.Equal(t, 1, starts)
	})
}

func TestStart_AbortEndsAHangingHandler(t *testing.T) {
	reason := errors.New("enough")
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		var starts atomic.Int32
		starters := newStarters(t, dog.Options{StartTimeout: -1}, func(ctx context.Context, s *starter) error {
			if starts.Add(1) == 1 {
				<-let
			}
			return nil
		})
		stub := starters.Named("a")
		go func() {
			time.Sleep(time.Hour)
			require.NoError(t, stub.Abort(reason))
		}()
		errs, took := callMany(stub, 10)
		require.Equal(t, time.Hour, took)
		for _, err := range errs {
			require.ErrorIs(t, err, reason)
		}
		require.NoError(t, dog.CallErr0(t.Context(), stub, (*starter).Nothing))
		close(let)

		// A handler that hangs: callers that wait for its turn get the next
		// life.
		_, cells := fixture.NewObjects(t, dog.Options{})
		hung, waits := make(chan error), make(chan error)
		again := make(chan struct{})
		go func() {
			hang := func(ctx context.Context) error {
				<-ctx.Done()
				<-again
				return nil
			}
			hung <- dog.CallErr(context.Background(), cells.Named("a"), (*fixture.Object).Do, hang)
		}()
		synctest.Wait()
		go func() { waits <- dog.CallErr0(context.Background(), cells.Named("a"), (*fixture.Object).Nothing) }()
		synctest.Wait()
		require.NoError(t, cells.Named("a").Abort(reason))
		require.NoError(t, <-waits)
		close(again)
		require.ErrorIs(t, <-hung, reason)
		fixture.RequireUsage(t, dog.Stub[fixture.Object]{}.Abort(reason), "not made by a runtime")
		require.NoError(t, cells.Named("nobody").Abort(nil))
	})
}

func TestStart_AbortClosesSocketsOfAHibernatedReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaking(t, func(int) error { return nil })
		ada := w.srv.Dial("/?u=ada")
		ada.Send("hello")
		require.Equal(t, []string{"hello"}, fixture.Texts(ada))
		time.Sleep(time.Minute)
		stub, err := w.group.Identify(t.Context(), "ada")
		require.NoError(t, err)
		require.NoError(t, stub.Abort(nil))
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
	})
}

// waking is a room that sleeps, with sockets, and whose OnStart a test decides.
type waking struct {
	srv    *dogtest.Server
	group  dog.GroupStub[fixture.Lobby, fixture.Room]
	starts int // guarded by the turn of the room
}

// newWaking has start decide on the OnStart of a number, from 1.
func newWaking(t *testing.T, start func(n int) error) *waking {
	t.Helper()
	w := new(waking)
	rt := dogtest.New(t, dog.Options{HibernateAfter: 10 * time.Second})
	on := &fixture.Hooks{
		Start: func(context.Context, *fixture.Room) error { w.starts++; return start(w.starts) },
		Receive: func(r *fixture.Room, rw http.ResponseWriter, req *http.Request) {
			if req.URL.Query().Has("plain") {
				return
			}
			r.Connect(rw, req, nil)
		},
		Message: func(_ context.Context, _ *fixture.Room, s *dog.Socket, m dog.Message) error { return s.Send(m) },
	}
	rooms, err := dog.RegisterReplica(
		rt, "room",
		&dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: on} }, Hibernate: true},
	)
	require.NoError(t, err)
	lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[fixture.Lobby]{Limit: 100})
	require.NoError(t, err)
	w.group = lobbies.Named("main")
	w.srv = dogtest.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		stub, err := w.group.Identify(req.Context(), req.URL.Query().Get("u"))
		if err != nil {
			dog.WriteError(rw, err)
			return
		}
		stub.ServeHTTP(rw, req)
	}))
	return w
}

func TestStart_SocketsSurviveAFailedWake(t *testing.T) {
	down := errors.New("database is down")
	for name, c := range map[string]struct {
		fails int // how often OnStart fails when the room wakes
		after time.Duration
		open  bool
	}{
		"once": {1, time.Second, true}, "twice": {2, 3 * time.Second, true}, "for good": {100, 3 * time.Second, false},
	} {
		for _, how := range []string{"an error", "a panic"} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWaking(t, func(n int) error {
						switch {
						case n == 1 || n > 1+c.fails:
							return nil
						case how == "a panic":
							panic(down)
						}
						return down
					})
					var clients []*dogtest.Client
					for i := range 50 {
						clients = append(clients, w.srv.Dial("/?u="+strconv.Itoa(i)))
					}
					time.Sleep(time.Minute)
					start := time.Now()
					for _, c := range clients[:10] {
						c.Send("hello")
					}
					statuses := make(chan int, 1)
					go func() {
						status, _ := w.srv.Get("/?plain&u=visitor")
						statuses <- status
					}()
					status := <-statuses
					require.Equal(t, c.after, time.Since(start))
					if !c.open {
						require.Equal(t, http.StatusInternalServerError, status)
						for _, c := range clients {
							code, _ := c.Closed()
							require.Equal(t, 1011, code)
						}
						return
					}
					require.Equal(t, http.StatusOK, status)
					for _, c := range clients[:10] {
						require.Equal(t, []string{"hello"}, fixture.Texts(c), "the message was not lost")
					}
					clients[40].Send("and me")
					require.Equal(t, []string{"and me"}, fixture.Texts(clients[40]))
				})
			})
		}
	}
}
