package dog_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

func TestFault14_OnOpenThatFailsLeaksNothing(t *testing.T) {
	ways := map[string]func() error{
		"error": func() error { return errors.New("secret") },
		"panic": func() error { panic("secret") },
	}
	for name, fail := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options, log := logged()
				h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 2}, &hooks{
					open: func(context.Context, *room, *dog.Socket) error { return fail() },
				})
				ada := h.join("ada")
				code, reason := ada.Closed()
				require.Equal(t, 1011, code)
				require.Empty(t, reason)
				synctest.Wait()
				require.Equal(t, []int{0}, h.loads())
				require.Zero(t, h.rt.Stats().Sockets)
				require.Contains(t, log.String(), "secret")
			})
		})
	}
}

func TestFault15_NewIDsGoToTheLeastLoadedReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 3, &hooks{})
		clients := make(map[string]*dogtest.Client)
		for _, id := range strings.Fields("a b c d e f") {
			clients[id] = h.enter(id)
		}
		require.Equal(t, []int{3, 3}, h.loads())
		for _, id := range strings.Fields("a b d") {
			clients[id].Close(1000, "")
		}
		synctest.Wait()
		require.Equal(t, []int{1, 2}, h.loads())
		h.enter("g")
		require.Equal(t, []int{2, 2}, h.loads())
		clients["c"].Close(1000, "")
		clients["e"].Close(1000, "")
		clients["f"].Close(1000, "")
		synctest.Wait()
		require.Equal(t, []int{1, 0}, h.loads())
		h.enter("h")
		require.Equal(t, []int{1, 1}, h.loads())
	})
}

func TestFault16_ASlowClusterizeMakesOneReplicaForManyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		h := newHalls(t, dog.GroupOptions[hall]{Limit: 20}, &hooks{}, func(ctx context.Context, _ string) (string, error) {
			calls++
			return "first", dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
		})
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				_, err := h.identify(t.Context(), "ada")
				assert.NoError(t, err)
			})
		}
		callers.Wait()
		require.Equal(t, 1, calls)
		require.Equal(t, []int{20}, h.loads())
	})
}

func TestFault17_ANewReplicaIsKnownBeforeItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := make(chan struct{})
		h := newHouse(t, 1, &hooks{
			message: relay,
			start:   func(ctx context.Context, r *room) error { return r.Broadcast("started") },
			gossip:  func(context.Context, *room, dog.Message) (any, error) { return "here", nil },
			receive: func(r *room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/ws" {
					r.Connect(w, req, nil)
					return
				}
				_ = dog.Await(req.Context(), func() error { <-served; return nil })
			},
		})
		ada := h.enter("ada")
		status := background(h.srv, "/first?u=bob")
		require.Equal(t, []string{"started"}, texts(ada), "it reaches the others while it starts")
		replies, err := h.group.Gossip(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, replies, 2)
		require.NoError(t, replies[1].Err, "the others reach it while it serves its first request")
		close(served)
		require.Equal(t, http.StatusOK, <-status)
	})
}

func TestFault18_AGossipHasAResultOrAnErrorPerPeerAndADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, dog.Options{GossipTimeout: 3 * time.Second}, dog.GroupOptions[lobby]{Limit: 1}, &hooks{
			gossip: func(ctx context.Context, r *room, _ dog.Message) (any, error) {
				switch uid := uidOf(r); uid {
				case "error":
					return nil, errors.New("not today")
				case "null":
					return nil, nil
				case "panic":
					panic("oops")
				case "silent":
					return nil, dog.Await(ctx, func() error { <-ctx.Done(); return ctx.Err() })
				default:
					return uid, nil
				}
			},
		})
		for _, id := range strings.Fields("error null panic silent ada") {
			h.enter(id)
		}
		began := time.Now()
		replies, err := h.group.Gossip(t.Context(), "who?")
		require.NoError(t, err)
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Len(t, replies, 5)
		require.ErrorContains(t, replies[0].Err, "not today")
		require.NoError(t, replies[1].Err)
		require.Equal(t, "null", string(replies[1].Data))
		require.ErrorIs(t, replies[2].Err, dog.ErrReset)
		require.ErrorIs(t, replies[3].Err, context.DeadlineExceeded)
		var uid string
		require.NoError(t, replies[4].Decode(&uid))
		require.Equal(t, "ada", uid)
	})
}

