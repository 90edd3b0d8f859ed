package browser_test

import (
	"io"
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
	server.Listener = endable{server.Listener}
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

// restart ends all WebSockets as a proxy does that restarts.
func (p *proxy) restart(t *testing.T) {
	t.Helper()
	for _, conn := range p.take() {
		// A close frame with the code 1012. The answer to it is still read.
		require.NoError(t, conn.(*endableConn).end([]byte("\x88\x02\x03\xf4")))
	}
}

// endable is a listener of connections of which one side can be ended.
type endable struct{ net.Listener }

func (l endable) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &endableConn{TCPConn: conn.(*net.TCPConn)}, nil
}

// endableConn drops what is written after its end.
type endableConn struct {
	*net.TCPConn
	mu    sync.Mutex
	ended bool // guarded by mu
}

func (c *endableConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return len(b), nil
	}
	return c.TCPConn.Write(b)
}

// ReadFrom makes io.Copy use Write.
func (c *endableConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// end writes the last bytes.
func (c *endableConn) end(last []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if _, err := c.TCPConn.Write(last); err != nil {
		return err
	}
	return c.CloseWrite()
}
