package dog_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

func TestTagsOverTheirLimitsAreRefused(t *testing.T) {
	letters := strings.Split("abcdefghijk", "")
	tests := []struct {
		name   string
		tags   []string
		status int
	}{
		{"10", letters[:10], 101},
		{"11", letters, 500},
		{"10 distinct", append(letters[:10:10], "a", "b"), 101},
		{"256 bytes", []string{strings.Repeat("x", 256)}, 101},
		{"257 bytes", []string{strings.Repeat("x", 257)}, 500},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHouse(t, 1, &hooks{receive: func(r *room, w http.ResponseWriter, req *http.Request) {
					s, err := r.Connect(w, req, &dog.SocketOptions{Tags: test.tags})
					require.Equal(t, test.status == 101, s != nil)
					if test.status != 101 {
						requireUsage(t, err, "tags")
					}
				}})
				c, answer, _ := h.srv.TryDial("/", dogtest.DialOptions{})
				require.Equal(t, test.status, answer.StatusCode)
				if c != nil {
					c.Close(1000, "")
				}
				requireEmpty(t, h.rt)
			})
		})
	}
}

func TestARuntimeWithWrongSocketOptionsIsNotMade(t *testing.T) {
	_, err := dog.New(dog.Options{Sockets: dog.SocketOptions{Tags: []string{strings.Repeat("x", 257)}}})
	requireUsage(t, err, "tags")
	_, err = dog.New(dog.Options{Sockets: dog.SocketOptions{AutoRequest: strings.Repeat("x", 2049), AutoReply: "pong"}})
	require.Error(t, err)
	_, err = dog.New(dog.Options{Sockets: dog.SocketOptions{AutoRequest: "ping", AutoReply: strings.Repeat("x", 2049)}})
	require.Error(t, err)
}

func TestAnAttachmentStaysWithItsSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type seat struct{ Row, Number int }
		h := newHouse(t, 2, &hooks{
			open: func(_ context.Context, _ *room, s *dog.Socket) error {
				got := seat{7, 7}
				require.NoError(t, s.Attachment(&got))
				require.Equal(t, seat{7, 7}, got, "there is none yet")
				return s.SetAttachment(seat{1, len(s.UID())})
			},
			message: func(_ context.Context, _ *room, s *dog.Socket, _ dog.Message) error {
				require.NoError(t, s.SetAttachment(strings.Repeat("x", 16382)), "16,384 with the quotes")
				require.NoError(t, s.SetAttachment(seat{2, len(s.UID())}))
				requireUsage(t, s.SetAttachment(strings.Repeat("x", 16383)), "more than 16,384")
				require.Error(t, s.SetAttachment(make(chan int)))
				require.ErrorContains(t, s.SetAttachment("\xff"), "UTF-8")
				var got seat
				require.Error(t, s.Attachment(got), "not a pointer")
				require.NoError(t, s.Attachment(&got))
				return s.Send(got)
			},
		})
		ada, bobby := h.enter("ada"), h.enter("bobby")
		ada.Send("?")
		bobby.Send("?")
		require.Equal(t, []string{`{"Row":2,"Number":3}`}, texts(ada))
		require.Equal(t, []string{`{"Row":2,"Number":5}`}, texts(bobby))
	})
}

func TestAnAutoResponseDoesNotWakeTheReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var socket *dog.Socket
		var got []string
		options := dog.Options{Sockets: dog.SocketOptions{AutoRequest: "ping", AutoReply: "pong"}}
		h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 2}, &hooks{
			open: func(_ context.Context, _ *room, s *dog.Socket) error { socket = s; return nil },
			message: func(_ context.Context, _ *room, _ *dog.Socket, m dog.Message) error {
				got = append(got, m.String())
				return nil
			},
		})
		c := h.enter("ada")
		require.Zero(t, socket.AutoReplied())
		events := h.rt.Stats().Turns.Events
		elapse(time.Second)
		c.Send("ping")
		require.Equal(t, []string{"pong"}, texts(c))
		require.True(t, time.Now().Equal(socket.AutoReplied()))
		require.Equal(t, events, h.rt.Stats().Turns.Events)

		c.Send("Ping")
		c.Send([]byte("ping"))
		c.Send("ping ")
		require.Empty(t, texts(c))
		require.Equal(t, []string{"Ping", "ping", "ping "}, got, "only the same text is a request")
	})
}

