package dog_test

import (
	"context"
	"errors"
	"fmt"
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
			overReceivers(t, func(t *testing.T, kind string) {
				v := newVenue(t, kind, dog.Options{}, &owners{
					receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
						s, err := o.Connect(w, req, &dog.SocketOptions{Tags: test.tags})
						require.Equal(t, test.status == 101, s != nil)
						if test.status != 101 {
							requireUsage(t, err, "tags")
						}
						return nil
					},
				})
				c, answer, _ := v.srv.TryDial("/?u=ada", dogtest.DialOptions{})
				require.Equal(t, test.status, answer.StatusCode)
				if c != nil {
					c.Close(1000, "")
				}
				requireEmpty(t, v.rt)
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
	overOwners(t, func(t *testing.T, kind string) {
		type seat struct{ Row, Number int }
		v := newVenue(t, kind, dog.Options{}, &owners{
			open: func(_ context.Context, _ owner, s *dog.Socket) error {
				got := seat{7, 7}
				require.NoError(t, s.Attachment(&got))
				require.Equal(t, seat{7, 7}, got, "there is none yet")
				return s.SetAttachment(seat{1, len(s.UID())})
			},
			message: func(_ context.Context, _ owner, s *dog.Socket, _ dog.Message) error {
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
		ada, bobby := v.enter("ada"), v.enter("bobby")
		ada.Send("?")
		bobby.Send("?")
		require.Equal(t, []string{`{"Row":2,"Number":3}`}, texts(ada))
		require.Equal(t, []string{`{"Row":2,"Number":5}`}, texts(bobby))
	})
}

func TestAnAutoResponseDoesNotWakeTheOwner(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		var socket *dog.Socket
		var got []string
		options := dog.Options{Sockets: dog.SocketOptions{AutoRequest: "ping", AutoReply: "pong"}}
		v := newVenue(t, kind, options, &owners{
			open: func(_ context.Context, _ owner, s *dog.Socket) error { socket = s; return nil },
			message: func(_ context.Context, _ owner, _ *dog.Socket, m dog.Message) error {
				got = append(got, m.String())
				return nil
			},
		})
		c := v.enter("ada")
		require.Zero(t, socket.AutoReplied())
		events := v.rt.Stats().Turns.Events
		elapse(time.Second)
		c.Send("ping")
		require.Equal(t, []string{"pong"}, texts(c))
		require.True(t, time.Now().Equal(socket.AutoReplied()))
		require.Equal(t, events, v.rt.Stats().Turns.Events)

		c.Send("Ping")
		c.Send([]byte("ping"))
		c.Send("ping ")
		require.Empty(t, texts(c))
		require.Equal(t, []string{"Ping", "ping", "ping "}, got, "only the same text is a request")
	})
}

func TestAnApplicationCannotCloseWithWhatTheProtocolForbids(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		v := newVenue(t, kind, dog.Options{}, &owners{
			message: func(_ context.Context, _ owner, s *dog.Socket, _ dog.Message) error {
				for _, code := range []int{-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536 + 1000} {
					requireUsage(t, s.Close(code, ""), "close code", code)
				}
				requireUsage(t, s.Close(1000, strings.Repeat("x", 124)), "close reason")
				requireUsage(t, s.Close(1000, "\xff"), "close reason")
				return s.Send("still open")
			},
		})
		c := v.enter("ada")
		c.Send("go")
		require.Equal(t, []string{"still open"}, texts(c))
	})
}

func TestAnApplicationClosesWithWhatTheProtocolAllows(t *testing.T) {
	for _, code := range []int{1000, 1001, 1003, 1007, 1013, 3000, 4999} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				reason := strings.Repeat("x", 123)
				v := newVenue(t, kind, dog.Options{}, &owners{
					message: func(_ context.Context, _ owner, s *dog.Socket, _ dog.Message) error {
						require.NoError(t, s.Close(code, reason))
						require.NoError(t, s.Close(4000, "again"), "does nothing")
						require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
						return nil
					},
				})
				c := v.srv.Dial("/?u=ada")
				c.Send("go")
				got, why := c.Closed()
				require.Equal(t, code, got)
				require.Equal(t, reason, why)
				requireEmpty(t, v.rt)
			})
		})
	}
}

func TestASocketClosedInOnOpenHandlesNoMessage(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		var happened []string
		v := newVenue(t, kind, dog.Options{}, &owners{
			open: func(_ context.Context, _ owner, s *dog.Socket) error {
				happened = append(happened, "open")
				return errors.Join(s.Send("sorry"), s.Close(4001, "not today"))
			},
			message: func(context.Context, owner, *dog.Socket, dog.Message) error {
				happened = append(happened, "message")
				return nil
			},
			close: func(_ context.Context, _ owner, s *dog.Socket, code int, reason string) error {
				require.Equal(t, 4001, code)
				require.Equal(t, "not today", reason)
				require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
				happened = append(happened, "close")
				return nil
			},
		})
		c := v.srv.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true})
		c.SendRaw(frame(1, "hello?"))
		require.Equal(t, "sorry", c.Receive().String())
		code, reason := c.Closed()
		require.Equal(t, 4001, code)
		require.Equal(t, "not today", reason)
		requireEmpty(t, v.rt)
		require.Equal(t, []string{"open", "close"}, happened)
	})
}

func TestAnErrorOfAHandlerIsLoggedAndChangesNothing(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		options, log := logged()
		v := newVenue(t, kind, options, &owners{
			message: func(_ context.Context, _ owner, s *dog.Socket, _ dog.Message) error {
				return errors.Join(s.Send("got it"), errors.New("message failed"))
			},
			close: func(context.Context, owner, *dog.Socket, int, string) error { return errors.New("close failed") },
		})
		c := v.srv.Dial("/?u=ada")
		c.Send("1")
		c.Send("2")
		require.Equal(t, []string{"got it", "got it"}, texts(c))
		c.Close(1000, "")
		requireEmpty(t, v.rt)
		require.Equal(t, 2, strings.Count(log.String(), "message failed"))
		require.Equal(t, 1, strings.Count(log.String(), "close failed"))
		require.Contains(t, log.String(), "event=OnMessage")
		require.Contains(t, log.String(), "namespace=owners")
	})
}

func TestGossipThatHasNoJSONFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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

func TestAStubOutlivesItsRuntimeInGoodOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
