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
	"github.com/godurable/dog/test/internal/fixture"
)

func TestTurn_OneHandlerRunsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handled := 0 // guarded by the turn of the one room
		work := func(r *fixture.Room) {
			defer r.RequireAlone(t)()
			time.Sleep(10 * time.Millisecond)
			handled++
		}
		h := fixture.NewRooms(t, 100, &fixture.Hooks{
			Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				work(r)
				if req.URL.Path == "/ws" {
					r.Connect(w, req, nil)
				}
			},
			Open: func(_ context.Context, r *fixture.Room, _ *dog.Socket) error { work(r); return nil },
			Message: func(_ context.Context, r *fixture.Room, _ *dog.Socket, _ dog.Message) error {
				work(r)
				return nil
			},
			Close: func(_ context.Context, r *fixture.Room, _ *dog.Socket, _ int, _ string) error {
				work(r)
				return nil
			},
			Gossip: func(_ context.Context, r *fixture.Room, _ dog.Message) (any, error) { work(r); return nil, nil },
		})
		h.Server.Get("/") // makes the room
		for i := range 5 {
			go func() {
				c := h.Join(fmt.Sprint(i))
				c.Send("1")
				c.Send("2")
				c.Close(1000, "")
			}()
			fixture.GetInBackground(h.Server, "/")
			go func() { _, _ = h.Group.Gossip(t.Context(), nil) }()
		}
		fixture.Elapse(time.Minute)
		require.Equal(t, 1+5*(1+1+2+1)+5+5, handled)
		fixture.RequireEmpty(t, h.Runtime)
	})
}

// interleaving runs first in a handler while another event waits for the turn,
// and returns in which order they ended.
func interleaving(
	t *testing.T, first func(ctx context.Context, r *fixture.Room, s *dog.Socket) error,
) (order []string) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, _ dog.Message) error {
				if s.UID() == "ada" {
					time.Sleep(time.Second) // keeps the turn, so that bob queues
					require.NoError(t, first(ctx, r, s))
				}
				order = append(order, s.UID())
				return nil
			}},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		h.Enter("cyd") // on a replica of its own, for gossip
		ada.Send("1")
		synctest.Wait()
		bob.Send("2")
		fixture.Elapse(time.Minute)
	})
	return order
}

func TestTurn_MethodWithAContextLetsOthersIn(t *testing.T) {
	waits := map[string]func(ctx context.Context, r *fixture.Room, s *dog.Socket) error{
		"Await": func(ctx context.Context, _ *fixture.Room, _ *dog.Socket) error {
			return dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
		},
		"Gossip": func(ctx context.Context, r *fixture.Room, _ *dog.Socket) error {
			_, err := r.Gossip(ctx, "x")
			return err
		},
		"Replica.Whisper": func(ctx context.Context, r *fixture.Room, _ *dog.Socket) error {
			_, err := r.Whisper(ctx, "bob", "x")
			return err
		},
		"Socket.Whisper": func(ctx context.Context, _ *fixture.Room, s *dog.Socket) error {
			_, err := s.Whisper(ctx, "bob", "x")
			return err
		},
	}
	for name, wait := range waits {
		require.Equal(t, []string{"bob", "ada"}, interleaving(t, wait), name)
	}
}

func TestTurn_MethodWithoutAContextKeepsTheTurn(t *testing.T) {
	order := interleaving(t, func(_ context.Context, r *fixture.Room, s *dog.Socket) error {
		for range r.Sockets() {
			time.Sleep(time.Second)
		}
		return errors.Join(
			s.Send("x"), s.Emit("x"), r.Emit("x"), s.Broadcast("x"), r.Broadcast("x"),
			s.SetAttachment("x"), s.Attachment(new(string)), s.Close(1000, ""),
		)
	})
	require.Equal(t, []string{"ada", "bob"}, order)
}

func TestTurn_BlockConcurrencyWhileKeepsTheTurnAcrossWaits(t *testing.T) {
	order := interleaving(t, func(ctx context.Context, r *fixture.Room, _ *dog.Socket) error {
		return dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error {
			_, err := r.Gossip(ctx, "x")
			return errors.Join(
				err, r.Broadcast("x"), dog.Await(ctx, func() error { time.Sleep(time.Second); return nil }),
			)
		})
	})
	require.Equal(t, []string{"ada", "bob"}, order)
}

func TestTurn_NextMessageOfASocketWaitsForTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Message: func(ctx context.Context, _ *fixture.Room, _ *dog.Socket, m dog.Message) error {
				order = append(order, "begin "+m.String())
				err := dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
				order = append(order, "end "+m.String())
				return err
			}},
		)
		ada := h.Enter("ada")
		ada.Send("1")
		ada.Send("2")
		fixture.Elapse(time.Minute)
		require.Equal(t, []string{"begin 1", "end 1", "begin 2", "end 2"}, order)
	})
}

func TestTurn_ReplicasMayGossipWithEachOtherConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, _ dog.Message) error {
				time.Sleep(time.Second) // so that all have their turn
				replies, err := r.Gossip(ctx, "who?")
				require.NoError(t, err)
				require.Len(t, replies, 2)
				for _, reply := range replies {
					require.NoError(t, reply.Err)
				}
				return s.Send("done")
			},
			Gossip: func(context.Context, *fixture.Room, dog.Message) (any, error) { return "me", nil },
		})
		ada, bob, cyd := h.Enter("ada"), h.Enter("bob"), h.Enter("cyd")
		began := time.Now()
		ada.Send("go")
		bob.Send("go")
		cyd.Send("go")
		require.Equal(t, "done", ada.Receive().String())
		require.Equal(t, "done", bob.Receive().String())
		require.Equal(t, "done", cyd.Receive().String())
		require.Equal(t, time.Second, time.Since(began))
	})
}

