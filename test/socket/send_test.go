package socket_test

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
	"github.com/godurable/dog/test/internal/fixture"
)

// busy is an OnMessage that keeps its turn for an hour.
func busy(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
	time.Sleep(time.Hour)
	return s.Send("done")
}

// flood is an OnMessage that takes two seconds to send more than the queue of
// 1,000 bytes holds, and stores the last result of Send.
func flood(last *error) func(context.Context, fixture.Owner, *dog.Socket, dog.Message) error {
	return func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
		for i := range 100 {
			*last = s.Send(fmt.Sprintf("%d%s", i, strings.Repeat(".", 98)), dog.Coalesce("state"))
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	}
}

// newSlowOwners returns owners with this policy and a client that reads only on
// demand and has been flooded. A client is slow that has taken nothing for a
// second with a full queue; WriteTimeout, which would cut it off earlier, is
// out of the way.
func newSlowOwners(t *testing.T, kind string, policy dog.SlowPolicy, last *error) (*fixture.Owners, *dogtest.Client) {
	t.Helper()
	options := dog.Options{Sockets: dog.SocketOptions{QueueBytes: 1000, Slow: policy, WriteTimeout: time.Minute}}
	v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{Message: flood(last), MaxSockets: 2})
	c := v.Server.DialWith("/?u=slow", dogtest.DialOptions{OnDemand: true})
	c.Send("go")
	fixture.Elapse(2 * time.Second)
	return v, c
}

func TestSocket_SlowClientIsDisconnectedByDefault(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var last error
		v, c := newSlowOwners(t, kind, 0, &last)
		require.ErrorIs(t, last, dog.ErrSocketClosed, "after the one that was too much")
		code, _ := c.Closed()
		require.Equal(t, 1008, code)
		fixture.RequireEmpty(t, v.Runtime)
		require.EqualValues(t, 1, v.Runtime.Stats().Slow)
	})
}

func TestSocket_ClientThatNeverReadsIsCutOff(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var last error
		v, _ := newSlowOwners(t, kind, dog.DisconnectSlow, &last)
		fixture.Elapse(5 * time.Second) // CloseTimeout
		fixture.RequireEmpty(t, v.Runtime)
		require.EqualValues(t, 1, v.Runtime.Stats().Slow)
	})
}

func TestSocket_OldestMessagesAreDroppedForASlowClient(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var last error
		v, c := newSlowOwners(t, kind, dog.DropOldest, &last)
		require.NoError(t, last)
		stats := v.Runtime.Stats()
		require.LessOrEqual(t, stats.QueuedBytes, 1000)
		require.Positive(t, stats.QueuedBytes)
		require.Positive(t, stats.Dropped)
		require.Zero(t, stats.Slow)
		received := 0
		for m := (dog.Message{}); !strings.HasPrefix(m.String(), "99."); received++ {
			m = c.Receive()
		}
		require.EqualValues(t, 100, uint64(received)+stats.Dropped, "every message arrived or was counted")
		require.Equal(t, 1, v.Runtime.Stats().Sockets)
	})
}

func TestSocket_NewerMessagesReplaceOlderOnesForASlowClient(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var last error
		v, c := newSlowOwners(t, kind, dog.CoalesceSlow, &last)
		require.NoError(t, last)
		stats := v.Runtime.Stats()
		require.Positive(t, stats.Coalesced)
		require.Zero(t, stats.Slow)
		received := 0
		for m := (dog.Message{}); !strings.HasPrefix(m.String(), "99."); received++ {
			m = c.Receive()
		}
		require.EqualValues(t, 100, uint64(received)+stats.Coalesced)
	})
}

func TestSocket_CoalescingDisconnectsBeyondTheBound(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		options := dog.Options{Sockets: dog.SocketOptions{QueueBytes: 1000, Slow: dog.CoalesceSlow}}
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
				for i := range 20 {
					if err := s.Send(strings.Repeat("x", 98), dog.Coalesce(fmt.Sprint(i))); err != nil {
						return err
					}
					time.Sleep(100 * time.Millisecond)
				}
				return nil
			},
			MaxSockets: 2,
		})
		c := v.Server.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true})
		c.Send("go")
		fixture.Elapse(2 * time.Second)
		code, _ := c.Closed()
		require.Equal(t, 1008, code)
		fixture.RequireEmpty(t, v.Runtime)
		require.EqualValues(t, 1, v.Runtime.Stats().Slow)
	})
}

func TestSocket_SlowClientDelaysNoOther(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(
			t, kind, dog.Options{Sockets: dog.SocketOptions{QueueBytes: 1000}}, &fixture.OwnerHooks{MaxSockets: 2},
		)
		v.Server.DialWith("/?u=slow", dogtest.DialOptions{OnDemand: true})
		ada := v.Enter("ada")
		began := time.Now()
		for range 100 {
			require.NoError(t, v.Broadcast(t.Context(), strings.Repeat("x", 98)))
			synctest.Wait()
		}
		require.Len(t, ada.Received(), 100)
		require.Zero(t, time.Since(began))
	})
}

func TestSocket_SendRefusesValuesThatCannotBeEncoded(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		bad := map[string]any{
			"no JSON": make(chan int), "infinite": math.Inf(1), "text": "a\xff", "raw": json.RawMessage("\"\xff\""),
			"message": dog.Message{Type: dog.Text, Data: []byte{0xff}}, "type": dog.Message{Type: 9},
		}
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, _ dog.Message) error {
				for name, v := range bad {
					require.Error(t, s.Send(v), name)
					require.Error(t, s.Emit(v), name)
					require.Error(t, fixture.Emit(o, v), name)
					require.Error(t, s.Broadcast(v), name)
					require.Error(t, o.Broadcast(v), name)
					_, err := s.Whisper(ctx, s.UID(), v)
					require.Error(t, err, name)
				}
				return s.Send("still here")
			},
		})
		c := v.Enter("ada")
		c.Send("go")
		require.Equal(t, []string{"still here"}, fixture.Texts(c))
	})
}

