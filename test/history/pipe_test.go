package history_test

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/internal/fixture"
)

// pipeResponse is a ResponseWriter over one end of a net.Pipe.
type pipeResponse struct {
	fixture.DiscardResponse
	conn net.Conn
}

func (w *pipeResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReaderSize(w.conn, 16), bufio.NewWriterSize(w.conn, 16)), nil
}

// connectDeaf connects a client in memory that reads no more than the response
// and that nothing but the caller keeps, unlike those of dogtest.
func connectDeaf(t testing.TB, v *fixture.Owners, path string, v1 bool) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	req := fixture.NewUpgrade(path)
	if v1 {
		req.Header.Set("Sec-WebSocket-Protocol", "dog.v1")
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		v.Serve(&pipeResponse{conn: server}, req)
	}()
	var head []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); {
		_, err := client.Read(b)
		require.NoError(t, err)
		head = append(head, b[0])
	}
	require.True(t, strings.HasPrefix(string(head), "HTTP/1.1 101"), "%s", head)
	<-served
	return client
}
