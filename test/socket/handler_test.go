package socket_test

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
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSocket_TagsOverTheirLimitsAreRefused(t *testing.T) {
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
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						s, err := o.Connect(w, req, &dog.SocketOptions{Tags: test.tags})
						require.Equal(t, test.status == 101, s != nil)
						if test.status != 101 {
							fixture.RequireUsage(t, err, "tags")
						}
						return nil
					},
				})
				c, answer, _ := v.Server.TryDial("/?u=ada", dogtest.DialOptions{})
				require.Equal(t, test.status, answer.StatusCode)
				if c != nil {
					c.Close(1000, "")
				}
				fixture.RequireEmpty(t, v.Runtime)
			})
		})
	}
}

func TestSocket_InvalidOptionsFailNew(t *testing.T) {
	_, err := dog.New(dog.Options{Sockets: dog.SocketOptions{Tags: []string{strings.Repeat("x", 257)}}})
	fixture.RequireUsage(t, err, "tags")
	_, err = dog.New(dog.Options{Sockets: dog.SocketOptions{AutoRequest: strings.Repeat("x", 2049), AutoReply: "pong"}})
	require.Error(t, err)
	_, err = dog.New(dog.Options{Sockets: dog.SocketOptions{AutoRequest: "ping", AutoReply: strings.Repeat("x", 2049)}})
	require.Error(t, err)
}

func TestSocket_AttachmentStaysWithItsSocket(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		type seat struct{ Row, Number int }
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
				got := seat{7, 7}
				require.NoError(t, s.Attachment(&got))
				require.Equal(t, seat{7, 7}, got, "there is none yet")
				return s.SetAttachment(seat{1, len(s.UID())})
			},
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
				require.NoError(t, s.SetAttachment(strings.Repeat("x", 16382)), "16,384 with the quotes")
				require.NoError(t, s.SetAttachment(seat{2, len(s.UID())}))
				fixture.RequireUsage(t, s.SetAttachment(strings.Repeat("x", 16383)), "more than 16,384")
				require.Error(t, s.SetAttachment(make(chan int)))
				require.ErrorContains(t, s.SetAttachment("\xff"), "UTF-8")
				var got seat
				require.Error(t, s.Attachment(got), "not a pointer")
				require.NoError(t, s.Attachment(&got))
				return s.Send(got)
			},
		})
		ada, bobby := v.Enter("ada"), v.Enter("bobby")
		ada.Send("?")
		bobby.Send("?")
		require.Equal(t, []string{`{"Row":2,"Number":3}`}, fixture.Texts(ada))
		require.Equal(t, []string{`{"Row":2,"Number":5}`}, fixture.Texts(bobby))
	})
}

func TestSocket_AutoResponseDoesNotWakeTheOwner(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var socket *dog.Socket
		var got []string
		options := dog.Options{Sockets: dog.SocketOptions{AutoRequest: "ping", AutoReply: "pong"}}
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error { socket = s; return nil },
			Message: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, m dog.Message) error {
				got = append(got, m.String())
				return nil
			},
		})
		c := v.Enter("ada")
		require.Zero(t, socket.AutoReplied())
		events := v.Runtime.Stats().Turns.Events
		fixture.Elapse(time.Second)
		c.Send("ping")
		require.Equal(t, []string{"pong"}, fixture.Texts(c))
		require.True(t, time.Now().Equal(socket.AutoReplied()))
		require.Equal(t, events, v.Runtime.Stats().Turns.Events)

		c.Send("Ping")
		c.Send([]byte("ping"))
		c.Send("ping ")
		require.Empty(t, fixture.Texts(c))
		require.Equal(t, []string{"Ping", "ping", "ping "}, got, "only the same text is a request")
	})
}

func TestSocket_CloseRefusesInvalidCodes(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
				for _, code := range []int{-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536 + 1000} {
					fixture.RequireUsage(t, s.Close(code, ""), "close code", code)
				}
				fixture.RequireUsage(t, s.Close(1000, strings.Repeat("x", 124)), "close reason")
				fixture.RequireUsage(t, s.Close(1000, "\xff"), "close reason")
				return s.Send("still open")
			},
		})
		c := v.Enter("ada")
		c.Send("go")
		require.Equal(t, []string{"still open"}, fixture.Texts(c))
	})
}