func TestFault19_ADeadSocketStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 4, &hooks{message: relay})
		h.srv.DialWith("/ws?u=stuck", dogtest.DialOptions{OnDemand: true}) // never reads
		synctest.Wait()
		for range 300 {
			require.NoError(t, h.group.Broadcast(t.Context(), strings.Repeat("x", 1024)))
		}
		gone, ada, bob := h.enter("gone"), h.enter("ada"), h.enter("bob")
		require.Equal(t, []int{4}, h.loads(), "the stuck one is being closed, which takes a while")
		began := time.Now()
		gone.Vanish()
		for _, text := range []string{"one", "two", "three"} {
			ada.Send("all " + text)
		}
		require.Equal(t, []string{"one", "two", "three"}, texts(bob))
		require.Equal(t, []string{"one", "two", "three"}, texts(ada))
		require.Zero(t, time.Since(began))
	})
}

func TestFault20_ReceiveThatPanicsIsAnsweredWithAPlain500(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := logged()
		h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 2}, &hooks{
			receive: func(*room, http.ResponseWriter, *http.Request) { panic("secret") },
		})
		answer, err := h.srv.Client().Get(dogtest.URL + "/")
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
		require.Equal(t, "Internal Server Error\n", string(body))
		synctest.Wait()
		require.Contains(t, log.String(), "secret")
		require.Contains(t, log.String(), "faults_traffic_test.go", "the stack is in the log")
		require.Equal(t, []int{0}, h.loads())
	})
}

func TestFault21_AnAnswerWaitsForNobodyAndGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHalls(t, dog.GroupOptions[hall]{Limit: 1}, &hooks{}, nil)
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		release := make(chan struct{})
		h.receive = func(_ *hall, _ http.ResponseWriter, _ *http.Request) { <-release; panic("the group fails") }
		busy := background(dogtest.Serve(t, h.group), "/")
		synctest.Wait()

		srv := dogtest.Serve(t, stub)
		for range 3 {
			status, body := srv.Get("/hello")
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "/hello", body)
			require.Equal(t, []int{0}, h.loads())
		}
		close(release)
		require.Equal(t, http.StatusInternalServerError, <-busy)
		status, _ := srv.Get("/hello")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, []int{0}, h.loads())
	})
}

func TestFault22_BinaryMessagesStayBinary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []dog.Message
		h := newHouse(t, 1, &hooks{message: func(ctx context.Context, _ *room, s *dog.Socket, m dog.Message) error {
			got = append(got, m)
			return errors.Join(s.Send(m.Data), s.Broadcast(m))
		}})
		ada, bob := h.enter("ada"), h.enter("bob")
		data := []byte{0, 0xff, 0xfe, 'x'}
		ada.Send(data)
		ada.Send("text")
		synctest.Wait()
		require.Equal(t, []dog.Message{{Type: dog.Binary, Data: data}, {Type: dog.Text, Data: []byte("text")}}, got)
		require.Equal(t, got, bob.Received())
		require.Equal(t, dog.Message{Type: dog.Binary, Data: data}, ada.Receive())
		require.Equal(t, dog.Message{Type: dog.Binary, Data: []byte("text")}, ada.Receive())
	})
}

func TestFault23_CloseCodeAndReasonAreHandedOnAndEchoed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type end struct {
			code   int
			reason string
		}
		ends := make(chan end, 1)
		h := newHouse(t, 2, &hooks{
			message: func(_ context.Context, _ *room, s *dog.Socket, m dog.Message) error { return s.Close(4002, m.String()) },
			close: func(_ context.Context, _ *room, _ *dog.Socket, code int, reason string) error {
				ends <- end{code, reason}
				return nil
			},
		})
		ada := h.enter("ada")
		ada.Close(4001, "gone fishing")
		require.Equal(t, end{4001, "gone fishing"}, <-ends)
		code, reason := ada.Closed()
		require.Equal(t, end{4001, "gone fishing"}, end{code, reason}, "the echo")

		bob := h.enter("bob")
		bob.Send("closing time")
		code, reason = bob.Closed()
		require.Equal(t, end{4002, "closing time"}, end{code, reason})
		require.Equal(t, end{4002, "closing time"}, <-ends)
	})
}

func TestFault24_AUIDIsAValueNotAHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 2, &hooks{open: func(_ context.Context, _ *room, s *dog.Socket) error { return s.Send("[" + s.UID() + "]") }})
		for _, bad := range []string{"", "a\nb", "a\x00b", "\x7f", "\u0085", "\xff", strings.Repeat("x", 1025)} {
			_, err := h.identify(t.Context(), bad)
			require.ErrorIs(t, err, dog.ErrInvalidName, "%q", bad)
			status, body := h.srv.Get("/?u=" + url.QueryEscape(bad))
			require.Equal(t, http.StatusBadRequest, status, "%q", bad)
			require.Equal(t, "Bad Request\n", body)
		}
		require.Empty(t, h.loads())
		for _, good := range []string{" ada ", "null", "\u00e4\u4e16\U0001f600", strings.Repeat("x", 1024)} {
			require.Equal(t, []string{"[" + good + "]"}, texts(h.join(url.QueryEscape(good))))
		}
	})
}

func TestFault25_ReplicasShrinkAndCanBeListedAndDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, dog.Options{LingerFor: time.Second, RetireAfter: 5 * time.Second}, dog.GroupOptions[lobby]{Limit: 1}, &hooks{})
		ada, bob := h.enter("ada"), h.enter("bob")
		var ids []dog.ID
		for r := range h.group.Replicas() {
			require.Equal(t, dog.KindReplica, r.Kind)
			require.Equal(t, 1, r.Sockets)
			ids = append(ids, r.ID)
		}
		require.Len(t, ids, 2)

		require.NoError(t, h.group.Drain(context.Background(), ids[0]))
		ada.Close(1000, "")
		time.Sleep(2 * time.Second)
		require.Equal(t, []int{1}, h.loads(), "drained")
		bob.Close(1000, "")
		time.Sleep(10 * time.Second)
		require.Empty(t, h.loads(), "retired")
	})
}

func TestFault26_SocketsAreSafeByDefault(t *testing.T) {
	dialWith := func(h *house, header http.Header) (*dogtest.Client, *http.Response, error) {
		return h.srv.TryDial("/ws", dogtest.DialOptions{Header: header, OnDemand: true})
	}
	// house returns a house with a socket that never reads, and how that ends.
	house := func(t *testing.T) (h *house, ended chan int) {
		ended = make(chan int, 1)
		h = newHouse(t, 2, &hooks{close: func(_ context.Context, _ *room, _ *dog.Socket, code int, _ string) error {
			ended <- code
			return nil
		}})
		_, _, err := dialWith(h, nil)
		require.NoError(t, err)
		synctest.Wait()
		return h, ended
	}
	tests := map[string]func(t *testing.T){
		"subprotocol": func(t *testing.T) {
			h := newHouse(t, 2, &hooks{receive: func(r *room, w http.ResponseWriter, req *http.Request) {
				r.Connect(w, req, &dog.SocketOptions{Subprotocols: []string{"chat.v2", "chat.v1"}})
			}})
			c := h.srv.DialWith("/", dogtest.DialOptions{Subprotocols: []string{"chat.v1"}})
			require.Equal(t, "chat.v1", c.Subprotocol())
		},
		"heartbeat": func(t *testing.T) {
			h, ended := house(t)
			began := time.Now()
			require.Equal(t, 1006, <-ended)
			require.LessOrEqual(t, time.Since(began), 75*time.Second, "three intervals of 25 s: until it is found silent, pinged, judged")
			synctest.Wait()
			require.Equal(t, []int{0}, h.loads())
		},
		"back pressure": func(t *testing.T) {
			h, ended := house(t)
			for range 300 {
				require.NoError(t, h.group.Broadcast(t.Context(), strings.Repeat("x", 1024)))
			}
			require.Equal(t, 1008, <-ended)
			synctest.Wait()
			require.Equal(t, []int{0}, h.loads())
		},
		"size limit": func(t *testing.T) {
			h := newHouse(t, 2, &hooks{message: func(_ context.Context, _ *room, s *dog.Socket, _ dog.Message) error { return s.Send("got it") }})
			c := h.enter("ada")
			c.Send(make([]byte, 64<<10))
			require.Equal(t, "got it", c.Receive().String())
			c.Send(make([]byte, 64<<10+1))
			code, _ := c.Closed()
			require.Equal(t, 1009, code)
		},
		"origin": func(t *testing.T) {
			h := newHouse(t, 2, &hooks{})
			_, answer, err := dialWith(h, http.Header{"Origin": {"https://evil.example"}})
			require.Error(t, err)
			require.Equal(t, http.StatusForbidden, answer.StatusCode)
			synctest.Wait()
			require.Equal(t, []int{0}, h.loads())
			_, _, err = dialWith(h, http.Header{"Origin": {dogtest.URL}})
			require.NoError(t, err)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}
