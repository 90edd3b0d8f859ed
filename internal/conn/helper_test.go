package conn_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog/internal/conn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	opContinuation = 0x0
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
	fin            = 0x80
)

// hijackWriter is a ResponseWriter over a connection of the test's choice.
type hijackWriter struct {
	*httptest.ResponseRecorder
	nc net.Conn
}

func (w hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.nc, bufio.NewReadWriter(bufio.NewReader(w.nc), bufio.NewWriter(w.nc)), nil
}

func upgradeRequest(header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://example.com/ws", nil)
	r.Header.Set("Connection", "keep-alive, Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// peer is the client's end, frame by frame.
type peer struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

// frame is what the server sent.
type frame struct {
	op      byte
	payload string
}

func text(s string) frame { return frame{1, s} }

func closeFrame(code int, reason string) frame {
	return frame{opClose, string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason}
}

// pipe accepts a connection over net.Pipe, which buffers nothing: what the peer does not read stays in flight.
func pipe(t testing.TB, o *conn.Options) (*conn.Conn, *peer) {
	server, client := net.Pipe()
	return accept(t, server, client, o)
}

func accept(t testing.TB, server, client net.Conn, o *conn.Options) (*conn.Conn, *peer) {
	p := &peer{Conn: client, t: t, br: bufio.NewReaderSize(client, 16)}
	answered := make(chan error, 1)
	go func() {
		resp, err := http.ReadResponse(p.br, nil)
		if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = errors.New(resp.Status)
		}
		answered <- err
	}()
	c, err := conn.Accept(hijackWriter{httptest.NewRecorder(), server}, upgradeRequest(), o)
	require.NoError(t, err)
	c.Start()
	require.NoError(t, <-answered)
	t.Cleanup(func() { client.Close() })
	return c, p
}

// masked is a client's frame; the mask is fixed. head is the first byte.
func masked(head byte, payload string) []byte {
	b := []byte{head}
	switch n := len(payload); {
	case n > 0xFFFF:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	case n > 125:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = append(b, 0x80|byte(n))
	}
	key := [4]byte{1, 2, 3, 4}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

func (p *peer) send(head byte, payload string) { p.sendRaw(masked(head, payload)) }

func (p *peer) sendRaw(b []byte) {
	p.t.Helper()
	_, err := p.Write(b)
	require.NoError(p.t, err)
}

func (p *peer) sendClose(code int, reason string) {
	p.t.Helper()
	p.send(fin|opClose, closeFrame(code, reason).payload)
}

// next reads a frame, checking that it is final and unmasked.
func (p *peer) next() frame {
	p.t.Helper()
	f, err := p.read()
	require.NoError(p.t, err)
	return f
}

func (p *peer) read() (frame, error) {
	var head [8]byte
	if _, err := io.ReadFull(p.br, head[:2]); err != nil {
		return frame{}, err
	}
	if head[0]&0xF0 != fin || head[1]&0x80 != 0 {
		return frame{}, errors.New("not a final, unmasked frame")
	}
	op, n := head[0]&0xF, uint64(head[1])
	switch n {
	case 126:
		if _, err := io.ReadFull(p.br, head[:2]); err != nil {
			return frame{}, err
		}
		n = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		if _, err := io.ReadFull(p.br, head[:8]); err != nil {
			return frame{}, err
		}
		n = binary.BigEndian.Uint64(head[:])
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(p.br, payload)
	return frame{op, string(payload)}, err
}

// frames reads until the server has closed the connection.
func (p *peer) frames() []frame {
	var all []frame
	for {
		f, err := p.read()
		if err != nil {
			return all
		}
		all = append(all, f)
	}
}

func (p *peer) requireEOF() {
	p.t.Helper()
	_, err := p.br.ReadByte()
	require.ErrorIs(p.t, err, io.EOF)
}

// reading runs the reader of c and collects what it returns.
type reading struct {
	c    *conn.Conn
	msgs []string
	err  error
	done chan struct{}
	at   time.Time // when Read failed
}

func startReading(c *conn.Conn) *reading {
	r := &reading{c: c, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			_, data, err := c.Read()
			if err != nil {
				r.err, r.at = err, time.Now()
				return
			}
			r.msgs = append(r.msgs, string(data))
		}
	}()
	return r
}

// end waits for the end of the connection and all its goroutines, and returns the error of Read.
func (r *reading) end(t testing.TB) *conn.CloseError {
	t.Helper()
	<-r.done
	r.c.Wait()
	var ce *conn.CloseError
	require.ErrorAs(t, r.err, &ce)
	_, _, again := r.c.Read()
	require.Same(t, r.err, again)
	return ce
}

func requireEnd(t testing.TB, r *reading, code int, reason string, cause error) {
	t.Helper()
	ce := r.end(t)
	require.Equal(t, code, ce.Code, "%v", ce)
	require.Equal(t, reason, ce.Reason)
	if cause == nil {
		require.NoError(t, ce.Err)
	} else {
		require.ErrorIs(t, ce, cause)
	}
}
