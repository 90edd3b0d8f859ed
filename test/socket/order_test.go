package socket_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// numbers returns what a client has received, as numbers, once everything has
// come to rest.
func numbers(t *testing.T, c *dogtest.Client) []int {
	t.Helper()
	var all []int
	for _, text := range fixture.Texts(c) {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		all = append(all, n)
	}
	return all
}

// Whatever way a handler sends, on its own replica and across, each receiver
// sees its messages in the order in which they were sent.
func TestOrder_MessagesOfOneSenderKeepTheirOrder(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		const rounds = 50
		on := &fixture.OwnerHooks{
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, _ dog.Message) error {
				n := 0
				next := func() string { n++; return strconv.Itoa(n) }
				for range rounds {
					require.NoError(t, s.Send(next()))
					require.NoError(t, o.Broadcast(next()))
					require.NoError(t, fixture.Emit(o, next()))
					for _, u := range []string{"ada", "bob", "cyd", "dan"} {
						_, err := s.Whisper(ctx, u, next())
						require.NoError(t, err)
					}
					require.NoError(t, o.Broadcast(next()))
					require.NoError(t, s.Broadcast(next()))
					require.NoError(t, fixture.Emit(o, next()))
				}
				return nil
			},
		}
		perRound := map[string]int{
			"ada": 6, // all but what is for others
			"bob": 6, // two emits, three broadcasts, a whisper
			"cyd": 6,
			"dan": 6,
		}
		if fixture.IsReplica(kind) {
			on.MaxSockets = 2 // cyd and dan are on another one
			perRound["cyd"], perRound["dan"] = 4, 4
		}
		v := fixture.NewOwners(t, kind, dog.Options{}, on)
		clients := map[string]*dogtest.Client{}
		for _, u := range []string{"ada", "bob", "cyd", "dan"} {
			clients[u] = v.Enter(u)
		}
		clients["ada"].Send("go")
		for u, c := range clients {
			got := numbers(t, c)
			require.Len(t, got, perRound[u]*rounds, u)
			require.IsIncreasing(t, got, u)
		}
	})
}

// Many senders at once, in handlers and outside: the sockets of one object or
// replica agree on the order of what they all get.
func TestOrder_SocketsOfAnOwnerSeeBroadcastsInTheSameOrder(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		const each = 20
		on := &fixture.OwnerHooks{
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, _ dog.Message) error {
				for i := range each {
					if err := o.Broadcast(fmt.Sprint(s.UID(), i)); err != nil {
						return err
					}
				}
				return nil
			},
		}
		loads := []int{9}
		if fixture.IsReplica(kind) {
			on.MaxSockets = 3
			loads = []int{3, 3, 3}
		}
		v := fixture.NewOwners(t, kind, dog.Options{}, on)
		var clients []*dogtest.Client
		for i := range 9 {
			clients = append(clients, v.Enter(fmt.Sprint("u", i)))
		}
		var senders sync.WaitGroup
		for i := range 5 {
			senders.Go(func() {
				for n := range each {
					_ = v.Broadcast(t.Context(), fmt.Sprint("outside", i, n))
				}
			})
		}
		for _, c := range clients {
			senders.Go(func() { c.Send("go") })
		}
		senders.Wait()
		require.Equal(t, loads, v.Loads())
		for _, load := range loads {
			first := fixture.Texts(clients[0])
			require.Len(t, first, (9+5)*each)
			for _, c := range clients[1:load] {
				require.Equal(t, first, fixture.Texts(c))
			}
			clients = clients[load:]
		}
	})
}

func TestOrder_CoalescingKeepsTheOrderOfTheRest(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var socket *dog.Socket
		on := &fixture.OwnerHooks{
			Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error { socket = s; return nil },
		}
		on.ConnectWith(kind, dog.SocketOptions{Slow: dog.CoalesceSlow})
		v := fixture.NewOwners(t, kind, dog.Options{}, on)
		c := v.Server.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true})
		synctest.Wait()
		send := func(text, key string) {
			require.NoError(t, socket.Send(text, dog.Coalesce(key)))
			synctest.Wait()
		}
		send("on its way", "cursor") // to the connection already, where nothing can replace it
		send("1", "")
		send("cursor 1", "cursor")
		send("2", "")
		send("state 1", "state")
		send("cursor 2", "cursor")
		send("3", "")
		send("state 2", "state")
		send("4", "")
		for _, want := range []string{"on its way", "1", "2", "cursor 2", "3", "state 2", "4"} {
			require.Equal(t, want, c.Receive().String())
		}
		require.EqualValues(t, 2, v.Runtime.Stats().Coalesced)
	})
}

