package drive

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Sink is the server's end of a connection to a client that costs nothing. It
// takes whatever is written.
type Sink struct {
	net.Conn               // nil: its methods that are not below are not used
	in       []byte        // what the client sends, before it is silent; owned by the reader
	writes   atomic.Int64  // that are left before answered is called
	answered func()        // called at the last of them
	ended    chan struct{} // closed by Close
	end      sync.Once
}

// NewSink returns a connection whose client sends in. answered is called at the
// n-th write to it.
func NewSink(in []byte, n int64, answered func()) *Sink {
	s := &Sink{in: in, answered: answered, ended: make(chan struct{})}
	s.writes.Store(n)
	return s
}

func (s *Sink) Write(p []byte) (int, error) {
	if s.writes.Add(-1) == 0 {
		s.answered()
	}
	return len(p), nil
}

func (s *Sink) Read(p []byte) (int, error) {
	if len(s.in) > 0 {
		n := copy(p, s.in)
		s.in = s.in[n:]
		return n, nil
	}
	<-s.ended
	return 0, io.EOF
}

// Close ends Read, as the end of the client does.
func (s *Sink) Close() error {
	s.end.Do(func() { close(s.ended) })
	return nil
}

// SetDeadline does nothing.
func (*Sink) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (*Sink) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (*Sink) SetWriteDeadline(time.Time) error { return nil }

// Upgrade has a handler upgrade the sink to a WebSocket.
func (s *Sink) Upgrade(h http.Handler, target string) error {
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
	} {
		req.Header.Set(name, value)
	}
	h.ServeHTTP(&hijacked{conn: s, header: make(http.Header)}, req)
	return nil
}

// hijacked is a ResponseWriter over a sink.
type hijacked struct {
	conn   *Sink
	header http.Header
}

func (w *hijacked) Header() http.Header         { return w.header }
func (w *hijacked) WriteHeader(int)             {}
func (w *hijacked) Write(p []byte) (int, error) { return len(p), nil }

func (w *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReaderSize(w.conn, 16), bufio.NewWriterSize(w.conn, 16)), nil
}
