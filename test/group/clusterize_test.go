package group_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// How a group makes replicas.

// identifyAll lets callers identify at the same time and returns their errors.
func identifyAll(ctx context.Context, h *fixture.HookedLobbies, callers int) []error {
	results := make(chan error, callers)
	for i := range callers {
		go func() {
			_, err := h.Identify(ctx, "caller "+strconv.Itoa(i))
			results <- err
		}()
	}
	var all []error
	for range callers {
		all = append(all, <-results)
	}
	return all
}

func TestClusterize_NamesTheReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var askedFor, name, group string
		identify := func() dog.ID {
			h := fixture.NewHookedLobbies(
				t, fixture.LobbyLimit(1),
				&fixture.Hooks{Start: func(_ context.Context, r *fixture.Room) error {
					name, group = r.Name(), r.GroupName()
					return nil
				}},
				func(_ context.Context, uid string) (string, error) {
					askedFor = uid
					return "kitchen", nil
				},
			)
			stub, err := h.Identify(t.Context(), "ada")
			require.NoError(t, err)
			status, _ := dogtest.Serve(t, stub).Get("/")
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "kitchen", stub.Name())
			return stub.ID()
		}
		id := identify()
		require.Equal(t, []string{"ada", "kitchen", "main"}, []string{askedFor, name, group})
		require.Equal(t, id, identify(), "the same in every process")
	})
}

func TestClusterize_MakesReplicasOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		h := fixture.NewHookedLobbies(
			t, fixture.LobbyLimit(2), &fixture.Hooks{},
			func(ctx context.Context, _ string) (string, error) {
				calls++
				name := strconv.Itoa(calls)
				return name, fixture.Pause(ctx, time.Second)
			},
		)
		began := time.Now()
		for _, err := range identifyAll(t.Context(), h, 5) {
			require.NoError(t, err)
		}
		require.Equal(t, 3, calls)
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Equal(t, []int{2, 2, 1}, h.Loads())
	})
}

func TestClusterize_ErrorReachesAllWaitersAndTheNextCallRetries(t *testing.T) {
	broken := errors.New("no names left")
	ways := map[string]struct {
		fail func() error
		want error
	}{
		"error": {func() error { return broken }, broken},
		"panic": {func() error { panic("broken") }, dog.ErrReset},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				h := fixture.NewHookedLobbies(
					t, fixture.LobbyLimit(5), &fixture.Hooks{},
					func(ctx context.Context, _ string) (string, error) {
						if calls++; calls > 1 {
							return "fine", nil
						}
						_ = fixture.Pause(ctx, time.Second)
						return "", way.fail()
					},
				)
				for _, err := range identifyAll(t.Context(), h, 5) {
					require.ErrorIs(t, err, way.want)
				}
				require.Equal(t, 1, calls)
				require.Empty(t, h.Loads())
				_, err := h.Identify(t.Context(), "ada")
				require.NoError(t, err)
				require.Equal(t, []int{1}, h.Loads())
			})
		})
	}
}

func TestClusterize_MustNotNameALiveReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(
			t, fixture.LobbyLimit(1), &fixture.Hooks{},
			func(context.Context, string) (string, error) { return "only", nil },
		)
		_, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		_, err = h.Identify(t.Context(), "bob")
		fixture.RequireUsage(t, err, "this name already")
		require.Equal(t, []int{1}, h.Loads())

		time.Sleep(2 * time.Minute) // it has been retired
		_, err = h.Identify(t.Context(), "bob")
		require.NoError(t, err)
		require.Equal(t, []int{1}, h.Loads())
	})
}

func TestClusterize_CallerThatGivesUpAffectsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(
			t, fixture.LobbyLimit(5), &fixture.Hooks{},
			func(ctx context.Context, _ string) (string, error) {
				return "late", errors.Join(fixture.Pause(ctx, 2*time.Second), ctx.Err())
			},
		)
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := make(chan error, 1)
		go func() {
			_, err := h.Identify(impatient, "ada") // it is the one that Clusterize is called for
			first <- err
		}()
		synctest.Wait()
		began := time.Now()
		for _, err := range identifyAll(t.Context(), h, 3) {
			require.NoError(t, err)
		}
		require.Equal(t, 2*time.Second, time.Since(began))
		require.ErrorIs(t, <-first, context.DeadlineExceeded)
		require.Equal(t, []int{3}, h.Loads(), "who gave up holds no place")
	})
}

