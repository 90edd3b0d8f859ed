package dog_test

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
)

func TestMessagesWaitForWhatWasStoredBefore(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		v, engine := newGatedVenue(t, kind, &owners{
			message: func(ctx context.Context, o owner, s *dog.Socket, m dog.Message) error {
				if err := s.Send("before " + m.String()); err != nil {
					return err
				}
				if m.String() == "store" {
					if err := put(o); err != nil {
						return err
					}
				}
				return errors.Join(
					s.Send("sent after "+m.String()),
					emit(o, "emitted after "+m.String()),
					o.Broadcast("broadcast after "+m.String()),
				)
			},
		})
		ada := v.enter("ada")
		ada.Send("read")
		require.Equal(t, []string{"before read", "sent after read", "emitted after read", "broadcast after read"}, texts(ada))

		ada.Send("store")
		require.Equal(t, []string{"before store"}, texts(ada), "what was said before anything was stored leaves")
		ada.Send("read")
		require.Empty(t, texts(ada), "the object goes on, and what it says waits in order")
		engine.Flush()
		require.Equal(t, []string{
			"sent after store", "emitted after store", "broadcast after store",
			"before read", "sent after read", "emitted after read", "broadcast after read",
		}, texts(ada))

		ada.Send("read")
		require.Len(t, texts(ada), 4, "nothing is held when nothing was stored")
	})
}

func TestOneObjectsGateHoldsNobodyElse(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		on := &owners{message: func(ctx context.Context, o owner, s *dog.Socket, m dog.Message) error {
			if m.String() == "store" {
				return errors.Join(put(o), o.Broadcast("mine"))
			}
			return o.Broadcast(m)
		}}
		another, heard := "eve&o=another", []string(nil)
		if isReplica(kind) {
			on.limit = 2 // eve is on another one, and heard by the whole group
			another, heard = "eve", []string{"hello"}
		}
		v, _ := newGatedVenue(t, kind, on)
		ada, bob, eve := v.enter("ada"), v.enter("bob"), v.enter(another)
		ada.Send("store")
		synctest.Wait()
		eve.Send("hello")
		require.Equal(t, []string{"hello"}, texts(eve))
		for _, c := range []*dogtest.Client{ada, bob} {
			require.Equal(t, heard, texts(c))
		}
	})
}

func TestWhispersAndGossipWaitForTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, told atomic.Int32
		h, engine := newGatedHouse(t, &hooks{
			message: func(ctx context.Context, r *room, s *dog.Socket, m dog.Message) error {
				if err := put(r); err != nil {
					return err
				}
				if m.String() == "gossip" {
					_, err := r.Gossip(ctx, "well?")
					told.Add(1)
					return err
				}
				n, err := s.Whisper(ctx, "bob", "psst")
				require.Equal(t, 1, n)
				told.Add(1)
				return err
			},
			gossip: func(context.Context, *room, dog.Message) (any, error) { asked.Add(1); return nil, nil },
		})
		ada, bob := h.enter("ada"), h.enter("bob")
		h.enter("eve")
		ada.Send("whisper")
		require.Empty(t, texts(bob))
		require.Zero(t, told.Load())
		engine.Flush()
		require.Equal(t, []string{"psst"}, texts(bob))
		require.EqualValues(t, 1, told.Load())

		ada.Send("gossip")
		synctest.Wait()
		require.Zero(t, asked.Load(), "the question is not asked before what the asker stored is durable")
		engine.Flush()
		synctest.Wait()
		require.EqualValues(t, 1, asked.Load())
		require.EqualValues(t, 2, told.Load())
	})
}

