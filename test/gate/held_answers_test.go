package gate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

const maxHeld = 16 << 20 // as documented

// get returns the status and the length of the body of a request to the
// speaker, and an error if the response is broken off.
func (s *stage) get() (status, length int, err error) {
	answer, err := s.srv.Client().Get(dogtest.URL + "/ask")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, len(body), err
}

// write writes n pieces of a response, and flushes each if flushes is set. It
// returns how many were accepted, and the first error.
func write(w http.ResponseWriter, n, size int, flushes bool) (accepted int, err error) {
	piece := strings.Repeat("x", size)
	for range n {
		_, failed := io.WriteString(w, piece)
		if flushes {
			failed = errors.Join(failed, http.NewResponseController(w).Flush())
		}
		if failed == nil {
			accepted++
		} else if err == nil {
			err = failed
		}
	}
	return accepted, err
}

func TestGate_HeldResponsesAreBoundedAndShownInStats(t *testing.T) {
	const size = 32 << 10
	tests := map[string]struct {
		began, flushes, prompt bool // something has been sent before; each piece is flushed; the disk is fast
	}{
		"slow disk":              {},
		"slow disk, flushed":     {flushes: true},
		"response has begun":     {began: true},
		"a transaction too long": {prompt: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, false)
				if tt.prompt {
					s.engine.Prompt()
				}
				s.receive = func(o actor, w http.ResponseWriter, _ *http.Request) error {
					if tt.began {
						_, err := write(w, 1, 1, true)
						require.NoError(t, err)
						// Others before it have not written.
						s.engine.Flush()
					}
					require.NoError(t, o.Storage().Put("key", nil))
					accepted, err := write(w, 1000, size, tt.flushes)
					require.ErrorIs(t, err, dog.ErrHeldBack)
					require.Positive(t, accepted)
					require.LessOrEqual(t, accepted*size, maxHeld)
					return nil // as a handler that ignores the errors
				}
				var asking sync.WaitGroup
				asking.Go(func() {
					status, length, err := s.get()
					if tt.began {
						require.Error(t, err, "the response must not look complete")
						return
					}
					require.NoError(t, err)
					require.Equal(t, http.StatusInternalServerError, status)
					require.Less(t, length, size)
				})
				synctest.Wait()
				require.Zero(t, s.rt.Stats().HeldBytes, "what is not sent is not kept")
				s.engine.Prompt()
				asking.Wait()
				require.Zero(t, s.rt.Stats().HeldBytes)
			})
		})
	}
}

func TestGate_HeldResponsesAreShownInStats(t *testing.T) {
	const requests, size = 4, 1 << 20
	ends := map[string]struct {
		end      func(s *stage)
		complete bool
	}{
		"durable": {func(s *stage) { s.engine.Prompt() }, true},
		"lost":    {func(s *stage) { s.engine.Fail(errNoDisk) }, false},
	}
	for name, e := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, false)
				s.receive = func(o actor, w http.ResponseWriter, _ *http.Request) error {
					_, err := write(w, size/1024, 1024, false)
					return errors.Join(o.Storage().Put("key", nil), err)
				}
				var asking sync.WaitGroup
				for range requests {
					asking.Go(func() {
						status, length, err := s.get()
						require.NoError(t, err)
						require.Equal(t, e.complete, status == http.StatusOK && length == size)
					})
				}
				synctest.Wait()
				require.Equal(t, int64(requests*size), s.rt.Stats().HeldBytes)
				e.end(s)
				asking.Wait()
				require.Zero(t, s.rt.Stats().HeldBytes)
			})
		})
	}
}

// A handler that waits has ended its own transaction, so a long response waits
// for the disk instead of being refused, whatever others write meanwhile.
func TestGate_LongResponseInAwaitWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, false)
		written := make(chan error, 1)
		wrote, leave := make(chan struct{}), make(chan struct{})
		another := func(_ context.Context, o actor) error {
			err := o.Storage().Put("key", nil)
			close(wrote)
			<-leave
			return err
		}
		s.receive = func(_ actor, w http.ResponseWriter, req *http.Request) error {
			return dog.Await(req.Context(), func() error {
				go func() { _ = inObject(s, another) }()
				<-wrote
				_, err := write(w, 64, 64<<10, false)
				written <- err
				return err
			})
		}
		var asking sync.WaitGroup
		asking.Go(func() {
			status, length, err := s.get()
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, 4<<20, length)
		})
		synctest.Wait()
		require.Empty(t, written)
		held := s.rt.Stats().HeldBytes
		require.Positive(t, held)
		require.LessOrEqual(t, held, int64(maxHeld))
		close(leave)
		s.engine.Prompt()
		asking.Wait()
		require.NoError(t, <-written)
		require.Zero(t, s.rt.Stats().HeldBytes)
	})
}

func TestGate_ResponseOfAHandlerThatExitsIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, false)
		s.receive = func(o actor, w http.ResponseWriter, _ *http.Request) error {
			require.NoError(t, o.Storage().Put("key", nil))
			_, err := write(w, 1, 1024, false)
			require.NoError(t, err)
			runtime.Goexit()
			return nil
		}
		var asking sync.WaitGroup
		asking.Go(func() {
			_, _, err := s.get()
			require.Error(t, err, "the response must not look complete")
		})
		synctest.Wait()
		require.Zero(t, s.rt.Stats().HeldBytes)
		s.engine.Prompt()
		asking.Wait()
	})
}
