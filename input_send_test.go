package dog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// busy is an OnMessage that keeps its turn for an hour.
func busy(_ context.Context, _ *room, s *dog.Socket, _ dog.Message) error {
	time.Sleep(time.Hour)
	return s.Send("done")
}

// flood is an OnMessage that takes two seconds to send more than the queue of 1,000 bytes holds, and reports what Send says in
// the end.
func flood(last *error) func(context.Context, *room, *dog.Socket, dog.Message) error {
	return func(_ context.Context, _ *room, s *dog.Socket, _ dog.Message) error {
		for i := range 100 {
			*last = s.Send(fmt.Sprintf("%d%s", i, strings.Repeat(".", 98)), dog.Coalesce("state"))
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	}
}

// newSlowHouse returns a house with this policy and a client that reads only on demand and has been flooded. A client is slow
// that has taken nothing for a second with a full queue; WriteTimeout, which would cut it off earlier, is out of the way.
func newSlowHouse(t *testing.T, policy dog.SlowPolicy, last *error) (*house, *dogtest.Client) {
	t.Helper()
	options := dog.Options{Sockets: dog.SocketOptions{QueueBytes: 1000, Slow: policy, WriteTimeout: time.Minute}}
	h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 2}, &hooks{message: flood(last)})
	c := h.srv.DialWith("/ws?u=slow", dogtest.DialOptions{OnDemand: true})
	c.Send("go")
	elapse(2 * time.Second)
	return h, c
}

func TestASlowClientIsDisconnectedByDefault(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var last error
		h, c := newSlowHouse(t, 0, &last)
		require.ErrorIs(t, last, dog.ErrSocketClosed, "after the one that was too much")
		code, _ := c.Closed()
		require.Equal(t, 1008, code)
		requireEmpty(t, h.rt)
		require.EqualValues(t, 1, h.rt.Stats().Slow)
	})
}

func TestASlowClientThatNeverReadsIsCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var last error
		h, _ := newSlowHouse(t, dog.DisconnectSlow, &last)
		elapse(5 * time.Second) // CloseTimeout
		requireEmpty(t, h.rt)
		require.EqualValues(t, 1, h.rt.Stats().Slow)
	})
}

func TestTheOldestMessagesOfASlowClientAreDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var last error
		h, c := newSlowHouse(t, dog.DropOldest, &last)
		require.NoError(t, last)
		stats := h.rt.Stats()
		require.LessOrEqual(t, stats.QueuedBytes, 1000)
		require.Positive(t, stats.QueuedBytes)
		require.Positive(t, stats.Dropped)
		require.Zero(t, stats.Slow)
		received := 0
		for m := (dog.Message{}); !strings.HasPrefix(m.String(), "99."); received++ {
			m = c.Receive()
		}
		require.EqualValues(t, 100, uint64(received)+stats.Dropped, "every message arrived or was counted")
		require.Equal(t, 1, h.rt.Stats().Sockets)
	})
}

func TestNewerMessagesOfASlowClientReplaceOlderOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var last error
		h, c := newSlowHouse(t, dog.CoalesceSlow, &last)
		require.NoError(t, last)
		stats := h.rt.Stats()
		require.Positive(t, stats.Coalesced)
		require.Zero(t, stats.Slow)
		received := 0
		for m := (dog.Message{}); !strings.HasPrefix(m.String(), "99."); received++ {
			m = c.Receive()
		}
		require.EqualValues(t, 100, uint64(received)+stats.Coalesced)
	})
}

func TestCoalescingDisconnectsWhenItIsNotEnough(t *testing.T) {
	bubble(t, func(t *testing.T) {
		options := dog.Options{Sockets: dog.SocketOptions{QueueBytes: 1000, Slow: dog.CoalesceSlow}}
		h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 2}, &hooks{
			message: func(_ context.Context, _ *room, s *dog.Socket, _ dog.Message) error {
				for i := range 20 {
					if err := s.Send(strings.Repeat("x", 98), dog.Coalesce(fmt.Sprint(i))); err != nil {
						return err
					}
					time.Sleep(100 * time.Millisecond)
				}
				return nil
			}})
		c := h.srv.DialWith("/ws", dogtest.DialOptions{OnDemand: true})
		c.Send("go")
		elapse(2 * time.Second)
		code, _ := c.Closed()
		require.Equal(t, 1008, code)
		requireEmpty(t, h.rt)
		require.EqualValues(t, 1, h.rt.Stats().Slow)
	})
}

func TestASlowClientHoldsUpNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouseWith(t, dog.Options{Sockets: dog.SocketOptions{QueueBytes: 1000}}, dog.GroupOptions[lobby]{Limit: 2}, &hooks{})
		h.srv.DialWith("/ws?u=slow", dogtest.DialOptions{OnDemand: true})
		ada := h.enter("ada")
		began := time.Now()
		for range 100 {
			require.NoError(t, h.group.Broadcast(t.Context(), strings.Repeat("x", 98)))
			synctest.Wait()
		}
		require.Len(t, ada.Received(), 100)
		require.Zero(t, time.Since(began))
	})
}

func TestWhatCannotBeEncodedIsNotSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bad := map[string]any{
			"no JSON": make(chan int), "infinite": math.Inf(1), "text": "a\xff", "raw": json.RawMessage("\"\xff\""),
			"message": dog.Message{Type: dog.Text, Data: []byte{0xff}}, "type": dog.Message{Type: 9},
		}
		h := newHouse(t, 2, &hooks{message: func(ctx context.Context, r *room, s *dog.Socket, _ dog.Message) error {
			for name, v := range bad {
				require.Error(t, s.Send(v), name)
				require.Error(t, s.Emit(v), name)
				require.Error(t, r.Emit(v), name)
				require.Error(t, s.Broadcast(v), name)
				require.Error(t, r.Broadcast(v), name)
				_, err := s.Whisper(ctx, s.UID(), v)
				require.Error(t, err, name)
			}
			return s.Send("still here")
		}})
		c := h.join("ada")
		c.Send("go")
		require.Equal(t, []string{"still here"}, texts(c))
	})
}