func TestSocket_CloseAcceptsValidCodes(t *testing.T) {
	for _, code := range []int{1000, 1001, 1003, 1007, 1013, 3000, 4999} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				reason := strings.Repeat("x", 123)
				v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
					Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
						require.NoError(t, s.Close(code, reason))
						require.NoError(t, s.Close(4000, "again"), "does nothing")
						require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
						return nil
					},
				})
				c := v.Server.Dial("/?u=ada")
				c.Send("go")
				got, why := c.Closed()
				require.Equal(t, code, got)
				require.Equal(t, reason, why)
				fixture.RequireEmpty(t, v.Runtime)
			})
		})
	}
}

func TestSocket_ClosedInOnOpenGetsNoMessage(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var happened []string
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
				happened = append(happened, "open")
				return errors.Join(s.Send("sorry"), s.Close(4001, "not today"))
			},
			Message: func(context.Context, fixture.Owner, *dog.Socket, dog.Message) error {
				happened = append(happened, "message")
				return nil
			},
			Close: func(_ context.Context, _ fixture.Owner, s *dog.Socket, code int, reason string) error {
				require.Equal(t, 4001, code)
				require.Equal(t, "not today", reason)
				require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
				happened = append(happened, "close")
				return nil
			},
		})
		c := v.Server.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true})
		c.SendRaw(fixture.Frame(1, "hello?"))
		require.Equal(t, "sorry", c.Receive().String())
		code, reason := c.Closed()
		require.Equal(t, 4001, code)
		require.Equal(t, "not today", reason)
		fixture.RequireEmpty(t, v.Runtime)
		require.Equal(t, []string{"open", "close"}, happened)
	})
}

func TestSocket_HandlerErrorIsLoggedAndClosesNothing(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		options, log := fixture.LogToBuffer()
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
				return errors.Join(s.Send("got it"), errors.New("message failed"))
			},
			Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error {
				return errors.New("close failed")
			},
		})
		c := v.Server.Dial("/?u=ada")
		c.Send("1")
		c.Send("2")
		require.Equal(t, []string{"got it", "got it"}, fixture.Texts(c))
		c.Close(1000, "")
		fixture.RequireEmpty(t, v.Runtime)
		require.Equal(t, 2, strings.Count(log.String(), "message failed"))
		require.Equal(t, 1, strings.Count(log.String(), "close failed"))
		require.Contains(t, log.String(), "event=OnMessage")
		require.Contains(t, log.String(), "namespace=owners")
	})
}

func TestSocket_GossipWithoutJSONFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Gossip: func(_ context.Context, _ *fixture.Room, m dog.Message) (any, error) {
				if m.String() == `"bad"` {
					return make(chan int), nil
				}
				return "fine", nil
			},
		})
		h.Enter("ada")
		h.Enter("bob")
		_, err := h.Group.Gossip(t.Context(), func() {})
		require.ErrorContains(t, err, "encode gossip")
		replies, err := h.Group.Gossip(t.Context(), "bad")
		require.NoError(t, err)
		require.Len(t, replies, 2)
		for _, r := range replies {
			require.ErrorContains(t, r.Err, "encode reply")
			require.Equal(t, r.Err, r.Decode(new(string)))
			require.Nil(t, r.Data)
		}
		replies, err = h.Group.Gossip(t.Context(), "good")
		require.NoError(t, err)
		var answer string
		require.NoError(t, replies[0].Decode(&answer))
		require.Equal(t, "fine", answer)
		require.Error(t, replies[0].Decode(new(int)), "an answer of another type")
	})
}

func TestSocket_StubFailsCleanlyAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		objects, err := dog.RegisterObject[fixture.Object](h.Runtime, "object", nil)
		require.NoError(t, err)
		object := objects.Named("a").WithUID("ada")
		require.NoError(t, dog.CallErr0(t.Context(), object, (*fixture.Object).Nothing))
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		require.NoError(t, h.Runtime.Shutdown(t.Context()))
		for _, handler := range []http.Handler{stub, h.Group, object, objects.Named("b")} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			require.Equal(t, "2", w.Header().Get("Retry-After"))
		}
		_, err = h.Identify(t.Context(), "ada")
		require.ErrorIs(t, err, dog.ErrShutdown)
		require.ErrorIs(t, dog.CallErr0(t.Context(), object, (*fixture.Object).Nothing), dog.ErrShutdown)
		stub.Release()
		require.NotZero(t, stub.ID())
		synctest.Wait()
	})
}