func TestClusterize_IdentifyWithTheGroupsTurnKeptIsADeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(
			t, fixture.LobbyLimit(1), &fixture.Hooks{},
			func(context.Context, string) (string, error) { return "free", nil },
		)
		var kept, given error
		h.Receive = func(_ *fixture.HookedLobby, _ http.ResponseWriter, req *http.Request) {
			ctx := req.Context()
			_ = dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error {
				_, kept = h.Identify(ctx, "ada")
				return nil
			})
			_, given = h.Identify(ctx, "ada")
		}
		began := time.Now()
		status, _ := dogtest.Serve(t, h.Group).Get("/")
		require.Equal(t, http.StatusOK, status)
		require.ErrorIs(t, kept, dog.ErrDeadlock)
		require.NoError(t, given, "it gives up the turn")
		require.Zero(t, time.Since(began))
	})
}

func TestClusterize_NotBeforeTheGroupHasStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(t, fixture.LobbyLimit(1), &fixture.Hooks{}, nil)
		var early error
		h.Start = func(ctx context.Context, _ *fixture.HookedLobby) error {
			_, early = h.Identify(ctx, "early")
			return nil
		}
		_, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		require.ErrorIs(t, early, dog.ErrDeadlock)
		require.Equal(t, []int{1}, h.Loads())
	})
}

func TestClusterize_UnnamedReplicaHasARandomID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(t, fixture.LobbyLimit(1), &fixture.Hooks{}, nil)
		first, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		second, err := h.Identify(t.Context(), "bob")
		require.NoError(t, err)
		require.Empty(t, first.Name())
		require.NotEqual(t, first.ID(), second.ID())
	})
}

// opening is a group that may fail to start.
type opening struct {
	dog.Group
	start func() error
}

func (o *opening) OnStart(context.Context) error { return o.start() }

func TestClusterize_FailsIfTheGroupCannotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts, broken := 0, errors.New("not ready")
		rt := dogtest.New(t, dog.Options{})
		start := func() error {
			if starts++; starts <= 2 {
				return broken
			}
			return nil
		}
		rooms, err := dog.RegisterReplica(
			rt, "room",
			&dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: &fixture.Hooks{}} }},
		)
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "opening", rooms, &dog.GroupOptions[opening]{
			New: func() *opening { return &opening{start: start} }, Limit: 1,
		})
		require.NoError(t, err)
		for range 2 {
			_, err = groups.Named("main").Identify(t.Context(), "ada")
			require.ErrorIs(t, err, dog.ErrReset)
			require.ErrorIs(t, err, broken)
		}
		_, err = groups.Named("main").Identify(t.Context(), "ada")
		require.NoError(t, err)
		require.Equal(t, 3, starts)
	})
}

// What ends the group's life ends the wait for a Clusterize that hangs.
func TestClusterize_WaitersGetTheEndOfTheGroup(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(h *fixture.HookedLobbies) error
		want error
	}{
		"Abort": {func(h *fixture.HookedLobbies) error { return h.Group.Abort(errors.New("it hangs")) }, dog.ErrReset},
		"Shutdown": {func(h *fixture.HookedLobbies) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := h.Runtime.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return errors.New("nothing hangs")
			}
			return nil
		}, dog.ErrShutdown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				until, calls := make(chan struct{}), 0
				h := fixture.NewHookedLobbies(
					t, fixture.LobbyLimit(5), &fixture.Hooks{},
					func(context.Context, string) (string, error) {
						if calls++; calls == 1 {
							<-until
						}
						return "", nil
					},
				)
				// A caller that waits for the start of the group, and not for
				// Clusterize, starts again.
				require.NoError(t, dog.CallErr0(t.Context(), h.Group.Stub, (*fixture.HookedLobby).Wake))
				waits := make(chan error, 3)
				for i := range cap(waits) {
					go func() {
						_, err := h.Identify(context.Background(), "caller "+strconv.Itoa(i))
						waits <- err
					}()
				}
				synctest.Wait()
				require.NoError(t, c.end(h))
				_, err := h.Identify(context.Background(), "the next")
				if name == "Abort" {
					require.NoError(t, err, "it shares nothing with those from before")
				} else {
					require.ErrorIs(t, err, dog.ErrShutdown)
				}
				for range cap(waits) {
					require.ErrorIs(t, <-waits, c.want)
				}
				close(until)
			})
		})
	}
}
