package http_test

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// logged is what a logging middleware has seen of one request.
type logged struct {
	Statuses []int
	Hijacks  int // without an error
}

// recorder is the ResponseWriter of a logging middleware.
type recorder struct {
	http.ResponseWriter
	saw *logged
}

func (w recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w recorder) WriteHeader(status int) {
	w.saw.Statuses = append(w.saw.Statuses, status)
	w.ResponseWriter.WriteHeader(status)
}

func (w recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.saw.Hijacks++
	}
	return c, rw, err
}

// upgradeWays are the ways to a WebSocket, of coder/websocket first.
func upgradeWays(t *testing.T) map[string]http.Handler {
	connect := func(d *target, w http.ResponseWriter, r *http.Request) { _, _ = d.Connect(w, r, nil) }
	var targets *dog.Namespace[target]
	_, targets = newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
		if d.Name() == "front" {
			targets.Named("back").ServeHTTP(w, r)
			return
		}
		connect(d, w, r)
	})
	return map[string]http.Handler{
		"coder/websocket": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, err := websocket.Accept(w, r, nil); err == nil {
				_ = c.CloseNow()
			}
		}),
		"an object":           targets.Named("ada"),
		"an object behind it": targets.Named("front"),
		"a gateway": newOpenGateway(t, func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
			_, _ = r.Connect(w, req, nil)
		}),
	}
}

// upgradeStatus sends a request with the header of an upgrade and returns what
// the client and a logging middleware see, and what net/http has logged.
func upgradeStatus(
	t *testing.T, h http.Handler, change func(*http.Request), hide bool,
) (status int, saw logged, complaints string) {
	t.Helper()
	handled := make(chan struct{})
	var errorLog strings.Builder
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(handled)
		if hide {
			w = struct{ http.ResponseWriter }{w}
		}
		h.ServeHTTP(recorder{w, &saw}, r)
	}))
	srv.Config.ErrorLog = log.New(&errorLog, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
	require.NoError(t, err)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	change(r)
	response, err := srv.Client().Do(r)
	require.NoError(t, err)
	<-handled
	if response.StatusCode != http.StatusSwitchingProtocols {
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
	}
	require.NoError(t, response.Body.Close())
	srv.Close() // so that nothing is logged any more
	return response.StatusCode, saw, errorLog.String()
}

func TestHTTP_LoggingMiddlewareSeesUpgrades(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		hide   bool // net/http's writer is hidden behind one that cannot be hijacked
		status int
	}{
		{"accepted", func(*http.Request) {}, false, http.StatusSwitchingProtocols},
		{"method", func(r *http.Request) { r.Method = http.MethodPost }, false, http.StatusMethodNotAllowed},
		{"no upgrade", func(r *http.Request) { r.Header.Del("Upgrade") }, false, http.StatusUpgradeRequired},
		{
			"version", func(r *http.Request) { r.Header.Set("Sec-Websocket-Version", "12") }, false,
			http.StatusBadRequest,
		},
		{"key", func(r *http.Request) { r.Header.Set("Sec-Websocket-Key", "short") }, false, http.StatusBadRequest},
		{
			"origin", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, false,
			http.StatusForbidden,
		},
		{"nothing to hijack", func(*http.Request) {}, true, http.StatusNotImplemented},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, h := range upgradeWays(t) {
				reference := name == "coder/websocket"
				if reference && c.hide {
					continue // it sends a 101 without a connection
				}
				t.Run(name, func(t *testing.T) {
					status, saw, complaints := upgradeStatus(t, h, c.change, c.hide)
					require.Equal(t, c.status, status)
					want := logged{Statuses: []int{c.status}}
					if status == http.StatusSwitchingProtocols {
						want.Hijacks = 1
						if !reference {
							want.Statuses = nil // see docs/rough_edges.md
						}
					}
					require.Equal(t, want, saw)
					require.Empty(t, complaints)
				})
			}
		})
	}
}
