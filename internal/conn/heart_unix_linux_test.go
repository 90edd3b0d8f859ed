package conn_test

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// The kernel counts a piece of up to 64 KiB as held until all of it has been
// read. At 5,000 bytes a second that takes many intervals.
func TestHeart_SlowReaderOfAUnixSocketIsNotDead(t *testing.T) {
	for name, frames := range map[string]int{"the kernel has all": 1, "the kernel is full": 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			readUnixSocketSlowly(t, frames)
		})
	}
}

func readUnixSocketSlowly(t *testing.T, frames int) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	server, err := l.Accept()
	require.NoError(t, err)
	c, p := accept(t, server, client, &conn.Options{QueueBytes: 64 << 20})
	h := startHeart(t, 500*time.Millisecond)
	h.Add(c)
	read := startReading(c)
	f := conn.NewFrame(conn.Binary, make([]byte, 100_000))
	for range frames {
		require.NoError(t, c.Send(f, ""))
	}
	slow := thin{p.Conn, 5000}
	b := make([]byte, 500)
	for began := time.Now(); time.Since(began) < 3*time.Second; {
		_, err := io.ReadFull(slow, b)
		require.NoError(t, err, "after %v", time.Since(began))
		require.False(t, c.Closing(), "after %v", time.Since(began))
	}
	c.Abort(nil)
	requireEnd(t, read, 1006, "", conn.ErrClosed)
	h.Remove(c)
	p.Close()
}
