package gate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestGate_HoldsMessagesUntilEarlierWritesAreDurable(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				if err := s.Send("before " + m.String()); err != nil {
					return err
				}
				if m.String() == "store" {
					if err := fixture.Put(o); err != nil {
						return err
					}
				}
				return errors.Join(
					s.Send("sent after "+m.String()), fixture.Emit(o, "emitted after "+m.String()),
					o.Broadcast("broadcast after "+m.String()),
				)
			},
		})
		ada := v.Enter("ada")
		ada.Send("read")
		require.Equal(
			t, []string{"before read", "sent after read", "emitted after read", "broadcast after read"},
			fixture.Texts(ada),
		)

		ada.Send("store")
		require.Equal(
			t, []string{"before store"}, fixture.Texts(ada), "output before the first write is sent",
		)
		ada.Send("read")
		require.Empty(t, fixture.Texts(ada), "the object continues, and its output waits in order")
		engine.Flush()
		require.Equal(t, []string{
			"sent after store", "emitted after store", "broadcast after store",
			"before read", "sent after read", "emitted after read", "broadcast after read",
		}, fixture.Texts(ada))

		ada.Send("read")
		require.Len(t, fixture.Texts(ada), 4, "nothing is held when nothing was stored")
	})
}

func TestGate_HoldsOnlyItsObject(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		on := &fixture.OwnerHooks{
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				if m.String() == "store" {
					return errors.Join(fixture.Put(o), o.Broadcast("mine"))
				}
				return o.Broadcast(m)
			},
		}
		another, received := "eve&o=another", []string(nil)
		if fixture.IsReplica(kind) {
			on.MaxSockets = 2 // eve is on another one, and reaches the whole group
			another, received = "eve", []string{"hello"}
		}
		v, _ := fixture.NewGatedOwners(t, kind, on)
		ada, bob, eve := v.Enter("ada"), v.Enter("bob"), v.Enter(another)
		ada.Send("store")
		synctest.Wait()
		eve.Send("hello")
		require.Equal(t, []string{"hello"}, fixture.Texts(eve))
		for _, c := range []*dogtest.Client{ada, bob} {
			require.Equal(t, received, fixture.Texts(c))
		}
	})
}

func TestGate_HoldsWhispersAndGossip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, done atomic.Int32
		h, engine := fixture.NewGatedRooms(t, &fixture.Hooks{
			Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
				if err := fixture.Put(r); err != nil {
					return err
				}
				if m.String() == "gossip" {
					_, err := r.Gossip(ctx, "well?")
					done.Add(1)
					return err
				}
				n, err := s.Whisper(ctx, "bob", "psst")
				require.Equal(t, 1, n)
				done.Add(1)
				return err
			},
			Gossip: func(context.Context, *fixture.Room, dog.Message) (any, error) { asked.Add(1); return nil, nil },
		})
		ada, bob := h.Enter("ada"), h.Enter("bob")
		h.Enter("eve")
		ada.Send("whisper")
		require.Empty(t, fixture.Texts(bob))
		require.Zero(t, done.Load())
		engine.Flush()
		require.Equal(t, []string{"psst"}, fixture.Texts(bob))
		require.EqualValues(t, 1, done.Load())

		ada.Send("gossip")
		synctest.Wait()
		require.Zero(t, asked.Load(), "the question is not asked before what the asker stored is durable")
		engine.Flush()
		synctest.Wait()
		require.EqualValues(t, 1, asked.Load())
		require.EqualValues(t, 2, done.Load())
	})
}

func TestGate_ReplyToGossipWaitsForTheGateOfItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, engine := fixture.NewGatedRooms(t, &fixture.Hooks{
			Gossip: func(_ context.Context, r *fixture.Room, _ dog.Message) (any, error) {
				return "stored", fixture.Put(r)
			},
		})
		h.Enter("ada")
		answered := make(chan []dog.Reply, 1)
		go func() {
			replies, err := h.Group.Gossip(context.Background(), "well?")
			if err == nil {
				answered <- replies
			}
		}()
		synctest.Wait()
		require.Empty(t, answered)
		engine.Flush()
		replies := <-answered
		require.Len(t, replies, 1)
		require.NoError(t, replies[0].Err)
	})
}

func TestGate_HoldsResponses(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		v, engine := fixture.NewGatedOwners(
			t, kind,
			&fixture.OwnerHooks{Receive: func(o fixture.Owner, w http.ResponseWriter, _ *http.Request) error {
				if err := fixture.Put(o); err != nil {
					return err
				}
				_, err := io.WriteString(w, "kept")
				return err
			}},
		)
		answered := make(chan string, 1)
		go func() {
			_, body := fixture.Request(t, v.Server, "GET", "/?u=ada", nil)
			answered <- body
		}()
		synctest.Wait()
		require.Empty(t, answered)
		engine.Flush()
		require.Equal(t, "kept", <-answered)
	})
}

