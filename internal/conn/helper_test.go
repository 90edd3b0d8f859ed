package conn_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
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

// farewell returns a farewell without a frame of dog.v1.
func farewell(t testing.TB, code int, reason string) *conn.Farewell {
	f, err := conn.NewFarewell(code, reason, nil)
	require.NoError(t, err)
	return f
}

// pipe accepts a connection over net.Pipe, which buffers nothing: what the peer
// does not read stays in flight.
func pipe(t testing.TB, o *conn.Options) (*conn.Conn, *peer) {
	server, client := net.Pipe()
	return accept(t, server, client, o)
}

func accept(t testing.TB, server, client net.Conn, o *conn.Options) (*conn.Conn, *peer) {
	return acceptRequest(t, server, client, upgradeRequest(), o)
}

func acceptRequest(t testing.TB, server, client net.Conn, r *http.Request, o *conn.Options) (*conn.Conn, *peer) {
	p := &peer{Conn: client, t: t, br: bufio.NewReaderSize(client, 16)}
	answered := make(chan error, 1)
	go func() {
		resp, err := http.ReadResponse(p.br, nil)
		if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = errors.New(resp.Status)
		}
		answered <- err
	}()
	c, err := conn.Accept(hijackWriter{httptest.NewRecorder(), server}, r, o)
	require.NoError(t, err)
	c.Start()
	require.NoError(t, <-answered)
	t.Cleanup(func() { client.Close() })
	return c, p
}

// tcpPair returns the ends of a connection over the network.
func tcpPair(t testing.TB) (server, client *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	accepted, err := l.Accept()
	require.NoError(t, err)
	return accepted.(*net.TCPConn), dialled.(*net.TCPConn)
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
	f, err := p.readAny()
	if err == nil && f.op&0xF0 != fin {
		return frame{}, errors.New("not a final, plain frame")
	}
	f.op &= 0xF
	return f, err
}

// readAny reads an unmasked frame; op is its first byte.
func (p *peer) readAny() (frame, error) {
	var head [8]byte
	if _, err := io.ReadFull(p.br, head[:2]); err != nil {
		p.Close() // as clients do
		return frame{}, err
	}
	if head[1]&0x80 != 0 {
		return frame{}, errors.New("a frame with a mask")
	}
	op, n := head[0], uint64(head[1])
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

// requireEOF reads the end of the stream, and hangs up too.
func (p *peer) requireEOF() {
	p.t.Helper()
	_, err := p.br.ReadByte()
	require.ErrorIs(p.t, err, io.EOF)
	p.Close()
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

// end waits for the end of the connection and all its goroutines, and returns
// the error of Read.
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

// How long to wait for what the kernel brings about, and how often to look.
const (
	waitFor = 30 * time.Second
	tick    = time.Millisecond
)

// tape is a network connection to a peer that has already sent everything and
// disconnected.
type tape struct {
	net.Conn // nil: only what follows may be called
	in       io.Reader
	wrote    chan struct{} // something; nil: of no interest

	mu  sync.Mutex
	out bytes.Buffer // guarded by mu
}

func (c *tape) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *tape) Close() error                     { return nil }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

func (c *tape) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.wrote <- struct{}{}:
	default:
	}
	return c.out.Write(p)
}

// play accepts r over a tape with this stream, to be read in pieces of at most
// so many bytes. It returns the messages, how the connection ended, and what
// was answered.
func play(
	t testing.TB, stream []byte, piece int, r *http.Request, o *conn.Options,
) (msgs []string, end *conn.CloseError, nc *tape) {
	t.Helper()
	nc = &tape{in: &pieces{stream, piece}, wrote: make(chan struct{}, 1)}
	c, err := conn.Accept(hijackWriter{httptest.NewRecorder(), nc}, r, o)
	require.NoError(t, err)
	c.Start()
	<-nc.wrote // the answer, which a peer that has hung up would not get
	read := startReading(c)
	end = read.end(t)
	return read.msgs, end, nc
}

// pieces reads from rest, at most size bytes at a time.
type pieces struct {
	rest []byte
	size int
}

func (r *pieces) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest[:min(r.size, len(r.rest))])
	r.rest = r.rest[n:]
	return n, nil
}