func TestOrder_MessagesOfOnOpenComeFirst(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Open: func(ctx context.Context, _ fixture.Owner, s *dog.Socket) error {
				for i := range 3 {
					if err := s.Send(fmt.Sprint("hello ", i)); err != nil {
						return err
					}
					// The client's message arrives meanwhile and waits.
					if err := dog.Await(ctx, func() error { time.Sleep(time.Second); return nil }); err != nil {
						return err
					}
				}
				return nil
			},
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error {
				return s.Send("re: " + m.String())
			},
		})
		c := v.Server.Dial("/?u=ada")
		c.Send("a")
		c.Send("b")
		time.Sleep(4 * time.Second)
		require.Equal(t, []string{"hello 0", "hello 1", "hello 2", "re: a", "re: b"}, fixture.Texts(c))
	})
}

func TestOrder_MessagesBeforeCloseArriveFirst(t *testing.T) {
	// Together more than leaves in one write.
	numbered := func(i int) string { return strings.Repeat(" ", 10_000) + strconv.Itoa(i) }
	for name, slow := range map[string]bool{"quick client": false, "slow client": true} {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				v := fixture.NewOwners(
					t, kind, dog.Options{},
					&fixture.OwnerHooks{Open: func(ctx context.Context, _ fixture.Owner, s *dog.Socket) error {
						for i := range 20 {
							require.NoError(t, s.Send(numbered(i)))
						}
						require.NoError(t, s.Close(4000, "enough"))
						require.ErrorIs(t, s.Send("more"), dog.ErrSocketClosed)
						return nil
					}},
				)
				c := v.Server.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: slow})
				synctest.Wait()
				for i := range 20 {
					require.Equal(t, numbered(i), c.Receive().String())
				}
				code, reason := c.Closed()
				require.Equal(t, 4000, code)
				require.Equal(t, "enough", reason)
			})
		})
	}
}

// Requests through one stub that are made one after the other start in that
// order, waiting or not.
func TestOrder_RequestsThroughOneStubStartInOrder(t *testing.T) {
	var order []string // guarded by the turn
	on := &fixture.OwnerHooks{Receive: func(_ fixture.Owner, _ http.ResponseWriter, req *http.Request) error {
		order = append(order, req.URL.Query().Get("n"))
		time.Sleep(time.Second)
		return nil
	}}
	requireInOrder := func(t *testing.T, stub http.Handler) {
		order = nil
		var want []string
		var calls sync.WaitGroup
		for i := range 10 {
			n := strconv.Itoa(i)
			want = append(want, n)
			calls.Go(func() { stub.ServeHTTP(&fixture.DiscardResponse{}, fixture.NewRequest("/?n="+n)) })
			synctest.Wait()
		}
		calls.Wait()
		require.Equal(t, want, order)
	}
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		objects, err := dog.RegisterObject(rt, "object", &dog.ObjectOptions[fixture.ReceivingObject]{
			New: func() *fixture.ReceivingObject {
				return &fixture.ReceivingObject{SocketObject: fixture.SocketObject{On: on}}
			},
		})
		require.NoError(t, err)
		replicas, err := dog.RegisterReplica(rt, "replica", &dog.ReplicaOptions[fixture.ReceivingReplica]{
			New: func() *fixture.ReceivingReplica {
				return &fixture.ReceivingReplica{SocketReplica: fixture.SocketReplica{On: on}}
			},
		})
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[dog.Group]{Limit: 20})
		require.NoError(t, err)
		replica, err := groups.Named("a").Identify(t.Context(), "ada")
		require.NoError(t, err)
		requireInOrder(t, objects.Named("a"))
		requireInOrder(t, replica)
	})
}
