package turn_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// Interleavings that are rare and were got wrong once.

type bomb struct{}

func (bomb) MarshalJSON() ([]byte, error) { panic("bomb") }

// probe notes whether another handler has the turn while it is encoded.
type probe struct {
	r   *fixture.Room
	bad *bool
}

func (p probe) MarshalJSON() ([]byte, error) {
	before := p.r.Holders.Load()
	time.Sleep(time.Second)
	*p.bad = before != 0 || p.r.Holders.Load() != 0
	return []byte("1"), nil
}

// restless is a group that resets itself on a request.
type restless struct {
	dog.Group
	start func(ctx context.Context, l *restless) error
	named *int
}

func (l *restless) OnStart(ctx context.Context) error { return l.start(ctx, l) }
func (l *restless) Receive(http.ResponseWriter, *http.Request) error {
	time.Sleep(time.Second) // keeps its turn, then resets the group
	panic("reset")
}
func (l *restless) Clusterize(context.Context, string) (string, error) {
	*l.named++
	return fmt.Sprint("r", *l.named), nil
}

// The clock ticks between the release of the last place and OnClose.
func TestTurn_DrainedReplicaIsNotRetiredBeforeOnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closes := 0
		tr := &dog.Trace{SocketClosed: func(*dog.Socket, *dog.CloseError) { time.Sleep(3 * time.Second) }}
		h := fixture.NewRoomsWith(t, dog.Options{Trace: tr}, dog.GroupOptions[fixture.Lobby]{Limit: 2}, &fixture.Hooks{
			Close: func(context.Context, *fixture.Room, *dog.Socket, int, string) error { closes++; return nil },
		})
		c := h.Enter("ada")
		id := h.ReplicaOf("ada")
		require.NoError(t, h.Group.Drain(context.Background(), id))
		c.Close(1000, "")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, closes)
	})
}

// The caller's context ends with a ResetError of its own object, not of the
// called one.
func TestTurn_CallEndsWhenItsCallersObjectIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(t, dog.Options{}, dog.GroupOptions[fixture.Lobby]{Limit: 1}, &fixture.Hooks{
			Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
				switch m.String() {
				case "hold":
					time.Sleep(2 * time.Second) // keeps the turn
				case "ask":
					_ = dog.Go(ctx, func(context.Context) error { time.Sleep(time.Second); panic("x") })
					_, _ = r.Gossip(ctx, 1)
				}
				return nil
			},
		})
		a, b := h.Enter("a"), h.Enter("b")
		b.Send("hold")
		synctest.Wait()
		a.Send("ask")
		synctest.Wait()
		time.Sleep(5 * time.Second) // does not come to an end while a goroutine spins
	})
}

func TestTurn_PanicWhileEncodingAReplyResetsTheReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 1,
			&fixture.Hooks{
				Gossip: func(context.Context, *fixture.Room, dog.Message) (any, error) { return bomb{}, nil },
			},
		)
		h.Enter("a")
		rep, err := h.Group.Gossip(context.Background(), 1)
		require.NoError(t, err)
		require.ErrorIs(t, rep[0].Err, dog.ErrReset)
	})
}

// It may be, or point at, what the replica goes on to change.
func TestTurn_ReplyIsEncodedInTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := false
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Gossip: func(_ context.Context, r *fixture.Room, _ dog.Message) (any, error) { return probe{r, &bad}, nil },
			Message: func(_ context.Context, r *fixture.Room, _ *dog.Socket, _ dog.Message) error {
				defer r.RequireAlone(t)()
				time.Sleep(2 * time.Second)
				return nil
			},
		})
		a := h.Enter("a")
		go func() { _, _ = h.Group.Gossip(context.Background(), 1) }()
		synctest.Wait()
		a.Send("x")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.False(t, bad, "encoded while another handler had the turn")
	})
}

func TestTurn_GossipMessageIsCopiedForEachReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 1,
			&fixture.Hooks{Gossip: func(_ context.Context, r *fixture.Room, m dog.Message) (any, error) {
				got := m.String()
				m.Data[1] = 'X'
				return got, nil
			}},
		)
		h.Enter("a")
		h.Enter("b")
		rep, err := h.Group.Gossip(context.Background(), "hello")
		require.NoError(t, err)
		for _, r := range rep {
			require.Equal(t, `"\"hello\""`, string(r.Data))
		}
	})
}

func TestTurn_OnStartMayPanicWithErrAbortHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		h := fixture.NewRooms(t, 5, &fixture.Hooks{Start: func(context.Context, *fixture.Room) error {
			if n++; n == 1 {
				panic(http.ErrAbortHandler)
			}
			return nil
		}})
		if resp, err := h.Server.Client().Get("http://dog.test/x?u=a"); err == nil {
			resp.Body.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://dog.test/x?u=a", nil)
		resp, err := h.Server.Client().Do(req)
		require.NoError(t, err)
		resp.Body.Close()
	})
}