func TestGate_HoldsStreamsAtEachFlush(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		next := make(chan string)
		v, engine := fixture.NewGatedOwners(
			t, kind,
			&fixture.OwnerHooks{Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				for {
					var word string
					err := dog.Await(req.Context(), func() error { word = <-next; return nil })
					if err != nil || word == "" {
						return err
					}
					if word == "store" {
						if err := fixture.Put(o); err != nil {
							return err
						}
					}
					_, _ = io.WriteString(w, word+"\n")
					w.(http.Flusher).Flush()
				}
			}},
		)
		got := make(chan string, 10)
		go func() {
			answer, err := v.Server.Client().Get(dogtest.URL + "/?u=ada")
			if err != nil {
				return
			}
			defer func() { _ = answer.Body.Close() }()
			buf := make([]byte, 100)
			for {
				n, err := answer.Body.Read(buf)
				if n > 0 {
					got <- string(buf[:n])
				}
				if err != nil {
					close(got)
					return
				}
			}
		}()
		next <- "one"
		require.Equal(t, "one\n", <-got)
		next <- "store"
		synctest.Wait()
		require.Empty(t, got)
		engine.Flush()
		require.Equal(t, "store\n", <-got)
		next <- "two"
		require.Equal(t, "two\n", <-got)
		next <- ""
		_, open := <-got
		require.False(t, open)
	})
}

func TestGate_AwaitBeginsWhenEarlierWritesAreDurable(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var began atomic.Bool
		v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
			Message: func(ctx context.Context, o fixture.Owner, _ *dog.Socket, _ dog.Message) error {
				return errors.Join(fixture.Put(o), dog.Await(ctx, func() error { began.Store(true); return nil }))
			},
		})
		v.Enter("ada").Send("go")
		synctest.Wait()
		require.False(t, began.Load())
		engine.Flush()
		synctest.Wait()
		require.True(t, began.Load())
	})
}

func TestGate_HoldsTheHandshakeResponse(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		v, engine := fixture.NewGatedOwners(
			t, kind,
			&fixture.OwnerHooks{Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				if err := fixture.Put(o); err != nil {
					return err
				}
				_, err := o.Connect(w, req, nil)
				return err
			}},
		)
		connected := make(chan *dogtest.Client, 1)
		go func() {
			c, _, err := v.Server.TryDial("/?u=ada", dogtest.DialOptions{})
			if err == nil {
				connected <- c
			}
		}()
		synctest.Wait()
		require.Empty(t, connected)
		engine.Flush()
		require.NotNil(t, <-connected)
	})
}

func TestGate_SyncWaitsAndGivesUpTheTurn(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var synced atomic.Bool
		v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				if m.String() != "store" {
					return nil
				}
				if err := errors.Join(fixture.Put(o), o.Storage().Sync(ctx)); err != nil {
					return err
				}
				synced.Store(true)
				return nil
			},
		})
		ada, bob := v.Enter("ada"), v.Enter("bob")
		ada.Send("store")
		synctest.Wait()
		before := v.Runtime.Stats().Turns.Events
		bob.Send("anything")
		synctest.Wait()
		require.Equal(t, before+1, v.Runtime.Stats().Turns.Events)
		require.False(t, synced.Load())
		engine.Flush()
		synctest.Wait()
		require.True(t, synced.Load())
	})
}

func TestGate_ShutdownSendsHeldOutputFirst(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, _ dog.Message) error {
				return errors.Join(fixture.Put(o), s.Send("kept"))
			},
		})
		ada := v.Enter("ada")
		ada.Send("store")
		synctest.Wait()
		ended := make(chan error, 1)
		go func() { ended <- v.Runtime.Shutdown(context.Background()) }()
		time.Sleep(time.Millisecond)
		engine.Flush()
		require.Equal(t, "kept", ada.Receive().String())
		code, _ := ada.Closed()
		require.Equal(t, 1001, code)
		require.NoError(t, <-ended)
	})
}

// namingGroup is a group that stores the names it gives.
type namingGroup struct{ dog.Group }

func (r *namingGroup) Clusterize(_ context.Context, uid string) (string, error) {
	return "for-" + uid, r.Storage().Put(uid, nil)
}

func TestGate_IdentifyReturnsWhenWritesOfClusterizeAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)})
		rooms, err := dog.RegisterReplica(rt, "room", &dog.ReplicaOptions[fixture.Room]{
			New: func() *fixture.Room { return &fixture.Room{On: new(fixture.Hooks)} },
		})
		require.NoError(t, err)
		namingGroups, err := dog.RegisterGroup(rt, "namingGroup", rooms, &dog.GroupOptions[namingGroup]{Limit: 1})
		require.NoError(t, err)
		identified := make(chan string, 1)
		go func() {
			stub, err := namingGroups.Named("main").Identify(context.Background(), "ada")
			if err == nil {
				identified <- stub.Name()
			}
		}()
		synctest.Wait()
		require.Empty(t, identified)
		engine.Prompt()
		require.Equal(t, "for-ada", <-identified)
	})
}
