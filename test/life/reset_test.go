package life_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// fatal are the ways in which a handler can fail such that its object is reset.
var fatal = map[string]func(ctx context.Context) error{
	"panic":        func(context.Context) error { panic("boom") },
	"out of range": func(context.Context) error { var none []int; return fmt.Errorf("%d", none[len(none)]) },
	"Goexit":       func(context.Context) error { runtime.Goexit(); return nil },
	"panic in Await": func(ctx context.Context) error {
		return dog.Await(ctx, func() error { panic("boom") })
	},
	"error in BlockConcurrencyWhile": func(ctx context.Context) error {
		return dog.BlockConcurrencyWhile(ctx, func(context.Context) error { return errors.New("boom") })
	},
	"panic in BlockConcurrencyWhile": func(ctx context.Context) error {
		return dog.BlockConcurrencyWhile(ctx, func(context.Context) error { panic("boom") })
	},
	"panic in BlockConcurrencyWhile, recovered by the handler": func(ctx context.Context) error {
		defer func() { _ = recover() }()
		return dog.BlockConcurrencyWhile(ctx, func(context.Context) error { panic("boom") })
	},
	"ErrAbortHandler where nothing is answered": func(context.Context) error { panic(http.ErrAbortHandler) },
}

func TestReset_AffectsOneObjectOnly(t *testing.T) {
	for name, fail := range fatal {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var happened []string
				rooms := make(map[dog.ID][]*fixture.Room) // the value of each life
				h := fixture.NewRooms(t, 2, &fixture.Hooks{
					Start: func(_ context.Context, r *fixture.Room) error {
						rooms[r.ID()] = append(rooms[r.ID()], r)
						return nil
					},
					Message: func(ctx context.Context, _ *fixture.Room, s *dog.Socket, m dog.Message) error {
						if m.String() == "fail" {
							return fail(ctx)
						}
						return s.Send(m)
					},
					Close: func(_ context.Context, r *fixture.Room, s *dog.Socket, code int, reason string) error {
						require.Same(t, rooms[r.ID()][1], r, "the new life")
						happened = append(happened, fmt.Sprint(s.UID(), code, reason))
						return nil
					},
				})
				ada, bob := h.Enter("ada"), h.Enter("bob")
				cyd := h.Enter("cyd") // on a sibling
				ada.Send("fail")
				for _, c := range []*dogtest.Client{ada, bob} {
					code, reason := c.Closed()
					require.Equal(t, 1011, code)
					require.Empty(t, reason)
				}
				synctest.Wait()
				require.ElementsMatch(t, []string{"ada1011", "bob1011"}, happened)
				require.Equal(t, []int{0, 1}, h.Loads())
				cyd.Send("well?")
				require.Equal(t, []string{"well?"}, fixture.Texts(cyd))

				again := h.Enter("ada")
				again.Send("hello")
				require.Equal(t, []string{"hello"}, fixture.Texts(again))
				require.Equal(t, []int{1, 1}, h.Loads(), "the same replica, as ada lingers there")
				require.Len(t, rooms, 2)
			})
		})
	}
}

func TestReset_LeavesOtherGroupsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Message: func(_ context.Context, _ *fixture.Room, s *dog.Socket, m dog.Message) error {
				if m.String() == "fail" {
					panic("boom")
				}
				return s.Send(m)
			}},
		)
		stub, err := h.Lobbies.Named("other").Identify(t.Context(), "bob")
		require.NoError(t, err)
		bob := dogtest.Serve(t, stub).Dial("/ws")
		h.Join("ada").Send("fail")
		synctest.Wait()
		bob.Send("still here")
		require.Equal(t, []string{"still here"}, fixture.Texts(bob))
	})
}

func TestReset_DropsMemoryAndKeepsIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := make(map[*fixture.Room]int) // guarded by the turn
		var ids []dog.ID
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				counts[r]++
				ids = append(ids, r.ID())
				if req.URL.Path == "/fail" {
					panic("boom")
				}
				_, _ = fmt.Fprint(w, counts[r])
			}},
		)
		var bodies []string
		for _, path := range []string{"/", "/", "/fail", "/", "/"} {
			_, body := h.Server.Get(path)
			bodies = append(bodies, body)
		}
		require.Equal(t, []string{"1", "2", "Internal Server Error\n", "1", "2"}, bodies)
		for _, id := range ids {
			require.Equal(t, ids[0], id)
		}
	})
}

