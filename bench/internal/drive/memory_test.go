package drive

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKept_MeasuresTheHeapOfAMessage(t *testing.T) {
	var all [][]byte
	figures, err := Kept(10_000, func(message []byte) error {
		all = append(all, message)
		return nil
	})
	require.NoError(t, err)
	require.Len(t, all, 10_001)
	require.Greater(t, figures[HeapEach], float64(ValueSize))
	require.Less(t, figures[HeapEach], 3.*ValueSize)

	_, err = Kept(10, func([]byte) error { return errBroken })
	require.ErrorIs(t, err, errBroken)
}

// A porter lets clients in, and remembers how many are there.
type porter struct{ there, came atomic.Int64 }

func (p *porter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil || r.Header.Get("Upgrade") != "websocket" {
		return
	}
	p.there.Add(1)
	p.came.Add(1)
	go func(conn net.Conn) {
		defer p.there.Add(-1)
		hello := make([]byte, 5)
		if _, err := io.ReadFull(conn, hello); err != nil || string(hello) != "hello" {
			return
		}
		for range 2 {
			_, _ = conn.Write([]byte("welcome"))
		}
		_, _ = io.Copy(io.Discard, conn)
	}(conn)
}

func TestAttach_ConnectsAndDisconnectsAll(t *testing.T) {
	var p porter
	door := Door{
		Handler: &p, Hello: []byte("hello"), Writes: 2,
		Target: func(i int) string { return "/?uid=" + strconv.Itoa(i) },
		Present: func(n int) error {
			if p.there.Load() != int64(n) {
				return errBroken
			}
			return nil
		},
		Gone: func() bool { return p.there.Load() == 0 },
	}
	figures, err := Attach(1000, door)
	require.NoError(t, err)
	require.Positive(t, figures[HeapEach])
	require.Positive(t, figures[CPUEach])
	require.EqualValues(t, 1100, p.came.Load())
	require.Zero(t, p.there.Load())

	door.Present = func(int) error { return errors.New("one is missing") }
	_, err = Attach(10, door)
	require.ErrorContains(t, err, "one is missing")
}
