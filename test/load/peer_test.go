package load_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/internal/fixture"
)

// serveTCP serves a handler on the loopback interface and returns its address.
// accepted, if not nil, is given each connection.
func serveTCP(t testing.TB, handler http.Handler, accepted func(*net.TCPConn)) (addr string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	if accepted != nil {
		server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			accepted(c.(*net.TCPConn))
			return ctx
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// peer is a client as bare as can be, so that thousands fit into a process and
// nothing happens behind a test's back.
type peer struct {
	*net.TCPConn
	in *bufio.Reader
}

// request asks the server at addr for a WebSocket. The answer is yet to be
// read.
func request(dialer *net.Dialer, addr, path string) (*peer, error) {
	c, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &peer{c.(*net.TCPConn), bufio.NewReaderSize(c, 512)}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: dog.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n", path); err != nil {
		c.Close()
		return nil, err
	}
	return p, nil
}

// dial connects to a path of the server at addr.
func dial(dialer *net.Dialer, addr, path string) (*peer, error) {
	p, err := request(dialer, addr, path)
	if err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(p.in, nil)
	if err == nil && answer.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("dial %s: %s", path, answer.Status)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// mustDial connects to a path of the server at addr until the end of the test.
func mustDial(t testing.TB, addr, path string) *peer {
	t.Helper()
	p, err := dial(&net.Dialer{}, addr, path)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// send sends a frame with at most 125 bytes of payload.
func (p *peer) send(op byte, payload string) error {
	_, err := p.Write(fixture.Frame(op, payload))
	return err
}

// next returns the next frame of less than 64 KiB that is neither ping nor
// pong. It answers pings.
func (p *peer) next() (op byte, payload []byte, err error) {
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(p.in, head); err != nil {
			return 0, nil, err
		}
		n := int(head[1])
		if n == 126 {
			long := make([]byte, 2)
			if _, err := io.ReadFull(p.in, long); err != nil {
				return 0, nil, err
			}
			n = int(binary.BigEndian.Uint16(long))
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(p.in, payload); err != nil {
			return 0, nil, err
		}
		switch op := head[0] & 0x0f; op {
		case opPing:
			if err := p.send(opPong, string(payload)); err != nil {
				return 0, nil, err
			}
		case opPong:
		default:
			return op, payload, nil
		}
	}
}

// number returns the number in the next message.
func (p *peer) number() (int, error) {
	op, payload, err := p.next()
	switch {
	case err != nil:
		return 0, err
	case op == opClose:
		return 0, fmt.Errorf("closed: %d %s", binary.BigEndian.Uint16(payload), payload[2:])
	}
	return strconv.Atoi(string(payload[:6]))
}

// listen returns the numbers that come, up to the last one that was sent or the
// end, and the error that was the end.
func (p *peer) listen() (received []int, err error) {
	for {
		n, err := p.number()
		if err != nil {
			return received, err
		}
		received = append(received, n)
		if n == talk-1 {
			return received, nil
		}
	}
}