func TestAnAnswerToGossipWaitsForTheGateOfWhoAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, engine := newGatedHouse(t, &hooks{
			gossip: func(_ context.Context, r *room, _ dog.Message) (any, error) { return "stored", put(r) },
		})
		h.enter("ada")
		answered := make(chan []dog.Reply, 1)
		go func() {
			replies, err := h.group.Gossip(context.Background(), "well?")
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

func TestAnAnswerWaitsForTheGate(t *testing.T) {
	overReceivers(t, func(t *testing.T, kind string) {
		v, engine := newGatedVenue(t, kind, &owners{receive: func(o owner, w http.ResponseWriter, _ *http.Request) error {
			if err := put(o); err != nil {
				return err
			}
			_, err := io.WriteString(w, "kept")
			return err
		}})
		answered := make(chan string, 1)
		go func() {
			_, body := ask(t, v.srv, "GET", "/?u=ada", nil)
			answered <- body
		}()
		synctest.Wait()
		require.Empty(t, answered)
		engine.Flush()
		require.Equal(t, "kept", <-answered)
	})
}

func TestAStreamWaitsForTheGateAtEachFlush(t *testing.T) {
	overReceivers(t, func(t *testing.T, kind string) {
		next := make(chan string)
		v, engine := newGatedVenue(t, kind, &owners{receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
			for {
				var word string
				err := dog.Await(req.Context(), func() error { word = <-next; return nil })
				if err != nil || word == "" {
					return err
				}
				if word == "store" {
					if err := put(o); err != nil {
						return err
					}
				}
				_, _ = io.WriteString(w, word+"\n")
				w.(http.Flusher).Flush()
			}
		}})
		got := make(chan string, 10)
		go func() {
			answer, err := v.srv.Client().Get(dogtest.URL + "/?u=ada")
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

func TestWhatAHandlerAwaitsBeginsWhenWhatItStoredIsDurable(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		var began atomic.Bool
		v, engine := newGatedVenue(t, kind, &owners{
			message: func(ctx context.Context, o owner, _ *dog.Socket, _ dog.Message) error {
				return errors.Join(put(o), dog.Await(ctx, func() error { began.Store(true); return nil }))
			},
		})
		v.enter("ada").Send("go")
		synctest.Wait()
		require.False(t, began.Load())
		engine.Flush()
		synctest.Wait()
		require.True(t, began.Load())
	})
}

func TestTheClientLearnsThatItIsConnectedWhenWhatWasStoredIsDurable(t *testing.T) {
	overReceivers(t, func(t *testing.T, kind string) {
		v, engine := newGatedVenue(t, kind, &owners{receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
			if err := put(o); err != nil {
				return err
			}
			_, err := o.Connect(w, req, nil)
			return err
		}})
		connected := make(chan *dogtest.Client, 1)
		go func() {
			c, _, err := v.srv.TryDial("/?u=ada", dogtest.DialOptions{})
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

func TestSyncWaitsAndLetsOthersIn(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		var synced atomic.Bool
		v, engine := newGatedVenue(t, kind, &owners{
			message: func(ctx context.Context, o owner, s *dog.Socket, m dog.Message) error {
				if m.String() != "store" {
					return nil
				}
				if err := errors.Join(put(o), o.Storage().Sync(ctx)); err != nil {
					return err
				}
				synced.Store(true)
				return nil
			},
		})
		ada, bob := v.enter("ada"), v.enter("bob")
		ada.Send("store")
		synctest.Wait()
		before := v.rt.Stats().Turns.Events
		bob.Send("anything")
		synctest.Wait()
		require.Equal(t, before+1, v.rt.Stats().Turns.Events)
		require.False(t, synced.Load())
		engine.Flush()
		synctest.Wait()
		require.True(t, synced.Load())
	})
}

func TestShutdownSaysWhatIsHeldFirst(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		v, engine := newGatedVenue(t, kind, &owners{
			message: func(_ context.Context, o owner, s *dog.Socket, _ dog.Message) error {
				return errors.Join(put(o), s.Send("kept"))
			},
		})
		ada := v.enter("ada")
		ada.Send("store")
		synctest.Wait()
		ended := make(chan error, 1)
		go func() { ended <- v.rt.Shutdown(context.Background()) }()
		time.Sleep(time.Millisecond)
		engine.Flush()
		require.Equal(t, "kept", ada.Receive().String())
		code, _ := ada.Closed()
		require.Equal(t, 1001, code)
		require.NoError(t, <-ended)
	})
}

// registrar is a group that stores the names it gives.
type registrar struct{ dog.Group }

func (r *registrar) Clusterize(_ context.Context, uid string) (string, error) {
	return "for-" + uid, r.Storage().Put(uid, nil)
}

func TestIdentifyAnswersWhenWhatClusterizeStoredIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		rt := dogtest.New(t, dog.Options{Store: asStore(engine)})
		rooms, err := dog.RegisterReplica(rt, "room", &dog.ReplicaOptions[room]{
			New: func() *room { return &room{on: new(hooks)} },
		})
		require.NoError(t, err)
		registrars, err := dog.RegisterGroup(rt, "registrar", rooms, &dog.GroupOptions[registrar]{Limit: 1})
		require.NoError(t, err)
		identified := make(chan string, 1)
		go func() {
			stub, err := registrars.Named("main").Identify(context.Background(), "ada")
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
