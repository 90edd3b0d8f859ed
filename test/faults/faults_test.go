package faults_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// The faults of the original, by the numbers of the list that this library is
// held to. Those of resets and hibernation (01 and 02) are in test/life and
// test/group. This file has those of places, uids and joining, the others in
// this directory have the rest.

func TestFault03_ClientsReachNoInternalTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 1,
			&fixture.Hooks{Gossip: func(context.Context, *fixture.Room, dog.Message) (any, error) {
				t.Error("a client's request arrived as gossip")
				return nil, nil
			}},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		for _, route := range []string{"close", "jello", "message", "whisper", "gossip", "identify"} {
			path := "/~$~/" + route
			req, err := http.NewRequest(
				http.MethodPost, dogtest.URL+path+"?u=eve", strings.NewReader(`{"target":"ada","body":"spoofed"}`),
			)
			require.NoError(t, err)
			for _, name := range []string{"group", "client", "replica", "neighbor", "target"} {
				req.Header.Set("x-dog-"+name+"-identifier", "ada")
			}
			answer, err := h.Server.Client().Do(req)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusOK, answer.StatusCode, "it is a request like any other")
			_, body := h.Server.Get(path + "?u=eve")
			require.Equal(t, path, body)
		}
		require.Empty(t, fixture.Texts(ada))
		require.Empty(t, fixture.Texts(bob))
		require.Equal(t, []int{1, 1, 0}, h.Loads())
	})
}

func TestFault04_ABadPeerDoesNotStopABroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Message: fixture.Relay,
			Gossip: func(_ context.Context, r *fixture.Room, _ dog.Message) (any, error) {
				if fixture.UIDOf(r) == "bad" {
					panic("bad peer")
				}
				return nil, nil
			},
		})
		ada, bad, cyd := h.Enter("ada"), h.Enter("bad"), h.Enter("cyd")
		_, err := h.Group.Gossip(t.Context(), nil)
		require.NoError(t, err)
		code, _ := bad.Closed()
		require.Equal(t, 1011, code)

		ada.Send("broadcast one")
		require.Equal(t, []string{"one"}, fixture.Texts(cyd))
		back := h.Enter("bad")
		ada.Send("broadcast two")
		require.Equal(t, []string{"two"}, fixture.Texts(cyd))
		require.Equal(t, []string{"two"}, fixture.Texts(back))
	})
}

func TestFault05_IdentifyWithoutARequestLeaksNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{ReserveFor: 10 * time.Second}, dog.GroupOptions[fixture.Lobby]{Limit: 3, MaxReplicas: 1},
			&fixture.Hooks{},
		)
		for range 3 {
			_, err := h.Identify(t.Context(), "ada")
			require.NoError(t, err)
		}
		require.Equal(t, []int{3}, h.Loads())
		_, err := h.Identify(t.Context(), "bob")
		require.ErrorIs(t, err, dog.ErrGroupFull)

		time.Sleep(10 * time.Second)
		_, err = h.Identify(t.Context(), "bob")
		require.NoError(t, err)
		require.Equal(t, []int{1}, h.Loads())
		time.Sleep(15 * time.Second)
		require.Equal(t, []int{0}, h.Loads())
	})
}

func TestFault06_EveryRequestThroughOneStubHoldsOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 3, &fixture.Hooks{})
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		srv := dogtest.Serve(t, stub)
		status, _ := srv.Get("/answered at once")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, []int{0}, h.Loads())

		first := srv.Dial("/ws")
		srv.Dial("/ws")
		srv.Dial("/ws")
		require.Equal(t, []int{3}, h.Loads())
		_, answer, err := srv.TryDial("/ws", dogtest.DialOptions{})
		require.Error(t, err)
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		require.Equal(t, []int{3}, h.Loads())

		first.Close(1000, "")
		synctest.Wait()
		require.Equal(t, []int{2}, h.Loads())
		srv.Dial("/ws")
		require.Equal(t, []int{3}, h.Loads())
	})
}