func TestTurn_CycleOfKeptTurnsIsADeadlockAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inner []dog.Reply
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, _ dog.Message) error {
				return dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error {
					replies, err := r.Gossip(ctx, "from ada")
					require.NoError(t, err)
					require.NoError(t, replies[0].Err, "the one in the middle is fine")
					return s.Send("done")
				})
			},
			Gossip: func(ctx context.Context, r *fixture.Room, _ dog.Message) (_ any, err error) {
				inner, err = r.Gossip(ctx, "back to ada, who keeps her turn")
				return nil, err
			},
		})
		ada := h.Enter("ada")
		h.Enter("bob")
		began := time.Now()
		ada.Send("go")
		require.Equal(t, "done", ada.Receive().String())
		require.Len(t, inner, 1)
		require.ErrorIs(t, inner[0].Err, dog.ErrDeadlock)
		require.Zero(t, time.Since(began))
	})
}

func TestTurn_TwoObjectsThatKeepTheirTurnsAndCallEachOtherDeadlockAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 1,
			&fixture.Hooks{Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, _ dog.Message) error {
				return dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error {
					time.Sleep(time.Second) // so that both keep their turn
					answers, err := r.Gossip(ctx, "x")
					require.NoError(t, err)
					return s.Send(fmt.Sprint(errors.Is(answers[0].Err, dog.ErrDeadlock)))
				})
			}},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		began := time.Now()
		ada.Send("go")
		bob.Send("go")
		replies := []string{ada.Receive().String(), bob.Receive().String()}
		require.Contains(t, replies, "true", "somebody was refused, so that the other could go on")
		require.Equal(t, time.Second, time.Since(began))
	})
}

func TestTurn_GossipToOneselfWithTheTurnKeptIsADeadlockAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *fixture.Rooms
		h = fixture.NewRooms(t, 1, &fixture.Hooks{
			Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
				gossip := func(ctx context.Context) error {
					replies, err := h.Group.Gossip(ctx, "all")
					require.NoError(t, err)
					require.Len(t, replies, 1)
					return s.Send(fmt.Sprint(errors.Is(replies[0].Err, dog.ErrDeadlock)))
				}
				if m.String() == "kept" {
					return dog.BlockConcurrencyWhile(ctx, gossip)
				}
				return gossip(ctx)
			},
		})
		ada := h.Enter("ada")
		began := time.Now()
		ada.Send("kept")
		ada.Send("given up")
		require.Equal(t, "true", ada.Receive().String())
		require.Equal(t, "false", ada.Receive().String())
		require.Zero(t, time.Since(began))
	})
}

func TestTurn_RequestToOneselfWithTheTurnKeptIsADeadlockAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *fixture.Rooms
		h = fixture.NewRooms(
			t, 3,
			&fixture.Hooks{Receive: func(_ *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/inner" {
					_, _ = w.Write([]byte("inner"))
					return
				}
				again := func(ctx context.Context) error {
					stub, err := h.Identify(ctx, "ada")
					require.NoError(t, err)
					stub.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/inner", nil).WithContext(ctx))
					return nil
				}
				if req.URL.Path == "/kept" {
					_ = dog.BlockConcurrencyWhile(req.Context(), again)
				} else {
					_ = again(req.Context())
				}
			}},
		)
		began := time.Now()
		status, _ := h.Server.Get("/kept?u=ada")
		require.Equal(t, http.StatusInternalServerError, status)
		status, body := h.Server.Get("/given-up?u=ada")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "inner", body)
		require.Zero(t, time.Since(began))
		fixture.RequireEmpty(t, h.Runtime)
	})
}

func TestTurn_WaitingForATurnEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handled := 0
		h := fixture.NewRooms(t, 3, &fixture.Hooks{Receive: func(*fixture.Room, http.ResponseWriter, *http.Request) {
			handled++
			time.Sleep(time.Hour)
		}})
		fixture.GetInBackground(h.Server, "/busy")
		synctest.Wait()
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		w := httptest.NewRecorder()
		stub.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, time.Minute, time.Since(began))
		require.Equal(t, []int{1}, h.Loads())
		fixture.Elapse(time.Hour)
		require.Equal(t, 1, handled)
		fixture.RequireEmpty(t, h.Runtime)
	})
}

func TestTurn_HandlerContinuesWhenItsClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []string
		h := fixture.NewRooms(t, 3, &fixture.Hooks{
			Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/ws" {
					r.Connect(w, req, nil)
					return
				}
				require.NoError(t, dog.Await(req.Context(), func() error { time.Sleep(time.Hour); return nil }))
				require.NoError(t, req.Context().Err())
				ended = append(ended, "request")
			},
			Message: func(ctx context.Context, _ *fixture.Room, _ *dog.Socket, _ dog.Message) error {
				time.Sleep(2 * time.Hour)
				require.NoError(t, ctx.Err())
				ended = append(ended, "message")
				return nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dog.test/", nil)
		require.NoError(t, err)
		go func() {
			_, err := h.Server.Client().Do(req)
			require.ErrorIs(t, err, context.Canceled)
		}()
		ada := h.Enter("ada")
		ada.Send("slow")
		synctest.Wait()
		cancel()
		ada.Vanish()
		fixture.Elapse(3 * time.Hour)
		require.Equal(
			t, []string{"message", "request"}, ended,
			"the wait of the request ended while the message had the turn",
		)
		fixture.RequireEmpty(t, h.Runtime)
	})
}