func TestValuesTravelAsTextBinaryOrJSON(t *testing.T) {
	bubble(t, func(t *testing.T) {
		text := func(s string) dog.Message { return dog.Message{Type: dog.Text, Data: []byte(s)} }
		binary := func(s string) dog.Message { return dog.Message{Type: dog.Binary, Data: []byte(s)} }
		h := newHouse(t, 2, &hooks{message: func(_ context.Context, _ *room, s *dog.Socket, m dog.Message) error {
			for _, v := range []any{
				m, "text", []byte{0xff, 0}, json.RawMessage(`{"a": 1}`), map[string]int{"n": 1}, nil, 7, "", []byte{},
				dog.Message{Data: []byte("zero type")}, dog.Message{Type: dog.Binary, Data: []byte("b")},
			} {
				require.NoError(t, s.Send(v))
			}
			return nil
		}})
		c := h.join("ada")
		c.Send([]byte("in"))
		want := []dog.Message{
			binary("in"), text("text"), binary("\xff\x00"), text(`{"a": 1}`), text(`{"n":1}`), text("null"), text("7"), text(""), binary(""),
			text("zero type"), binary("b"),
		}
		for _, m := range want {
			require.Equal(t, m, c.Receive())
		}
	})
}

func TestASocketLeavesOutItselfAndNoOtherDeviceOfItsUID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 3, &hooks{message: func(_ context.Context, r *room, s *dog.Socket, m dog.Message) error {
			switch m.String() {
			case "emit":
				return s.Emit(m)
			case "emit+":
				return r.Emit(m)
			case "emit-":
				return s.Emit(m, dog.ExceptUID(s.UID()))
			case "broadcast":
				return s.Broadcast(m)
			case "broadcast-":
				return s.Broadcast(m, dog.ExceptUID(s.UID()))
			default:
				return r.Broadcast(m, dog.SendOption{})
			}
		}})
		phone, laptop, bob := h.enter("ada"), h.enter("ada"), h.enter("bob") // on the first replica
		cyd, tablet := h.enter("cyd"), h.enter("ada")                        // on the second
		require.Equal(t, []int{3, 2}, h.loads())
		for _, m := range []string{"emit", "emit+", "emit-", "broadcast", "broadcast+", "broadcast-"} {
			phone.Send(m)
			synctest.Wait()
		}
		require.Equal(t, []string{"emit+", "broadcast+"}, texts(phone))
		require.Equal(t, []string{"emit", "emit+", "broadcast", "broadcast+"}, texts(laptop))
		require.Equal(t, []string{"broadcast", "broadcast+"}, texts(tablet))
		require.Equal(t, []string{"emit", "emit+", "emit-", "broadcast", "broadcast+", "broadcast-"}, texts(bob))
		require.Equal(t, []string{"broadcast", "broadcast+", "broadcast-"}, texts(cyd))
	})
}

func TestTheServersFavouriteSubprotocolIsChosen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		options := dog.Options{Sockets: dog.SocketOptions{Subprotocols: []string{"chat.v2", "chat.v1"}}}
		agreed := make(chan string, 1)
		h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 9}, &hooks{open: func(_ context.Context, _ *room, s *dog.Socket) error {
			agreed <- s.Subprotocol()
			return nil
		}})
		for _, test := range []struct {
			offers []string
			want   string
		}{{nil, ""}, {[]string{"other"}, ""}, {[]string{"other", "chat.v1"}, "chat.v1"}, {[]string{"chat.v1", "chat.v2"}, "chat.v2"}} {
			c := h.srv.DialWith("/ws", dogtest.DialOptions{Subprotocols: test.offers})
			require.Equal(t, test.want, c.Subprotocol(), "%v", test.offers)
			require.Equal(t, test.want, <-agreed)
		}
	})
}

func TestSocketsAreFoundByTheirTags(t *testing.T) {
	bubble(t, func(t *testing.T) {
		found := make(map[string][]string) // guarded by the turn
		h := newHouse(t, 9, &hooks{
			receive: func(r *room, w http.ResponseWriter, req *http.Request) {
				r.Connect(w, req, &dog.SocketOptions{Tags: req.URL.Query()["tag"]})
			},
			message: func(_ context.Context, r *room, s *dog.Socket, m dog.Message) error {
				clear(found)
				for _, tags := range [][]string{{}, {"red"}, {"big"}, {"big", "red"}, {"blue"}} {
					var uids []string
					for s := range r.Sockets(tags...) {
						uids = append(uids, s.UID())
					}
					slices.Sort(uids)
					found[strings.Join(tags, "+")] = uids
				}
				return s.Send(strings.Join(s.Tags(), " "))
			},
		})
		ada := h.srv.Dial("/?u=ada&tag=red&tag=big&tag=red")
		h.srv.Dial("/?u=bob&tag=red")
		h.srv.Dial("/?u=cyd")
		synctest.Wait()
		ada.Send("find")
		require.Equal(t, []string{"big red"}, texts(ada), "sorted and distinct")
		require.Equal(t, map[string][]string{
			"": {"ada", "bob", "cyd"}, "red": {"ada", "bob"}, "big": {"ada"}, "big+red": {"ada"}, "blue": nil,
		}, found)
	})
}
