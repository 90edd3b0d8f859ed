package life_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestStopping_LoopsAndStreamsEndWhenShutdownBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 5, &fixture.Hooks{
			Open: func(ctx context.Context, r *fixture.Room, _ *dog.Socket) error {
				return dog.Go(ctx, func(ctx context.Context) error {
					tick := time.NewTicker(time.Second)
					defer tick.Stop()
					for n := 0; ; n++ {
						stopping := false
						err := dog.Await(ctx, func() error {
							select {
							case <-tick.C:
							case <-dog.Stopping(ctx):
								stopping = true
							}
							return nil
						})
						if err != nil || stopping {
							return err
						}
						if err := r.Emit(n); err != nil {
							return err
						}
					}
				})
			},
			Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/ws" {
					r.Connect(w, req, nil)
					return
				}
				_, _ = w.Write([]byte("data: 1\n\n"))
				_ = http.NewResponseController(w).Flush()
				ctx := req.Context()
				_ = dog.Await(ctx, func() error { <-dog.ClientGone(ctx); return nil })
				_, _ = w.Write([]byte("data: bye\n\n"))
			},
		})
		ada := h.Enter("ada")
		body := make(chan string)
		go func() {
			_, text := h.Server.Get("/stream")
			body <- text
		}()
		time.Sleep(3500 * time.Millisecond)
		require.Len(t, fixture.Texts(ada), 3)
		select {
		case <-h.Runtime.Stopping():
			require.Fail(t, "it has not begun")
		default:
		}
		start := time.Now()
		shutdown(t, h.Runtime)
		require.Equal(t, start, time.Now(), "nobody used up the patience")
		<-h.Runtime.Stopping()
		require.Equal(t, "data: 1\n\ndata: bye\n\n", <-body)
		code, _ := ada.Closed()
		require.Equal(t, 1001, code)
	})
}

func TestStopping_IsAvailableInHandlersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.Nil(t, dog.Stopping(t.Context()))
		require.Nil(t, (*dog.Runtime)(nil).Stopping())
		require.Nil(t, new(dog.Runtime).Stopping())
		rt := dogtest.New(t, dog.Options{})
		cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
		require.NoError(t, err)
		begun := make(chan struct{})
		ended := make(chan error)
		go func() {
			ended <- fixture.InTurn(cells.Named("a"), func(ctx context.Context, _ *fixture.Object) error {
				close(begun)
				derived, cancel := context.WithTimeout(ctx, time.Hour)
				defer cancel()
				require.Equal(t, rt.Stopping(), dog.Stopping(derived))
				return dog.Await(ctx, func() error { <-dog.Stopping(derived); return ctx.Err() })
			})
		}()
		<-begun
		synctest.Wait()
		require.NoError(t, rt.Shutdown(context.Background()))
		require.NoError(t, <-ended, "its context goes on while Shutdown is patient")
	})
}

// A request that asked for ClientGone leaves nothing behind in its client's
// context, which may be that of a whole program, nor in the runtime.
func TestStopping_ClientGoneIsReleasedWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone <-chan struct{}
		h := fixture.NewRooms(
			t, 5,
			&fixture.Hooks{Receive: func(_ *fixture.Room, _ http.ResponseWriter, req *http.Request) {
				gone = dog.ClientGone(req.Context())
				require.Equal(t, gone, dog.ClientGone(req.Context()))
			}},
		)
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		resp, err := stub.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		<-gone
	})
}
