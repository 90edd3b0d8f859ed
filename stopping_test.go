package dog_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

func TestLoopsAndStreamsEndWhenShutdownBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 5, &hooks{
			open: func(ctx context.Context, r *room, _ *dog.Socket) error {
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
			receive: func(r *room, w http.ResponseWriter, req *http.Request) {
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
		ada := h.enter("ada")
		body := make(chan string)
		go func() {
			_, text := h.srv.Get("/stream")
			body <- text
		}()
		time.Sleep(3500 * time.Millisecond)
		require.Len(t, texts(ada), 3)
		select {
		case <-h.rt.Stopping():
			require.Fail(t, "it has not begun")
		default:
		}
		start := time.Now()
		shutdown(t, h.rt)
		require.Equal(t, start, time.Now(), "nobody used up the patience")
		<-h.rt.Stopping()
		require.Equal(t, "data: 1\n\ndata: bye\n\n", <-body)
		code, _ := ada.Closed()
		require.Equal(t, 1001, code)
	})
}

func TestStoppingIsKnownInEveryHandlerAndNowhereElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.Nil(t, dog.Stopping(t.Context()))
		require.Nil(t, (*dog.Runtime)(nil).Stopping())
		require.Nil(t, new(dog.Runtime).Stopping())
		rt := dogtest.New(t, dog.Options{})
		cells, err := dog.RegisterObject[cell](rt, "cell", nil)
		require.NoError(t, err)
		begun := make(chan struct{})
		ended := make(chan error)
		go func() {
			ended <- inside(cells.Named("a"), func(ctx context.Context, _ *cell) error {
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
func TestClientGoneIsGivenBackWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone <-chan struct{}
		h := newHouse(t, 5, &hooks{receive: func(_ *room, _ http.ResponseWriter, req *http.Request) {
			gone = dog.ClientGone(req.Context())
			require.Equal(t, gone, dog.ClientGone(req.Context()))
		}})
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		resp, err := stub.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		<-gone
	})
}
