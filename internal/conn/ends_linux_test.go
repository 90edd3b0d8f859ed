package conn_test

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// closed is a connection that both sides have closed, and whose peer does not
// hang up.
func (l *lot) closed() (*parker, *peer) {
	c, p := l.parked()
	require.NoError(l.t, c.Close(4000, ""))
	require.Equal(l.t, closeFrame(4000, ""), p.next())
	p.sendClose(4000, "")
	c.expect("woken")
	return c, p
}

// Thousands of clients may be closed at once and be slow to disconnect.
func TestEnd_PeerThatStaysConnectedCostsNoGoroutine(t *testing.T) {
	l := newLot(t, conn.Options{CloseTimeout: time.Hour})
	l.parked()
	before := runtime.NumGoroutine()
	type pair struct {
		*parker
		*peer
	}
	var all []pair
	for range 50 {
		c, p := l.closed()
		all = append(all, pair{c, p})
	}
	rest := func() {
		t.Helper()
		require.Eventually(t, func() bool { return runtime.NumGoroutine()-1 <= before }, waitFor, tick)
	}
	rest()
	for _, p := range all {
		p.peer.send(fin|opPong, "behind the close")
	}
	rest()
	for i, p := range all {
		require.Empty(t, p.events)
		switch i % 3 {
		case 0:
			p.peer.requireEOF()
		case 1:
			p.parker.Abort(nil)
		case 2:
			continue
		}
		p.expectEnd(4000, nil)
	}
	l.endPoller()
	for i, p := range all {
		if i%3 == 2 {
			require.Empty(t, p.events)
			p.peer.requireEOF()
			p.expectEnd(4000, nil)
		}
	}
}

// CloseTimeout is the peer's time to hang up, too.
func TestEnd_CutsAPeerThatStaysConnected(t *testing.T) {
	for _, noise := range []bool{false, true} {
		l := newLot(t, conn.Options{CloseTimeout: 50 * time.Millisecond})
		c, p := l.closed()
		over := make(chan struct{})
		go func() {
			defer close(over)
			for noise {
				if _, err := p.Write(masked(fin|opPong, "")); err != nil {
					return
				}
			}
		}()
		c.expectEnd(4000, nil)
		<-over
	}
}

// Nor may it send for as long as it likes.
func TestEnd_BoundsDataAfterTheCloseFrame(t *testing.T) {
	l := newLot(t, conn.Options{CloseTimeout: time.Hour})
	c, p := l.closed()
	flood := masked(fin|2, strings.Repeat("x", 1<<20))
	for range 1 << 10 {
		if _, err := p.Write(flood); err != nil {
			break
		}
	}
	c.expectEnd(4000, nil)
	require.NoError(t, p.Conn.(*net.TCPConn).Close())
}

// Part waits for nobody: not for a peer that has answered and does not hang up,
// nor for one that does not answer, nor for a handler.
func TestPart_CutsConnectionsWithACloseFrame(t *testing.T) {
	l := newLot(t, conn.Options{CloseTimeout: time.Hour})
	c, p := l.closed()
	_, err := p.br.ReadByte() // when our side has ended
	require.ErrorIs(t, err, io.EOF)
	require.True(t, c.Part())
	c.expectEnd(4000, nil)
	p.Close()

	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		for _, reads := range []bool{false, true} {
			for _, answers := range []bool{false, true} {
				c, p := dial(&conn.Options{CloseTimeout: time.Hour})
				var read *reading
				if reads && !answers {
					read = startReading(c)
				}
				require.NoError(t, c.Close(4000, ""))
				require.Equal(t, closeFrame(4000, ""), p.next())
				if answers {
					p.sendClose(4000, "")
				}
				if reads && answers {
					read = startReading(c)
				}
				require.Eventually(t, c.Part, waitFor, tick)
				p.requireEOF()
				if !reads {
					read = startReading(c)
				}
				require.Equal(t, 4000, read.end(t).Code)
			}
		}
	})
}