// ender is a replica that notes each end of a socket.
type ender struct {
	dog.Replica
	ends chan<- string
}

func (e *ender) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := e.Connect(w, req, nil)
	return err
}

func (e *ender) OnClose(_ context.Context, s *dog.Socket, _ int, _ string) error {
	e.ends <- "close " + s.UID()
	return nil
}

func (e *ender) OnError(_ context.Context, s *dog.Socket, _ error) error {
	e.ends <- "error " + s.UID()
	return nil
}

// A close frame as clients send it, with the code 1000 and a mask of zeros.
var closeFrame = []byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8}

func TestFault07_ASocketEndsExactlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan string, 16)
		rt := dogtest.New(t, dog.Options{})
		enders, err := dog.RegisterReplica(
			rt, "ender", &dog.ReplicaOptions[ender]{New: func() *ender { return &ender{ends: ends} }},
		)
		require.NoError(t, err)
		lobbies, err := dog.RegisterGroup(rt, "lobby", enders, &dog.GroupOptions[fixture.Lobby]{Limit: 4})
		require.NoError(t, err)
		group := lobbies.Named("main")
		join := func(uid string) *dogtest.Client {
			stub, err := group.Identify(t.Context(), uid)
			require.NoError(t, err)
			return dogtest.Serve(t, stub).Dial("/")
		}

		ada, bob, cyd, dan := join("ada"), join("bob"), join("cyd"), join("dan")
		ada.SendRaw(closeFrame) // closes, then fails: it is either, as the answer to the close frame may arrive or not
		ada.Vanish()
		if end := <-ends; end != "close ada" {
			require.Equal(t, "error ada", end)
			require.Equal(t, "close ada", <-ends)
		}
		bob.SendRaw([]byte{0xff, 0xff}) // breaks the protocol, then fails
		bob.Vanish()
		require.Equal(t, []string{"error bob", "close bob"}, []string{<-ends, <-ends})
		cyd.Close(1000, "")
		require.Equal(t, "close cyd", <-ends)
		dan.Vanish()
		require.Equal(t, []string{"error dan", "close dan"}, []string{<-ends, <-ends})
		synctest.Wait()
		require.Empty(t, ends, "no socket ended twice")

		for _, uid := range []string{"eve", "fay", "gus", "hal", "ida"} {
			join(uid)
		}
		var loads []int
		for r := range group.Replicas() {
			loads = append(loads, r.Load)
		}
		require.Equal(t, []int{4, 1}, loads)
	})
}

func TestFault08_AResponseLeavesTheSocketsOfItsUIDOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{LingerFor: -1}, dog.GroupOptions[fixture.Lobby]{Limit: 3}, &fixture.Hooks{},
		)
		ada := h.Enter("ada")
		replica := h.ReplicaOf("ada")
		h.Enter("bob")
		cyd := h.Enter("cyd")
		h.Enter("dan")
		cyd.Close(1000, "")
		synctest.Wait()
		require.Equal(t, []int{2, 1}, h.Loads(), "the socket alone keeps the id where it is")

		status, _ := h.Server.Get("/hello?u=ada")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, []int{2, 1}, h.Loads())
		require.Equal(t, replica, h.ReplicaOf("ada"))
		reached, err := h.Group.Whisper(t.Context(), "ada", "still here?")
		require.NoError(t, err)
		require.Equal(t, 1, reached)
		require.Equal(t, []string{"still here?"}, fixture.Texts(ada))
	})
}

