package dog

import (
	"bufio"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// hijacked is a response whose connection can be taken over.
type hijacked struct {
	*httptest.ResponseRecorder
	net.Conn
}

func (h hijacked) Write(p []byte) (int, error) { return h.ResponseRecorder.Write(p) }

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.Conn, bufio.NewReadWriter(bufio.NewReader(h.Conn), bufio.NewWriter(h.Conn)), nil
}

// Others find a socket by its uid before its handshake is in the gate, so what
// they send may be released before. The client takes nothing before hello.
func TestSocket_GetsNothingBeforeHello(t *testing.T) {
	rt, err := New(Options{})
	require.NoError(t, err)
	objects, err := RegisterObject[Object](rt, "object", nil)
	require.NoError(t, err)
	o, err := objects.Named("main").to.object()
	require.NoError(t, err)
	client, server := net.Pipe()
	defer func() { _ = client.Close() }()
	r := httptest.NewRequest("GET", "/", nil)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "dog.v1",
	} {
		r.Header.Set(name, value)
	}
	w := hijacked{httptest.NewRecorder(), server}
	c, err := conn.AcceptIf(w, r, o.ns.accept(&SocketOptions{}, o.variant(true)), func() error { return nil })
	require.NoError(t, err)
	s := &Socket{obj: o, uid: "ada", conn: c, v1: &v1Client{}}
	c.Data = s
	set := o.socketSet()
	require.True(t, set.reserve(0))
	set.enter(s)

	o.Gate.Pause() // as while a message to others waits
	_, err = o.voice().whisper("ada", "held", nil)
	require.NoError(t, err)
	o.Gate.Resume()
	require.Zero(t, c.Stats().QueuedBytes)

	_, err = o.voice().whisper("ada", "at once", nil)
	require.ErrorIs(t, err, ErrNoTarget)
	require.ErrorIs(t, s.Send("at once"), ErrSocketClosed)
	require.Zero(t, c.Stats().QueuedBytes)

	s.v1.greeted = true
	require.NoError(t, s.Send("after it"))
	require.NotZero(t, c.Stats().QueuedBytes)
	c.Abort(ErrSocketClosed)
	_, _, _ = c.Read() // fails, and releases the connection
	c.Wait()
	set.exit(s)
	set.unreserve()
	require.NoError(t, rt.Shutdown(t.Context()))
}
