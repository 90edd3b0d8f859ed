package dog_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/stretchr/testify/require"
)

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

// background requests a path and sends the status of the answer, 0 when there is none.
func background(srv *dogtest.Server, path string) <-chan int {
	status := make(chan int, 1)
	go func() {
		answer, err := srv.Client().Get(dogtest.URL + path)
		if err != nil {
			status <- 0
			return
		}
		_ = answer.Body.Close()
		status <- answer.StatusCode
	}()
	return status
}

// dialer opens connections without a request, as the transport of a dogtest.Server does.
type dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// get asks an object over HTTP.
func get[T any](stub dog.Stub[T]) string {
	w := httptest.NewRecorder()
	stub.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	return w.Body.String()
}

// nowhere is a ResponseWriter whose answer nobody reads.
type nowhere struct{ header http.Header }

func (w *nowhere) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

func (*nowhere) WriteHeader(int) {}

func (*nowhere) Write(p []byte) (int, error) { return len(p), nil }

func newRequest(target string) *http.Request {
	return httptest.NewRequest(http.MethodGet, target, nil)
}

// upgrade returns a request for a WebSocket.
func upgrade(target string) *http.Request {
	req := newRequest(target)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	req.Header.Set("Sec-WebSocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg==")
	return req
}

// sink is the server's end of a connection to a client that costs nothing: what is written is reported, what is to be read comes
// from a channel, nothing ever blocks.
type sink struct {
	net.Conn // nil: the rest of the methods is not used
	written  func(n int)
	inbound  chan []byte   // each at most 512 bytes; nil: the client says nothing
	answered chan struct{} // closed by the first write, the answer to the handshake, which is not reported
	upgraded bool          // owned by the writer
	closed   chan struct{}
	once     sync.Once
}

func (s *sink) Write(p []byte) (int, error) {
	if !s.upgraded {
		s.upgraded = true
		close(s.answered)
		return len(p), nil
	}
	s.written(len(p))
	return len(p), nil
}

func (s *sink) Read(p []byte) (int, error) {
	select {
	case frame := <-s.inbound:
		return copy(p, frame), nil
	case <-s.closed:
		return 0, io.EOF
	}
}

func (s *sink) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (*sink) SetDeadline(time.Time) error { return nil }

func (*sink) SetReadDeadline(time.Time) error { return nil }

func (*sink) SetWriteDeadline(time.Time) error { return nil }

// hijacked is a ResponseWriter over a sink.
type hijacked struct {
	nowhere
	conn *sink
}

func (w *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReaderSize(w.conn, 16), bufio.NewWriterSize(w.conn, 16)), nil
}