// The next life has a socket before the reset is done.
func TestTurn_ResetClosesOnlyTheSocketsOfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t,
			dog.Options{Logger: slog.New(fixture.SlowLog{Handler: slog.DiscardHandler, Message: "object reset"})},
			dog.GroupOptions[fixture.Lobby]{Limit: 5},
			&fixture.Hooks{
				Message: func(context.Context, *fixture.Room, *dog.Socket, dog.Message) error { panic("x") },
			},
		)
		a := h.Enter("a")
		a.Send("x")
		synctest.Wait()   // in the log of the reset
		b := h.Enter("b") // connects to the new life
		time.Sleep(10 * time.Second)
		b.Send("alive?") // any write works while open
		_ = b
		found := 0
		for r := range h.Group.Replicas() {
			found += r.Sockets
		}
		require.Equal(t, 1, found, "b's socket, of the new life, was closed")
	})
}

func TestTurn_DeadlineWithACauseIsADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 1,
			&fixture.Hooks{Gossip: func(ctx context.Context, r *fixture.Room, _ dog.Message) (any, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}},
		)
		h.Enter("a")
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Second, errors.New("too late for me"))
		defer cancel()
		rep, err := h.Group.Gossip(ctx, 1)
		require.NoError(t, err)
		require.ErrorIs(t, rep[0].Err, context.DeadlineExceeded)
	})
}

func TestTurn_GoInAForeignGoroutineIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got error
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Message: func(ctx context.Context, r *fixture.Room, _ *dog.Socket, m dog.Message) error {
				c := make(chan struct{})
				go func() { got = dog.Go(ctx, func(context.Context) error { return nil }); close(c) }()
				<-c
				return nil
			}})
		h.Enter("a").Send("x")
		time.Sleep(time.Second)
		synctest.Wait()
		require.ErrorIs(t, got, dog.ErrOutsideTurn)
	})
}

// The next life has not opened its socket.
func TestTurn_MessageReadBeforeAResetIsNotHandledAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := 0
		h := fixture.NewRooms(
			t, 5,
			&fixture.Hooks{Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
				if s.UID() == "a" {
					time.Sleep(time.Second)
					panic("x")
				}
				got++
				return nil
			}},
		)
		a, b := h.Enter("a"), h.Enter("b")
		a.Send("x")
		synctest.Wait()
		b.Send("y")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Zero(t, got)
	})
}

// The group is reset while Clusterize waits for its turn.
func TestTurn_DeadlockThroughClusterizeIsFoundAfterAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		starts, names := 0, 0
		var replies []dog.Reply
		var took time.Duration
		start := func(ctx context.Context, l *restless) error {
			if starts++; starts == 2 {
				began := time.Now()
				replies, _ = l.Gossip(ctx, 1)
				took = time.Since(began)
			}
			return nil
		}
		on := &fixture.Hooks{}
		rooms, err := dog.RegisterReplica(
			rt, "room",
			&dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: on} }},
		)
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "g", rooms, &dog.GroupOptions[restless]{
			New: func() *restless { return &restless{start: start, named: &names} }, Limit: 1,
		})
		require.NoError(t, err)
		g := groups.Named("x")
		on.Gossip = func(ctx context.Context, _ *fixture.Room, _ dog.Message) (any, error) {
			_, err := g.Identify(ctx, "inner")
			return nil, err
		}
		_, err = g.Identify(context.Background(), "one")
		require.NoError(t, err)
		go func() {
			g.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
		synctest.Wait()
		_, err = g.Identify(context.Background(), "two")
		require.NoError(t, err)
		require.Zero(t, took, "found at once")
		require.Len(t, replies, 1)
		require.ErrorIs(t, replies[0].Err, dog.ErrDeadlock)
	})
}

func TestTurn_OnCloseMayReachTheGroupDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *fixture.Rooms
		var got error
		h = fixture.NewRooms(
			t, 5,
			&fixture.Hooks{Close: func(ctx context.Context, _ *fixture.Room, _ *dog.Socket, _ int, _ string) error {
				got = h.Group.Broadcast(ctx, "bye")
				return nil
			}},
		)
		h.Enter("a")
		require.NoError(t, h.Runtime.Shutdown(context.Background()))
		require.NoError(t, got)
	})
}

func TestTurn_HandlerCannotShutTheRuntimeDownWithItsOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *fixture.Rooms
		var got error
		h = fixture.NewRooms(
			t, 5,
			&fixture.Hooks{Message: func(ctx context.Context, _ *fixture.Room, _ *dog.Socket, _ dog.Message) error {
				got = h.Runtime.Shutdown(ctx)
				return nil
			}},
		)
		a := h.Enter("a")
		a.Send("x")
		synctest.Wait()
		require.ErrorIs(t, got, dog.ErrDeadlock)
		require.Equal(t, []int{1}, h.Loads(), "nothing was shut down")
	})
}

func TestTurn_ClosingASocketDropsTheMessageThatWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var received []string
		h := fixture.NewRooms(
			t, 5,
			&fixture.Hooks{Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
				received = append(received, s.UID())
				if s.UID() == "ada" {
					time.Sleep(time.Second) // bob's message waits meanwhile
					for other := range r.Sockets() {
						require.NoError(t, other.Close(1000, ""))
					}
				}
				return nil
			}},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		ada.Send("x")
		synctest.Wait()
		bob.Send("y")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"ada"}, received)
	})
}