func TestReset_CallsInFlightGetTheResetAndItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inFlight error
		h := fixture.NewRooms(t, 2, &fixture.Hooks{
			Gossip: func(ctx context.Context, _ *fixture.Room, m dog.Message) (any, error) {
				if m.String() == `"fail"` {
					panic(errors.New("boom"))
				}
				err := dog.Await(ctx, func() error { <-ctx.Done(); return context.Cause(ctx) })
				inFlight = err
				return "too late", nil
			},
		})
		h.Server.Get("/")
		slow := make(chan []dog.Reply)
		go func() {
			replies, _ := h.Group.Gossip(t.Context(), "wait")
			slow <- replies
		}()
		synctest.Wait()
		began := time.Now()
		failed, err := h.Group.Gossip(t.Context(), "fail")
		require.NoError(t, err)
		for _, reply := range []dog.Reply{failed[0], (<-slow)[0]} {
			require.ErrorIs(t, reply.Err, dog.ErrReset)
			var reset *dog.ResetError
			require.ErrorAs(t, reply.Err, &reset)
			require.Equal(t, reply.Replica, reset.Object)
			var panicked *dog.PanicError
			require.ErrorAs(t, reply.Err, &panicked)
			require.EqualError(t, panicked.Unwrap(), "boom")
			require.Contains(t, string(panicked.Stack), "reset_test.go")
			require.Nil(t, reply.Data)
		}
		require.ErrorIs(t, inFlight, dog.ErrReset, "the handler's context ended")
		require.Zero(t, time.Since(began))
	})
}

func TestReset_QueuedEventsSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 5,
			&fixture.Hooks{Receive: func(_ *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/fail" {
					time.Sleep(time.Second)
					panic("boom")
				}
			}},
		)
		failing := fixture.GetInBackground(h.Server, "/fail")
		synctest.Wait()
		waiting := fixture.GetInBackground(h.Server, "/wait")
		require.Equal(t, http.StatusInternalServerError, <-failing)
		require.Equal(t, http.StatusOK, <-waiting, "in the next life")
		fixture.RequireEmpty(t, h.Runtime)
	})
}

func TestReset_IsLoggedOnceWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := fixture.LogToBuffer()
		h := fixture.NewRoomsWith(t, options, dog.GroupOptions[fixture.Lobby]{Limit: 2}, &fixture.Hooks{
			Message: func(context.Context, *fixture.Room, *dog.Socket, dog.Message) error { panic("boom") },
		})
		h.Join("ada").Send("go")
		fixture.RequireEmpty(t, h.Runtime)
		require.Equal(t, 1, strings.Count(log.String(), "boom"))
		require.Contains(t, log.String(), "reset_test.go")
		require.Contains(t, log.String(), "namespace=room")
	})
}

func TestReset_FailedStartIsRetried(t *testing.T) {
	ways := map[string]func(context.Context) error{
		"error": func(context.Context) error { return errors.New("no database") },
	}
	for name, fail := range fatal {
		ways[name] = fail
	}
	for name, fail := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				starts := 0
				h := fixture.NewRooms(t, 2, &fixture.Hooks{Start: func(ctx context.Context, _ *fixture.Room) error {
					if starts++; starts <= 2 {
						return fail(ctx)
					}
					return nil
				}})
				replies := make(chan error, 1)
				failing := fixture.GetInBackground(h.Server, "/")
				require.NotEqual(t, http.StatusOK, <-failing)
				go func() {
					all, _ := h.Group.Gossip(t.Context(), "x")
					replies <- all[0].Err
				}()
				require.ErrorIs(t, <-replies, dog.ErrReset)
				status, _ := h.Server.Get("/")
				require.Equal(t, http.StatusOK, status)
				require.Equal(t, 3, starts)
				fixture.RequireEmpty(t, h.Runtime)
			})
		})
	}
}

func TestReset_SocketWhoseReplicaCannotStartIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, closed := 0, 0
		h := fixture.NewRooms(t, 2, &fixture.Hooks{
			Start: func(context.Context, *fixture.Room) error {
				if started++; started == 2 {
					return errors.New("no database")
				}
				return nil
			},
			Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				r.Connect(w, req, nil)
				panic("boom") // so that OnOpen runs in the second life
			},
			Close: func(context.Context, *fixture.Room, *dog.Socket, int, string) error { closed++; return nil },
		})
		code, _ := h.Join("ada").Closed()
		require.Equal(t, 1011, code)
		fixture.RequireEmpty(t, h.Runtime)
		require.Equal(t, 1, closed, "in the third life")
	})
}

