package dog_test

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

// requireEmpty waits for everything to come to rest and checks that no place, no
// socket and no byte is left behind.
func requireEmpty(t *testing.T, rt *dog.Runtime) {
	t.Helper()
	synctest.Wait()
	stats := rt.Stats()
	require.Zero(t, stats.Sockets)
	require.Zero(t, stats.QueuedBytes)
	for _, g := range stats.Groups {
		for _, r := range g.Replicas {
			require.Zero(t, r.Load)
			require.Zero(t, r.Reserved)
		}
	}
}

// elapse lets time pass and then waits for everything to come to rest.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// ask makes a request and returns its answer and the answer's body.
func ask(t *testing.T, srv *dogtest.Server, method, path string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, dogtest.URL+path, nil)
	require.NoError(t, err)
	req.Header = header.Clone()
	answer, err := srv.Client().Do(req)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(body)
}

// frame returns a WebSocket frame as clients send it, final and with a mask of
// zeros. The payload has at most 125 bytes.
func frame(op byte, payload string) []byte {
	return append([]byte{0x80 | op, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// den is a venue whose owner notes what its sockets do.
type den struct {
	*venue
	got    []string          // messages that reached OnMessage. owned by the turn, like the others
	errors []*dog.CloseError // what OnError was told
	closes []int             // codes that OnClose was told
	ends   []string          // which of the two ran, in order
}

func newDen(t *testing.T, kind string, options dog.Options) *den {
	t.Helper()
	d := &den{}
	d.venue = newVenue(t, kind, options, &owners{
		message: func(_ context.Context, _ owner, _ *dog.Socket, m dog.Message) error {
			d.got = append(d.got, m.String())
			return nil
		},
		failed: func(_ context.Context, _ owner, _ *dog.Socket, cause error) error {
			var end *dog.CloseError
			if !errors.As(cause, &end) {
				return errors.New("not a CloseError")
			}
			d.errors = append(d.errors, end)
			d.ends = append(d.ends, "error")
			return nil
		},
		close: func(_ context.Context, _ owner, _ *dog.Socket, code int, _ string) error {
			d.closes = append(d.closes, code)
			d.ends = append(d.ends, "close")
			return nil
		},
	})
	return d
}