func TestFault09_OneUIDOnSeveralReplicasIsReachedOnAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{Message: fixture.Relay})
		phone, laptop, bob := h.Enter("ada"), h.Enter("ada"), h.Enter("bob")
		require.Equal(t, []int{1, 1, 1}, h.Loads())
		bob.Send("whisper ada psst")
		require.Equal(t, []string{"psst"}, fixture.Texts(phone))
		require.Equal(t, []string{"psst"}, fixture.Texts(laptop))

		reached, err := h.Group.Whisper(t.Context(), "ada", "both")
		require.NoError(t, err)
		require.Equal(t, 2, reached)
		phone.Close(1000, "")
		synctest.Wait()
		reached, err = h.Group.Whisper(t.Context(), "ada", "one")
		require.NoError(t, err)
		require.Equal(t, 1, reached)
		require.Equal(t, []string{"both", "one"}, fixture.Texts(laptop))
	})
}

func TestFault10_AWhisperToTheSenderArrivesAndToNobodyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{Message: fixture.Relay})
		phone, laptop := h.Enter("ada"), h.Enter("ada")
		phone.Send("whisper ada note")
		require.Equal(t, []string{"note"}, fixture.Texts(phone))
		require.Equal(t, []string{"note"}, fixture.Texts(laptop))

		phone.Send("whisper nobody hello")
		answer := fixture.Texts(phone)
		require.Len(t, answer, 1)
		require.Contains(t, answer[0], dog.ErrNoTarget.Error())
		reached, err := h.Group.Whisper(t.Context(), "nobody", "hello")
		require.ErrorIs(t, err, dog.ErrNoTarget)
		require.Zero(t, reached)
	})
}

func TestFault11_TheSendersDevicesOnOtherReplicasAreReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{Message: fixture.Relay})
		phone, laptop, bob := h.Enter("ada"), h.Enter("ada"), h.Enter("bob")
		phone.Send("all with me")
		phone.Send("broadcast without this phone")
		phone.Send("others without me")
		require.Equal(t, []string{"with me"}, fixture.Texts(phone))
		require.Equal(t, []string{"with me", "without this phone"}, fixture.Texts(laptop))
		require.Equal(t, []string{"with me", "without this phone", "without me"}, fixture.Texts(bob))
	})
}

func TestFault12_ASocketJoinsBeforeOnOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Open: func(ctx context.Context, r *fixture.Room, s *dog.Socket) error {
				assert.Equal(t, "ada", fixture.UIDOf(r))
				reached, err := s.Whisper(ctx, s.UID(), "whisper")
				assert.Equal(t, 1, reached)
				return errors.Join(err, r.Emit("emit"), r.Broadcast("broadcast"))
			}},
		)
		require.Equal(t, []string{"whisper", "emit", "broadcast"}, fixture.Texts(h.Enter("ada")))
	})
}

func TestFault13_ASocketThatFailsToOpenRemovesOnlyItself(t *testing.T) {
	ways := map[string]func(*dogtest.Client, *dog.Socket) error{
		"refused":         func(*dogtest.Client, *dog.Socket) error { return errors.New("refused") },
		"closed":          func(_ *dogtest.Client, s *dog.Socket) error { return s.Close(4000, "not you") },
		"client vanishes": func(c *dogtest.Client, _ *dog.Socket) error { c.Vanish(); return nil },
	}
	for name, fail := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clients := make(chan *dogtest.Client, 1)
				opened := 0
				h := fixture.NewRooms(
					t, 2,
					&fixture.Hooks{
						Message: fixture.Relay,
						Open: func(ctx context.Context, _ *fixture.Room, s *dog.Socket) error {
							if opened++; opened == 1 {
								return nil
							}
							return dog.Await(ctx, func() error { return fail(<-clients, s) })
						},
					},
				)
				first := h.Enter("ada")
				clients <- h.Join("ada")
				synctest.Wait()
				require.Equal(t, 2, opened)
				require.Equal(t, []int{1}, h.Loads())
				first.Send("whisper ada still me")
				require.Equal(t, []string{"still me"}, fixture.Texts(first))
				first.Send("all and again")
				require.Equal(t, []string{"and again"}, fixture.Texts(first))
			})
		})
	}
}