func TestAnApplicationCannotCloseWithWhatTheProtocolForbids(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{message: func(_ context.Context, _ *room, s *dog.Socket, _ dog.Message) error {
			for _, code := range []int{-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536 + 1000} {
				requireUsage(t, s.Close(code, ""), "close code", code)
			}
			requireUsage(t, s.Close(1000, strings.Repeat("x", 124)), "close reason")
			requireUsage(t, s.Close(1000, "\xff"), "close reason")
			return s.Send("still open")
		}})
		c := h.join("ada")
		c.Send("go")
		require.Equal(t, []string{"still open"}, texts(c))
	})
}

func TestAnApplicationClosesWithWhatTheProtocolAllows(t *testing.T) {
	for _, code := range []int{1000, 1001, 1003, 1007, 1013, 3000, 4999} {
		bubble(t, func(t *testing.T) {
			reason := strings.Repeat("x", 123)
			h := newHouse(t, 1, &hooks{message: func(_ context.Context, _ *room, s *dog.Socket, _ dog.Message) error {
				require.NoError(t, s.Close(code, reason))
				require.NoError(t, s.Close(4000, "again"), "does nothing")
				require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
				return nil
			}})
			c := h.join("ada")
			c.Send("go")
			got, why := c.Closed()
			require.Equal(t, code, got)
			require.Equal(t, reason, why)
			requireEmpty(t, h.rt)
		})
	}
}

func TestASocketClosedInOnOpenHandlesNoMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var happened []string
		h := newHouse(t, 1, &hooks{
			open: func(_ context.Context, _ *room, s *dog.Socket) error {
				happened = append(happened, "open")
				return errors.Join(s.Send("sorry"), s.Close(4001, "not today"))
			},
			message: func(context.Context, *room, *dog.Socket, dog.Message) error {
				happened = append(happened, "message")
				return nil
			},
			close: func(_ context.Context, _ *room, s *dog.Socket, code int, reason string) error {
				require.Equal(t, 4001, code)
				require.Equal(t, "not today", reason)
				require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
				happened = append(happened, "close")
				return nil
			},
		})
		c := h.srv.DialWith("/ws", dogtest.DialOptions{OnDemand: true})
		c.SendRaw(frame(1, "hello?"))
		require.Equal(t, "sorry", c.Receive().String())
		code, reason := c.Closed()
		require.Equal(t, 4001, code)
		require.Equal(t, "not today", reason)
		requireEmpty(t, h.rt)
		require.Equal(t, []string{"open", "close"}, happened)
	})
}

func TestAnErrorOfAHandlerIsLoggedAndChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		options, log := logged()
		h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 1}, &hooks{
			message: func(_ context.Context, r *room, s *dog.Socket, _ dog.Message) error {
				return errors.Join(s.Send("got it"), errors.New("message failed"))
			},
			close: func(context.Context, *room, *dog.Socket, int, string) error { return errors.New("close failed") },
		})
		c := h.join("ada")
		c.Send("1")
		c.Send("2")
		require.Equal(t, []string{"got it", "got it"}, texts(c))
		c.Close(1000, "")
		requireEmpty(t, h.rt)
		require.Equal(t, 2, strings.Count(log.String(), "message failed"))
		require.Equal(t, 1, strings.Count(log.String(), "close failed"))
		require.Contains(t, log.String(), "event=OnMessage")
		require.Contains(t, log.String(), "namespace=room")
	})
}

func TestAPanicOfReceiveTellsTheClientNothing(t *testing.T) {
	tests := map[string]struct {
		before func(w http.ResponseWriter)
		whole  bool // whether the client gets a whole answer
	}{
		"before writing":            {func(http.ResponseWriter) {}, true},
		"after a header":            {func(w http.ResponseWriter) { w.Header().Set("X-Early", "1") }, true},
		"after an early hint":       {func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) }, true},
		"after the status":          {func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }, true},
		"after a part of the body":  {func(w http.ResponseWriter) { _, _ = w.Write([]byte("half")) }, true},
		"after a flush of the body": {func(w http.ResponseWriter) { _, _ = w.Write([]byte("half")); w.(http.Flusher).Flush() }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHouse(t, 1, &hooks{receive: func(_ *room, w http.ResponseWriter, _ *http.Request) {
					test.before(w)
					panic("secret")
				}})
				answer, err := h.srv.Client().Get(dogtest.URL)
				if test.whole {
					require.NoError(t, err)
					require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
					_ = answer.Body.Close()
					_, body := ask(t, h.srv, "GET", "/", nil)
					require.Equal(t, "Internal Server Error\n", body)
				} else if err == nil {
					_, err = answer.Body.Read(make([]byte, 100))
					for err == nil {
						_, err = answer.Body.Read(make([]byte, 100))
					}
					require.ErrorContains(t, err, "unexpected EOF")
				}
				requireEmpty(t, h.rt)
			})
		})
	}
}

