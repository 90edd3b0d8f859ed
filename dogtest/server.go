package dogtest

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/godurable/dog/internal/pipe"
)

// Server is an [http.Server] that is reached through in-memory pipes.
type Server struct {
	t        testing.TB
	listener *pipe.Listener
	client   *http.Client
}

// URL is the address of every Server. It can be reached only through
// [Server.Client] and [Server.Dial].
const URL = "http://dog.test"

// Serve starts a server for the handler. The server stops at the end of the
// test, before the runtime if that was made earlier. If by then a request has
// not been answered or the body of its response was left open, the test fails
// with a message that names the request.
func Serve(t testing.TB, handler http.Handler) *Server {
	t.Helper()
	s := &Server{t: t, listener: pipe.New()}
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return s.listener.Dial(ctx) },
		DisableKeepAlives: true,
	}
	requests := &requests{transport: transport, open: make(map[*request]struct{})}
	s.client = &http.Client{Transport: requests}
	server := &http.Server{
		Handler:           handler,
		ErrorLog:          log.New(logWriter{t}, "", 0),
		ReadHeaderTimeout: patience,
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("dogtest: serve: %v", err)
		}
	})
	t.Cleanup(func() {
		err := stop(server)
		if requests.left(t) && err != nil {
			err = stop(server) // it may have waited for those requests
		}
		if err != nil {
			t.Errorf("dogtest: the server did not stop: %v", errors.Join(err, server.Close()))
		}
		transport.CloseIdleConnections()
		serving.Wait()
	})
	return s
}

func stop(server *http.Server) error {
	ctx, cancel := deadline()
	defer cancel()
	return server.Shutdown(ctx)
}

// deadline returns a context for one step of a test.
func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}
