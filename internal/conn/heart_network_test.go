package conn_test

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// A kernel reports what its program has read only when that is a good part of
// its buffer, which at this rate takes longer than an interval.
func TestHeart_KeepsAPeerWhoseKernelAcknowledgesRarely(t *testing.T) {
	if !conn.SeesKernel {
		t.Skip("what the kernel holds cannot be seen")
	}
	server, client := tcpPair(t)
	require.NoError(t, client.SetReadBuffer(256<<10))
	c, p := accept(t, server, thin{client, 100_000}, &conn.Options{QueueBytes: 64 << 20})
	h := startHeart(t, 300*time.Millisecond)
	h.Add(c)
	read := startReading(c)
	f := conn.NewFrame(conn.Binary, make([]byte, 4_000))
	for range 600 {
		require.NoError(t, c.Send(f, ""))
	}
	b := make([]byte, 1_000)
	for began := time.Now(); time.Since(began) < 4*time.Second; {
		_, err := io.ReadFull(p.br, b)
		require.NoError(t, err, "after %v", time.Since(began))
		select {
		case <-read.done:
			require.NoError(t, read.err, "after %v", time.Since(began))
		default:
		}
	}
	c.Abort(nil)
	requireEnd(t, read, 1006, "", conn.ErrClosed)
	h.Remove(c)
	p.Close()
}