func TestAPanicAfterConnectClosesTheSocketOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		closes := 0
		h := newHouse(t, 1, &hooks{
			receive: func(r *room, w http.ResponseWriter, req *http.Request) {
				r.Connect(w, req, nil)
				panic("secret")
			},
			close: func(_ context.Context, _ *room, _ *dog.Socket, code int, _ string) error {
				closes++
				require.Equal(t, 1011, code)
				return nil
			},
		})
		code, reason := h.join("ada").Closed()
		require.Equal(t, 1011, code)
		require.Empty(t, reason)
		requireEmpty(t, h.rt)
		require.Equal(t, 1, closes)
	})
}

func TestGossipThatHasNoJSONFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{
			gossip: func(_ context.Context, _ *room, m dog.Message) (any, error) {
				if m.String() == `"bad"` {
					return make(chan int), nil
				}
				return "fine", nil
			},
		})
		h.enter("ada")
		h.enter("bob")
		_, err := h.group.Gossip(t.Context(), func() {})
		require.ErrorContains(t, err, "encode gossip")
		replies, err := h.group.Gossip(t.Context(), "bad")
		require.NoError(t, err)
		require.Len(t, replies, 2)
		for _, r := range replies {
			require.ErrorContains(t, r.Err, "encode answer")
			require.Equal(t, r.Err, r.Decode(new(string)))
			require.Nil(t, r.Data)
		}
		replies, err = h.group.Gossip(t.Context(), "good")
		require.NoError(t, err)
		var answer string
		require.NoError(t, replies[0].Decode(&answer))
		require.Equal(t, "fine", answer)
		require.Error(t, replies[0].Decode(new(int)), "an answer of another type")
	})
}

func TestConnectNeedsTheRequestThatReceiveGot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var kept *http.Request
		h := newHouse(t, 3, &hooks{receive: func(r *room, w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/other" {
				s, err := r.Connect(w, kept, nil)
				require.Nil(t, s)
				require.ErrorContains(t, err, "Connect")
				return
			}
			kept = req
			_, _ = w.Write([]byte("kept"))
		}})
		h.srv.Get("/")
		status, _ := h.srv.Get("/other")
		require.Equal(t, http.StatusInternalServerError, status, "a request that has been answered")
		kept = httptest.NewRequest("GET", "/", nil)
		status, _ = h.srv.Get("/other")
		require.Equal(t, http.StatusInternalServerError, status, "a request from elsewhere")
		requireEmpty(t, h.rt)
	})
}

func TestConnectRefusesTheRequestOfAnotherReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		requests := make(chan *http.Request, 1)
		h := newHouse(t, 1, &hooks{receive: func(r *room, w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/lend" {
				requests <- req
				_ = dog.Await(req.Context(), func() error { time.Sleep(time.Minute); return nil })
				return
			}
			s, err := r.Connect(w, <-requests, nil)
			require.Nil(t, s)
			require.ErrorContains(t, err, "the request is not the one that Receive got")
		}})
		lent := background(h.srv, "/lend?u=ada")
		synctest.Wait()
		_, answer, err := h.srv.TryDial("/borrow?u=bob", dogtest.DialOptions{})
		require.Error(t, err)
		require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
		require.Equal(t, http.StatusOK, <-lent)
		requireEmpty(t, h.rt)
	})
}

func TestTheSocketOfARefusedUpgradeIsHarmless(t *testing.T) {
	bubble(t, func(t *testing.T) {
		starts := 0
		h := newHouse(t, 3, &hooks{
			start: func(context.Context, *room) error { starts++; return nil },
			receive: func(r *room, w http.ResponseWriter, req *http.Request) {
				s, err := r.Connect(w, req, nil)
				require.Equal(t, http.StatusUpgradeRequired, dog.HTTPStatus(err))
				requireUsage(t, s.Send("welcome"), "not made by a runtime")
			},
		})
		for range 2 {
			status, _ := h.srv.Get("/ws")
			require.Equal(t, http.StatusUpgradeRequired, status)
		}
		require.Equal(t, 1, starts, "no reset")
	})
}

func TestAStubOutlivesItsRuntimeInGoodOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{})
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		require.NoError(t, h.rt.Shutdown(t.Context()))
		for _, handler := range []http.Handler{stub, h.group} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			require.Equal(t, "2", w.Header().Get("Retry-After"))
		}
		_, err = h.identify(t.Context(), "ada")
		require.ErrorIs(t, err, dog.ErrShutdown)
		stub.Release()
		require.NotZero(t, stub.ID())
		synctest.Wait()
	})
}
