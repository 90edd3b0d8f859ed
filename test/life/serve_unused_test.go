package life_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/pipe"
)

// Browsers open connections in advance. Server.Shutdown alone waits for them
// for five seconds.
func TestServe_DoesNotWaitForUnusedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		var mu sync.Mutex
		states := make(map[http.ConnState]int)
		server := &http.Server{ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, s http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			states[s]++
		}}
		answering := make(chan struct{})
		server.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(answering)
			time.Sleep(2 * time.Second)
			w.WriteHeader(http.StatusNoContent)
		})
		listener := pipe.New()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- rt.Serve(ctx, server, listener) }()

		unused, err := listener.Dial(t.Context())
		require.NoError(t, err)
		used, err := listener.Dial(t.Context())
		require.NoError(t, err)
		defer unused.Close()
		defer used.Close()
		go func() { _, _ = used.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")) }()
		<-answering
		began := time.Now()
		stop()
		_, err = unused.Read(make([]byte, 1))
		require.Error(t, err)
		require.Equal(t, 500*time.Millisecond, time.Since(began))
		res, err := http.ReadResponse(bufio.NewReader(used), nil)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusNoContent, res.StatusCode, "a request that has begun is served")
		require.NoError(t, <-ended)
		require.Less(t, time.Since(began), 3*time.Second)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, map[http.ConnState]int{http.StateNew: 2, http.StateActive: 1, http.StateClosed: 2}, states)
	})
}
