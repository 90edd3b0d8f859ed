package faults_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestFault22_BinaryMessagesStayBinary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []dog.Message
		h := fixture.NewRooms(
			t, 1,
			&fixture.Hooks{Message: func(ctx context.Context, _ *fixture.Room, s *dog.Socket, m dog.Message) error {
				got = append(got, m)
				return errors.Join(s.Send(m.Data), s.Broadcast(m))
			}},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
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

func TestFault23_CloseCodeAndReasonArePassedOnAndEchoed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type end struct {
			code   int
			reason string
		}
		ends := make(chan end, 1)
		h := fixture.NewRooms(t, 2, &fixture.Hooks{
			Message: func(_ context.Context, _ *fixture.Room, s *dog.Socket, m dog.Message) error {
				return s.Close(4002, m.String())
			},
			Close: func(_ context.Context, _ *fixture.Room, _ *dog.Socket, code int, reason string) error {
				ends <- end{code, reason}
				return nil
			},
		})
		ada := h.Enter("ada")
		ada.Close(4001, "gone fishing")
		require.Equal(t, end{4001, "gone fishing"}, <-ends)
		code, reason := ada.Closed()
		require.Equal(t, end{4001, "gone fishing"}, end{code, reason}, "the echo")

		bob := h.Enter("bob")
		bob.Send("closing time")
		code, reason = bob.Closed()
		require.Equal(t, end{4002, "closing time"}, end{code, reason})
		require.Equal(t, end{4002, "closing time"}, <-ends)
	})
}

func TestFault24_AUIDIsAValueNotAHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{
				Open: func(_ context.Context, _ *fixture.Room, s *dog.Socket) error {
					return s.Send("[" + s.UID() + "]")
				},
			},
		)
		for _, bad := range []string{"", "a\nb", "a\x00b", "\x7f", "\u0085", "\xff", strings.Repeat("x", 1025)} {
			_, err := h.Identify(t.Context(), bad)
			require.ErrorIs(t, err, dog.ErrInvalidName, "%q", bad)
			status, body := h.Server.Get("/?u=" + url.QueryEscape(bad))
			require.Equal(t, http.StatusBadRequest, status, "%q", bad)
			require.Equal(t, "Bad Request\n", body)
		}
		require.Empty(t, h.Loads())
		for _, good := range []string{" ada ", "null", "\u00e4\u4e16\U0001f600", strings.Repeat("x", 1024)} {
			require.Equal(t, []string{"[" + good + "]"}, fixture.Texts(h.Join(url.QueryEscape(good))))
		}
	})
}

func TestFault26_SocketsAreSafeByDefault(t *testing.T) {
	dialWith := func(h *fixture.Rooms, header http.Header) (*dogtest.Client, *http.Response, error) {
		return h.Server.TryDial("/ws", dogtest.DialOptions{Header: header, OnDemand: true})
	}
	// rooms returns rooms with a socket that never reads, and how that ends.
	rooms := func(t *testing.T) (h *fixture.Rooms, ended chan int) {
		ended = make(chan int, 1)
		h = fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Close: func(_ context.Context, _ *fixture.Room, _ *dog.Socket, code int, _ string) error {
				ended <- code
				return nil
			}},
		)
		_, _, err := dialWith(h, nil)
		require.NoError(t, err)
		synctest.Wait()
		return h, ended
	}
	tests := map[string]func(t *testing.T){
		"subprotocol": func(t *testing.T) {
			h := fixture.NewRooms(
				t, 2,
				&fixture.Hooks{Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
					r.Connect(w, req, &dog.SocketOptions{Subprotocols: []string{"chat.v2", "chat.v1"}})
				}},
			)
			c := h.Server.DialWith("/", dogtest.DialOptions{Subprotocols: []string{"chat.v1"}})
			require.Equal(t, "chat.v1", c.Subprotocol())
		},
		"heartbeat": func(t *testing.T) {
			h, ended := rooms(t)
			began := time.Now()
			require.Equal(t, 1006, <-ended)
			require.LessOrEqual(
				t, time.Since(began), 75*time.Second,
				"three intervals of 25 s: until it is found silent, pinged, judged",
			)
			synctest.Wait()
			require.Equal(t, []int{0}, h.Loads())
		},
		"back pressure": func(t *testing.T) {
			h, ended := rooms(t)
			for range 300 {
				require.NoError(t, h.Group.Broadcast(t.Context(), strings.Repeat("x", 1024)))
			}
			require.Equal(t, 1008, <-ended)
			synctest.Wait()
			require.Equal(t, []int{0}, h.Loads())
		},
		"size limit": func(t *testing.T) {
			h := fixture.NewRooms(
				t, 2,
				&fixture.Hooks{
					Message: func(_ context.Context, _ *fixture.Room, s *dog.Socket, _ dog.Message) error {
						return s.Send("got it")
					},
				},
			)
			c := h.Enter("ada")
			c.Send(make([]byte, 64<<10))
			require.Equal(t, "got it", c.Receive().String())
			c.Send(make([]byte, 64<<10+1))
			code, _ := c.Closed()
			require.Equal(t, 1009, code)
		},
		"origin": func(t *testing.T) {
			h := fixture.NewRooms(t, 2, &fixture.Hooks{})
			_, answer, err := dialWith(h, http.Header{"Origin": {"https://evil.example"}})
			require.Error(t, err)
			require.Equal(t, http.StatusForbidden, answer.StatusCode)
			synctest.Wait()
			require.Equal(t, []int{0}, h.Loads())
			_, _, err = dialWith(h, http.Header{"Origin": {dogtest.URL}})
			require.NoError(t, err)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}
