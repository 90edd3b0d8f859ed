package turn_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// uses are all ways to use a context that belongs to a handler.
func uses(h *fixture.Rooms, r *fixture.Room, s *dog.Socket) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Await": func(ctx context.Context) error { return dog.Await(ctx, func() error { panic("it ran") }) },
		"Go": func(ctx context.Context) error {
			return dog.Go(ctx, func(context.Context) error { panic("it ran") })
		},
		"BlockConcurrencyWhile": func(ctx context.Context) error {
			return dog.BlockConcurrencyWhile(ctx, func(context.Context) error { panic("it ran") })
		},
		"Replica.Whisper":     func(ctx context.Context) error { _, err := r.Whisper(ctx, "ada", "x"); return err },
		"Replica.Gossip":      func(ctx context.Context) error { _, err := r.Gossip(ctx, "x"); return err },
		"Socket.Whisper":      func(ctx context.Context) error { _, err := s.Whisper(ctx, "ada", "x"); return err },
		"GroupStub.Broadcast": func(ctx context.Context) error { return h.Group.Broadcast(ctx, "x") },
		"GroupStub.Gossip":    func(ctx context.Context) error { _, err := h.Group.Gossip(ctx, "x"); return err },
		"Identify":            func(ctx context.Context) error { _, err := h.Identify(ctx, "ada"); return err },
	}
}

func TestTurn_ContextEndsWithItsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *fixture.Rooms
		var kept context.Context
		misuse := func(r *fixture.Room, s *dog.Socket) {
			for name, use := range uses(h, r, s) {
				require.ErrorIs(t, use(kept), dog.ErrOutsideTurn, name)
				derived, cancel := context.WithCancel(kept)
				require.ErrorIs(t, use(derived), dog.ErrOutsideTurn, name)
				cancel()
			}
		}
		h = fixture.NewRooms(t, 2, &fixture.Hooks{
			Open: func(ctx context.Context, r *fixture.Room, s *dog.Socket) error {
				kept = ctx
				require.NoError(
					t,
					dog.Go(ctx, func(context.Context) error { misuse(r, s); return s.Send("another goroutine") }),
				)
				return nil
			},
			Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, _ dog.Message) error {
				misuse(r, s)
				return s.Send("the same goroutine")
			},
		})
		ada := h.Enter("ada")
		ada.Send("go")
		require.Equal(t, []string{"another goroutine", "the same goroutine"}, fixture.Texts(ada))
		require.Equal(t, []int{1}, h.Loads())
	})
}

func TestTurn_ContextBelongsToTheGoroutineOfItsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *fixture.Rooms
		h = fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, _ dog.Message) error {
				defer r.RequireAlone(t)()
				done := make(chan struct{})
				go func() {
					defer close(done)
					for name, use := range uses(h, r, s) {
						if name != "Go" { // which is for that
							require.ErrorIs(t, use(ctx), dog.ErrOutsideTurn, name)
						}
					}
				}()
				<-done
				return s.Send("done")
			}},
		)
		ada := h.Enter("ada")
		ada.Send("go")
		require.Equal(t, []string{"done"}, fixture.Texts(ada))
	})
}

func TestTurn_ContextOfAWaitingHandlerServesOtherGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *fixture.Rooms
		h = fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Message: func(ctx context.Context, _ *fixture.Room, s *dog.Socket, _ dog.Message) error {
				err := dog.Await(ctx, func() error {
					errs := make(chan error)
					for i := range 3 {
						go func() { errs <- h.Group.Broadcast(ctx, fmt.Sprint(i)) }()
					}
					return errors.Join(<-errs, <-errs, <-errs)
				})
				return errors.Join(err, s.Send("done"))
			}},
		)
		ada := h.Enter("ada")
		ada.Send("go")
		got := fixture.Texts(ada)
		require.ElementsMatch(t, []string{"0", "1", "2", "done"}, got)
		require.Equal(t, "done", got[3])
	})
}

func TestTurn_ContextInUseAfterItsHandlerIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := fixture.LogToBuffer()
		h := fixture.NewRoomsWith(t, options, dog.GroupOptions[fixture.Lobby]{Limit: 2}, &fixture.Hooks{
			Message: func(ctx context.Context, _ *fixture.Room, s *dog.Socket, m dog.Message) error {
				return dog.Await(ctx, func() error {
					go func() { _ = dog.Await(ctx, func() error { time.Sleep(time.Hour); return nil }) }()
					time.Sleep(time.Second) // until it waits too
					return s.Send("handled")
				})
			},
		})
		ada := h.Enter("ada")
		ada.Send("go")
		require.Equal(t, "handled", ada.Receive().String())
		synctest.Wait()
		require.Contains(t, log.String(), "use dog.Go")
		ada.Send("again")
		require.Equal(t, "handled", ada.Receive().String(), "the turn is free")
		fixture.Elapse(2 * time.Hour)
	})
}

