package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog/client"
	"github.com/godurable/dog/client/internal/hook"
	"github.com/godurable/dog/internal/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newClient is client.New with a function in place of random numbers in [0, 1).
func newClient(address string, options client.Options, random func() float64) (*client.Client, error) {
	c, err := hook.NewClient(address, options, random)
	return c.(*client.Client), err
}

const address = "http://dog.test/"

// serve starts a server that is reached through pipes by the client that it
// returns.
func serve(t *testing.T, handler http.Handler) *http.Client {
	t.Helper()
	l := pipe.New()
	server := &http.Server{Handler: handler}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) },
		DisableKeepAlives: true,
	}
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		transport.CloseIdleConnections()
		serving.Wait()
	})
	return &http.Client{Transport: transport}
}

// A recorder keeps the states of a client.
type recorder struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a state is added
	states  []string
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) record(s client.State, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = append(r.states, s.String())
	close(r.changed)
	r.changed = make(chan struct{})
}

// all returns the states so far.
func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.states...)
}

// wait waits for a state, from an index on, and returns the index after it.
func (r *recorder) wait(state string, from int) int {
	for {
		r.mu.Lock()
		states, changed := r.states, r.changed
		r.mu.Unlock()
		for i := from; i < len(states); i++ {
			if states[i] == state {
				return i + 1
			}
		}
		<-changed
	}
}

// get returns the body of a response.
func get(t *testing.T, c *http.Client, url string) []byte {
	t.Helper()
	response, err := c.Get(url)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
	return body
}
