package browser_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A proxy stands between browsers and a program, whose WebSockets it can end.
type proxy struct {
	url string

	mu    sync.Mutex
	conns []net.Conn // of WebSockets; guarded by mu
}

// newProxy serves what a program serves at target, until the test ends.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	to, err := url.Parse(target)
	require.NoError(t, err)
	p := new(proxy)
	server := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(to))
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateHijacked {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.conns = append(p.conns, conn)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// take returns the connections of the WebSockets since the last time.
func (p *proxy) take() []net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.conns
	p.conns = nil
	return conns
}

// cut closes the connections of all WebSockets, without a close handshake.
func (p *proxy) cut() {
	for _, conn := range p.take() {
		_ = conn.Close()
	}
}

// restart ends all WebSockets as a proxy does that restarts. Nothing may be on
// its way to a browser, because a close frame is the last one.
func (p *proxy) restart(t *testing.T) {
	t.Helper()
	for _, conn := range p.take() {
		_, err := conn.Write([]byte("\x88\x02\x03\xf4")) // a close frame with the code 1012
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite()) // and read the answer to it
	}
}
