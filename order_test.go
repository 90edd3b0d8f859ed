package dog_test

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
)

// numbers returns what a client has received, as numbers, once everything has come to rest.
func numbers(t *testing.T, c *dogtest.Client) []int {
	t.Helper()
	var all []int
	for _, text := range texts(c) {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		all = append(all, n)
	}
	return all
}

// Whatever way a handler sends, on its own replica and across, each receiver sees its messages in the order in which they were
// sent.
func TestMessagesOfOneSenderKeepTheirOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const rounds = 50
		h := newHouse(t, 2, &hooks{message: func(ctx context.Context, r *room, s *dog.Socket, _ dog.Message) error {
			n := 0
			next := func() string { n++; return strconv.Itoa(n) }
			for range rounds {
				require.NoError(t, s.Send(next()))
				require.NoError(t, r.Broadcast(next()))
				require.NoError(t, r.Emit(next()))
				for _, u := range []string{"ada", "bob", "cyd", "dan"} {
					_, err := s.Whisper(ctx, u, next())
					require.NoError(t, err)
				}
				require.NoError(t, r.Broadcast(next()))
				require.NoError(t, s.Broadcast(next()))
				require.NoError(t, r.Emit(next()))
			}
			return nil
		}})
		clients := map[string]*dogtest.Client{}
		for _, u := range []string{"ada", "bob", "cyd", "dan"} {
			clients[u] = h.join(u)
		}
		synctest.Wait() // all have joined
		clients["ada"].Send("go")
		perRound := map[string]int{
			"ada": 6, // all but what is for others
			"bob": 6, // two emits, three broadcasts, a whisper
			"cyd": 4, // three broadcasts, a whisper
			"dan": 4,
		}
		for u, c := range clients {
			got := numbers(t, c)
			require.Len(t, got, perRound[u]*rounds, u)
			require.IsIncreasing(t, got, u)
		}
	})
}

// Many senders at once, in handlers and outside: the sockets of one replica agree on the order of what they all get.
func TestTheSocketsOfAReplicaSeeBroadcastsInTheSameOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const each = 20
		h := newHouse(t, 3, &hooks{message: func(ctx context.Context, r *room, s *dog.Socket, _ dog.Message) error {
			for i := range each {
				if err := r.Broadcast(fmt.Sprint(s.UID(), i)); err != nil {
					return err
				}
			}
			return nil
		}})
		var clients []*dogtest.Client
		for i := range 9 {
			clients = append(clients, h.join(fmt.Sprint("u", i)))
		}
		synctest.Wait() // all have joined
		var senders sync.WaitGroup
		for i := range 5 {
			senders.Go(func() {
				for n := range each {
					_ = h.group.Broadcast(t.Context(), fmt.Sprint("outside", i, n))
				}
			})
		}
		for _, c := range clients {
			senders.Go(func() { c.Send("go") })
		}
		senders.Wait()
		require.Equal(t, []int{3, 3, 3}, h.loads())
		for replica := range 3 {
			first := texts(clients[3*replica])
			require.Len(t, first, (9+5)*each)
			for i := 1; i < 3; i++ {
				require.Equal(t, first, texts(clients[3*replica+i]))
			}
		}
	})
}

func TestCoalescingKeepsTheOrderOfTheRest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var socket *dog.Socket
		h := newHouse(t, 1, &hooks{receive: func(r *room, w http.ResponseWriter, req *http.Request) {
			socket, _ = r.Connect(w, req, &dog.SocketOptions{Slow: dog.CoalesceSlow})
		}})
		c := h.srv.DialWith("/ws?u=ada", dogtest.DialOptions{OnDemand: true})
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
		require.EqualValues(t, 2, h.rt.Stats().Coalesced)
	})
}

func TestWhatOnOpenSendsComesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 2, &hooks{
			open: func(ctx context.Context, _ *room, s *dog.Socket) error {
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
			message: func(_ context.Context, _ *room, s *dog.Socket, m dog.Message) error {
				return s.Send("re: " + m.String())
			},
		})
		c := h.join("ada")
		c.Send("a")
		c.Send("b")
		time.Sleep(4 * time.Second)
		require.Equal(t, []string{"hello 0", "hello 1", "hello 2", "re: a", "re: b"}, texts(c))
	})
}

func TestWhatWasSentBeforeCloseArrivesBeforeTheEnd(t *testing.T) {
	// Together more than leaves in one write.
	numbered := func(i int) string { return strings.Repeat(" ", 10_000) + strconv.Itoa(i) }
	for name, slow := range map[string]bool{"quick client": false, "slow client": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHouse(t, 1, &hooks{open: func(ctx context.Context, _ *room, s *dog.Socket) error {
					for i := range 20 {
						require.NoError(t, s.Send(numbered(i)))
					}
					require.NoError(t, s.Close(4000, "enough"))
					require.ErrorIs(t, s.Send("more"), dog.ErrSocketClosed)
					return nil
				}})
				c := h.srv.DialWith("/ws?u=ada", dogtest.DialOptions{OnDemand: slow})
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

// Requests through one stub that are made one after the other start in that order, waiting or not.
func TestRequestsThroughOneStubStartInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var order []string // guarded by the turn
		h := newHouse(t, 20, &hooks{receive: func(_ *room, _ http.ResponseWriter, req *http.Request) {
			order = append(order, req.URL.Query().Get("n"))
			time.Sleep(time.Second)
		}})
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		var want []string
		var calls sync.WaitGroup
		for i := range 10 {
			n := strconv.Itoa(i)
			want = append(want, n)
			calls.Go(func() { stub.ServeHTTP(&nowhere{}, newRequest("/?n="+n)) })
			synctest.Wait()
		}
		calls.Wait()
		require.Equal(t, want, order)
	})
}