func TestReset_PanicOfNewIsAReset(t *testing.T) {
	var used *dog.Group
	for name, test := range map[string]struct {
		wrong func() *dog.Group
		text  string
	}{
		"a panic":             {func() *dog.Group { panic("no database") }, "no database"},
		"nothing":             {func() *dog.Group { return nil }, `New of "lobby" returned nil`},
		"what is used by now": {func() *dog.Group { return used }, `New of "lobby" returned a value that is in use`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken := false
				rt := dogtest.New(t, dog.Options{})
				rooms, err := dog.RegisterReplica[dog.Replica](rt, "room", nil)
				require.NoError(t, err)
				lobbies, err := dog.RegisterGroup(
					rt, "lobby", rooms,
					&dog.GroupOptions[dog.Group]{New: func() *dog.Group {
						if broken {
							return test.wrong()
						}
						used = new(dog.Group)
						return used
					}, Limit: 1},
				)
				require.NoError(t, err)
				_, err = lobbies.Named("first").Identify(t.Context(), "ada")
				require.NoError(t, err)
				broken = true
				_, err = lobbies.Named("main").Identify(t.Context(), "ada")
				require.ErrorIs(t, err, dog.ErrReset)
				require.ErrorContains(t, err, test.text)
				broken = false
				_, err = lobbies.Named("main").Identify(t.Context(), "ada")
				require.NoError(t, err)
			})
		})
	}
}

func TestReset_ErrAbortHandlerAbortsTheResponseWithoutAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		h := fixture.NewRooms(t, 3, &fixture.Hooks{
			Start: func(context.Context, *fixture.Room) error { starts++; return nil },
			Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/ws" {
					r.Connect(w, req, nil)
					return
				}
				panic(http.ErrAbortHandler)
			},
		})
		ada := h.Enter("ada")
		_, err := h.Server.Client().Get(dogtest.URL + "/abort")
		require.Error(t, err, "no answer")
		synctest.Wait()
		require.Equal(t, 1, starts)
		require.Equal(t, []int{1}, h.Loads())
		ada.Close(1000, "")
		fixture.RequireEmpty(t, h.Runtime)

		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() {
			stub.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/abort", nil))
		})
		fixture.RequireEmpty(t, h.Runtime)
	})
}

func TestFault01_AResetOfAGroupKeepsItsReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(t, dog.GroupOptions[fixture.HookedLobby]{Limit: 1}, &fixture.Hooks{}, nil)
		starts := 0
		h.Start = func(context.Context, *fixture.HookedLobby) error { starts++; return nil }
		h.Receive = func(l *fixture.HookedLobby, w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/fail" {
				panic("boom")
			}
			_, _ = w.Write([]byte("fine"))
		}
		for _, uid := range []string{"ada", "bob"} {
			stub, err := h.Identify(t.Context(), uid)
			require.NoError(t, err)
			dogtest.Serve(t, stub).Dial("/ws")
		}
		srv := dogtest.Serve(t, h.Group)
		status, _ := srv.Get("/fail")
		require.Equal(t, http.StatusInternalServerError, status)
		status, body := srv.Get("/")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "fine", body)
		require.Equal(t, 2, starts)
		require.Equal(t, []int{1, 1}, h.Loads())
		reached, err := h.Group.Whisper(t.Context(), "bob", "hello")
		require.NoError(t, err)
		require.Equal(t, 1, reached)
		_, err = h.Identify(t.Context(), "cyd")
		require.NoError(t, err)
		require.Equal(t, []int{1, 1, 1}, h.Loads(), "the limit still holds")
	})
}

func TestReset_FailingOnCloseLeaksNothing(t *testing.T) {
	for name, fail := range fatal {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				closes := 0
				h := fixture.NewRooms(
					t, 2,
					&fixture.Hooks{
						Close: func(ctx context.Context, _ *fixture.Room, _ *dog.Socket, _ int, _ string) error {
							closes++
							return fail(ctx)
						},
					},
				)
				ada := h.Enter("ada")
				ada.Close(1000, "")
				fixture.RequireEmpty(t, h.Runtime)
				require.Equal(t, 1, closes)
				require.NoError(t, h.Runtime.Shutdown(t.Context()))
				require.Positive(t, h.Runtime.Stats().BytesIn, "the closed socket is counted")
			})
		})
	}
}