func TestTurn_AwaitOutsideAHandlerRunsItsFunction(t *testing.T) {
	ran := false
	failed := errors.New("failed")
	require.ErrorIs(t, dog.Await(context.Background(), func() error { ran = true; return failed }), failed)
	require.True(t, ran)
	require.ErrorIs(t, dog.Go(context.Background(), nil), dog.ErrOutsideTurn)
	require.ErrorIs(t, dog.BlockConcurrencyWhile(context.Background(), nil), dog.ErrOutsideTurn)
}

func TestTurn_GoRunsAfterTheHandlerInOrderWithTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Message: func(ctx context.Context, r *fixture.Room, _ *dog.Socket, _ dog.Message) error {
				defer r.RequireAlone(t)()
				for i := range 5 {
					require.NoError(t, dog.Go(ctx, func(ctx context.Context) error {
						defer r.RequireAlone(t)()
						time.Sleep(time.Second)
						order = append(order, fmt.Sprint(i))
						if i == 4 {
							return dog.Go(
								ctx, func(context.Context) error { order = append(order, "nested"); return nil },
							)
						}
						return nil
					}))
				}
				time.Sleep(time.Second)
				order = append(order, "handler")
				return nil
			}},
		)
		h.Enter("ada").Send("go")
		fixture.Elapse(time.Minute)
		require.Equal(t, []string{"handler", "0", "1", "2", "3", "4", "nested"}, order)
	})
}

func TestTurn_FailureInGoIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := fixture.LogToBuffer()
		h := fixture.NewRoomsWith(t, options, dog.GroupOptions[fixture.Lobby]{Limit: 2}, &fixture.Hooks{
			Message: func(ctx context.Context, _ *fixture.Room, _ *dog.Socket, m dog.Message) error {
				return dog.Go(ctx, func(context.Context) error {
					if m.String() == "panic" {
						panic("it panicked")
					}
					return errors.New("it failed")
				})
			},
		})
		ada := h.Enter("ada")
		ada.Send("error")
		synctest.Wait()
		require.Contains(t, log.String(), "it failed")
		require.Equal(t, 1, h.Runtime.Stats().Sockets)
		ada.Send("panic")
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		synctest.Wait()
		require.Contains(t, log.String(), "it panicked")
		fixture.RequireEmpty(t, h.Runtime)
	})
}

func TestTurn_HandlerSeesTheValuesOfItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var got []any
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Receive: func(_ *fixture.Room, _ http.ResponseWriter, req *http.Request) {
				got = append(got, req.Context().Value(key{}))
				require.NoError(t, dog.Go(req.Context(), func(ctx context.Context) error {
					got = append(got, ctx.Value(key{}))
					return nil
				}))
			}},
		)
		ctx := context.WithValue(t.Context(), key{}, "trace")
		stub, err := h.Identify(ctx, "ada")
		require.NoError(t, err)
		stub.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
		synctest.Wait()
		require.Equal(t, []any{"trace", "trace"}, got)
	})
}

// A handler that calls its own object with another context than its own would
// wait for itself. A RoundTrip waits in a goroutine of its own, and is not
// found.
func TestTurn_CallOfTheOwnObjectWithAnotherContextFails(t *testing.T) {
	other := context.Background()
	type stub = dog.Stub[fixture.Object]
	calls := map[string]func(own, another stub) error{
		"Call": func(own, _ stub) error { return dog.CallErr0(other, own, (*fixture.Object).Nothing) },
		"Call of another object that calls back": func(own, another stub) error {
			return dog.CallErr(other, another, (*fixture.Object).Do, func(ctx context.Context) error {
				return dog.CallErr0(ctx, own, (*fixture.Object).Nothing)
			})
		},
		"ServeHTTP": func(own, _ stub) error {
			w := httptest.NewRecorder()
			own.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if w.Code == http.StatusInternalServerError {
				return dog.ErrDeadlock
			}
			return nil
		},
		"Delete": func(own, _ stub) error { return own.Delete(other) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, objects := fixture.NewObjects(t, dog.Options{Store: fixture.OpenedStore(fixture.PromptEngine())})
				own := objects.Named("own")
				require.ErrorIs(t, fixture.InTurn(own, func(context.Context, *fixture.Object) error {
					return call(own, objects.Named("another"))
				}), dog.ErrDeadlock)
				require.NoError(t, dog.CallErr0(t.Context(), own, (*fixture.Object).Nothing))
			})
		})
	}
}

// A clusterizing group makes its replicas in its turn.
type clusterizing struct{ dog.Group }

func (*clusterizing) Clusterize(context.Context, string) (string, error) { return "", nil }

// Do runs a function in the turn.
func (*clusterizing) Do(_ context.Context, f func() error) error { return f() }

func TestTurn_IdentifyInTheOwnGroupWithAnotherContextFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		rooms, err := dog.RegisterReplica[fixture.Room](rt, "room", nil)
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "group", rooms, &dog.GroupOptions[clusterizing]{Limit: 1})
		require.NoError(t, err)
		group := groups.Named("main")
		require.ErrorIs(t, dog.CallErr(t.Context(), group.Stub, (*clusterizing).Do, func() error {
			_, err := group.Identify(context.Background(), "ada")
			return err
		}), dog.ErrDeadlock)
		_, err = group.Identify(t.Context(), "ada")
		require.NoError(t, err)
	})
}
