package socket_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSocket_ObjectHasAtMostMaxSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := fixture.LogToBuffer()
		rt := dogtest.New(t, options)
		leave := make(chan struct{})
		on := &fixture.OwnerHooks{
			Close: func(ctx context.Context, _ fixture.Owner, _ *dog.Socket, code int, _ string) error {
				return dog.Await(ctx, func() error { <-leave; return nil })
			},
		}
		objects, err := dog.RegisterObject(rt, "object", &dog.ObjectOptions[fixture.SocketObject]{
			New: func() *fixture.SocketObject { return &fixture.SocketObject{On: on} }, MaxSockets: 2,
		})
		require.NoError(t, err)
		srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			objects.Named(req.URL.Path[1:]).ServeHTTP(w, req)
		}))
		ada := srv.Dial("/full")
		srv.Dial("/full")
		for range 3 {
			require.Equal(t, 503, statusOf(t, srv, "GET", "/full", handshakeHeader()))
		}
		require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
		require.Contains(t, log.String(), "MaxSockets")
		srv.Dial("/other") // which has places of its own

		ada.Close(1000, "")
		require.Equal(t, 503, statusOf(t, srv, "GET", "/full", handshakeHeader()), "OnClose has not returned")
		close(leave)
		synctest.Wait()
		eve := srv.Dial("/full")
		require.Equal(t, 503, statusOf(t, srv, "GET", "/full", handshakeHeader()))

		// A refused handshake takes no place, and a reset gives all back.
		eve.Close(1000, "")
		synctest.Wait()
		for range 5 {
			require.Equal(t, 426, statusOf(t, srv, "GET", "/full", nil))
			require.Equal(t, 403, statusOf(t, srv, "GET", "/full", handshakeHeader("Origin", "https://evil.test")))
		}
		srv.Dial("/full")
		require.NoError(t, objects.Named("full").Abort(nil))
		synctest.Wait()
		srv.Dial("/full")
		srv.Dial("/full")
		require.Equal(t, 503, statusOf(t, srv, "GET", "/full", handshakeHeader()))
	})
}

func TestSocket_MaxSocketsHoldsForConcurrentConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, _ := fixture.LogToBuffer()
		rt := dogtest.New(t, options)
		objects, err := dog.RegisterObject(rt, "object", &dog.ObjectOptions[fixture.ReceivingObject]{
			New: func() *fixture.ReceivingObject {
				return &fixture.ReceivingObject{
					SocketObject: fixture.SocketObject{
						On: &fixture.OwnerHooks{
							Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
								_, err := o.Connect(w, req, nil)
								if err != nil {
									require.ErrorIs(t, err, dog.ErrSocketsFull)
									require.Equal(t, 503, dog.HTTPStatus(err))
								}
								return err
							},
						},
					},
				}
			},
			MaxSockets: 10,
		})
		require.NoError(t, err)
		srv := dogtest.Serve(t, objects.Named("a"))
		var connected, refused int
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				_, answer, err := srv.TryDial("/", dogtest.DialOptions{})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					connected++
				} else if answer.StatusCode == 503 {
					refused++
				}
			})
		}
		all.Wait()
		require.Equal(t, []int{10, 40}, []int{connected, refused})
		require.Equal(t, 10, rt.Stats().Sockets)
	})
}
