package http_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// streamer streams its response, and calls the object that asked for it in the
// middle.
type streamer struct {
	dog.Object
	all  **dog.Namespace[streamer]
	call chan struct{} // closed when the call may begin
	err  chan<- error  // of the call
}

func (s *streamer) Hello(context.Context) error { return nil }

func (s *streamer) Receive(w http.ResponseWriter, r *http.Request) error {
	_, _ = io.WriteString(w, "first ")
	_ = http.NewResponseController(w).Flush()
	_ = dog.Await(r.Context(), func() error { <-s.call; return nil })
	err := dog.CallErr0(r.Context(), (*s.all).Named(r.URL.Query().Get("from")), (*streamer).Hello)
	s.err <- err
	_, _ = io.WriteString(w, "last")
	return nil
}

// Ask reads a response by read.
func (s *streamer) Ask(ctx context.Context, read read) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://b/?from="+s.Name(), nil)
	if err != nil {
		return "", err
	}
	response, err := (&http.Client{Transport: (*s.all).Named("b")}).Do(r)
	if err != nil {
		return "", err
	}
	text, err := read(ctx, response.Body)
	return string(text), errors.Join(err, response.Body.Close())
}

// read reads a body.
type read = func(ctx context.Context, body io.Reader) ([]byte, error)

// A handler that reads a response in its turn waits for the object that sends
// it, as a call does.
func TestRoundTrip_DeadlockWhileReadingAResponseIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		read func(call chan struct{}) read
		err  error
	}{
		"the reader waits first": {func(call chan struct{}) read {
			return func(_ context.Context, body io.Reader) ([]byte, error) {
				time.AfterFunc(time.Minute, func() { close(call) })
				return io.ReadAll(body)
			}
		}, dog.ErrDeadlock},
		"the call waits first": {func(call chan struct{}) read {
			return func(_ context.Context, body io.Reader) ([]byte, error) {
				close(call)
				synctest.Wait()
				return io.ReadAll(body)
			}
		}, dog.ErrDeadlock},
		"in Await": {func(call chan struct{}) read {
			return func(ctx context.Context, body io.Reader) (text []byte, err error) {
				return text, dog.Await(ctx, func() error {
					close(call)
					text, err = io.ReadAll(body)
					return err
				})
			}
		}, nil},
		"another goroutine, for which the handler waits in Await": {func(call chan struct{}) read {
			return func(ctx context.Context, body io.Reader) (text []byte, err error) {
				done := make(chan error)
				go func() {
					var err error
					text, err = io.ReadAll(body)
					done <- err
				}()
				synctest.Wait() // it waits for more, while the handler has its turn
				close(call)
				synctest.Wait()
				return text, dog.Await(ctx, func() error { return <-done })
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				called := make(chan error, 1)
				call := make(chan struct{})
				var all *dog.Namespace[streamer]
				all, err := dog.RegisterObject(dogtest.New(t, dog.Options{}), "streamer", &dog.ObjectOptions[streamer]{
					New: func() *streamer { return &streamer{all: &all, call: call, err: called} },
				})
				require.NoError(t, err)
				began := time.Now()
				text, err := dog.Call(t.Context(), all.Named("a"), (*streamer).Ask, c.read(call))
				require.NoError(t, err)
				require.Equal(t, "first last", text)
				require.ErrorIs(t, <-called, c.err)
				require.LessOrEqual(t, time.Since(began), time.Minute)
			})
		})
	}
}