func TestSocket_SendsValuesAsTextBinaryOrJSON(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		text := func(s string) dog.Message { return dog.Message{Type: dog.Text, Data: []byte(s)} }
		binary := func(s string) dog.Message { return dog.Message{Type: dog.Binary, Data: []byte(s)} }
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error {
				for _, v := range []any{
					m, "text", []byte{0xff, 0}, json.RawMessage(`{"a": 1}`), map[string]int{"n": 1}, nil, 7, "",
					[]byte{},
					dog.Message{Data: []byte("zero type")}, dog.Message{Type: dog.Binary, Data: []byte("b")},
				} {
					require.NoError(t, s.Send(v))
				}
				return nil
			},
		})
		c := v.Enter("ada")
		c.Send([]byte("in"))
		want := []dog.Message{
			binary("in"), text("text"), binary("\xff\x00"), text(`{"a": 1}`), text(`{"n":1}`), text("null"), text("7"),
			text(""), binary(""), text("zero type"), binary("b"),
		}
		for _, m := range want {
			require.Equal(t, m, c.Receive())
		}
	})
}

func TestSocket_ExcludesItselfButNotItsUID(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		on := &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				switch m.String() {
				case "emit":
					return s.Emit(m)
				case "emit+":
					return fixture.Emit(o, m)
				case "emit-":
					return s.Emit(m, dog.ExceptUID(s.UID()))
				case "broadcast":
					return s.Broadcast(m)
				case "broadcast-":
					return s.Broadcast(m, dog.ExceptUID(s.UID()))
				default:
					return o.Broadcast(m, dog.SendOption{})
				}
			},
		}
		loads := []int{5}
		cydHears := []string{"emit", "emit+", "emit-", "broadcast", "broadcast+", "broadcast-"}
		tabletHears := []string{"emit", "emit+", "broadcast", "broadcast+"}
		if fixture.IsReplica(kind) {
			on.MaxSockets = 3 // cyd and the tablet are on another one, which gets broadcasts
			loads = []int{3, 2}
			cydHears, tabletHears = cydHears[3:], tabletHears[2:]
		}
		v := fixture.NewOwners(t, kind, dog.Options{}, on)
		phone, laptop, bob := v.Enter("ada"), v.Enter("ada"), v.Enter("bob")
		cyd, tablet := v.Enter("cyd"), v.Enter("ada")
		require.Equal(t, loads, v.Loads())
		for _, m := range []string{"emit", "emit+", "emit-", "broadcast", "broadcast+", "broadcast-"} {
			phone.Send(m)
			synctest.Wait()
		}
		require.Equal(t, []string{"emit+", "broadcast+"}, fixture.Texts(phone))
		require.Equal(t, []string{"emit", "emit+", "broadcast", "broadcast+"}, fixture.Texts(laptop))
		require.Equal(t, tabletHears, fixture.Texts(tablet))
		require.Equal(
			t, []string{"emit", "emit+", "emit-", "broadcast", "broadcast+", "broadcast-"}, fixture.Texts(bob),
		)
		require.Equal(t, cydHears, fixture.Texts(cyd))
	})
}

func TestSocket_PrefersTheServersSubprotocol(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		options := dog.Options{Sockets: dog.SocketOptions{Subprotocols: []string{"chat.v2", "chat.v1"}}}
		agreed := make(chan string, 1)
		v := fixture.NewOwners(
			t, kind, options,
			&fixture.OwnerHooks{Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
				agreed <- s.Subprotocol()
				return nil
			}},
		)
		for _, test := range []struct {
			offers []string
			want   string
		}{
			{nil, ""}, {[]string{"other"}, ""},
			{[]string{"other", "chat.v1"}, "chat.v1"}, {[]string{"chat.v1", "chat.v2"}, "chat.v2"},
		} {
			c := v.Server.DialWith("/?u=ada", dogtest.DialOptions{Subprotocols: test.offers})
			require.Equal(t, test.want, c.Subprotocol(), "%v", test.offers)
			require.Equal(t, test.want, <-agreed)
		}
	})
}

func TestSockets_AreFoundByTheirTags(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		found := make(map[string][]string) // guarded by the turn
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				_, err := o.Connect(w, req, &dog.SocketOptions{Tags: req.URL.Query()["tag"]})
				return err
			},
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				clear(found)
				for _, tags := range [][]string{{}, {"red"}, {"big"}, {"big", "red"}, {"blue"}} {
					var uids []string
					for s := range o.Sockets(tags...) {
						uids = append(uids, s.UID())
					}
					slices.Sort(uids)
					found[strings.Join(tags, "+")] = uids
				}
				return s.Send(strings.Join(s.Tags(), " "))
			},
		})
		ada := v.Server.Dial("/?u=ada&tag=red&tag=big&tag=red")
		v.Server.Dial("/?u=bob&tag=red")
		v.Server.Dial("/?u=cyd")
		synctest.Wait()
		ada.Send("find")
		require.Equal(t, []string{"big red"}, fixture.Texts(ada), "sorted and distinct")
		require.Equal(t, map[string][]string{
			"": {"ada", "bob", "cyd"}, "red": {"ada", "bob"}, "big": {"ada"}, "big+red": {"ada"}, "blue": nil,
		}, found)
	})
}
