package conn_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

func TestPark_AndWake(t *testing.T) {
	c, p := newLot(t, conn.Options{AutoRequest: "?", AutoReply: "!"}).parked()
	for range 10 {
		p.send(fin|1, "one")
		c.expect("woken", "message one", "parked")
	}
	p.sendRaw(append(masked(fin|1, "one"), masked(fin|1, "two")...))
	c.expect("woken", "message one", "message two", "parked")
	p.send(fin|1, "?")
	require.Equal(t, text("!"), p.next())
	c.expect("woken", "parked")
	p.send(fin|opPing, "still there?")
	require.Equal(t, frame{opPong, "still there?"}, p.next())
	c.expect("woken", "parked")
	p.send(fin|opPong, "unasked for")
	c.expect("woken", "parked")
	require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte("sent")), "")) // needs no reader
	require.Equal(t, text("sent"), p.next())
	p.send(fin|1, "last")
	c.expect("woken", "message last", "parked")
	require.EqualValues(t, 14, c.Stats().MessagesIn)
}

// How much later it parks than that is up to the machine.
func TestPark_NotBeforeParkAfter(t *testing.T) {
	const after = 20 * time.Millisecond
	began := time.Now()
	c, p := newLotAfter(t, after, conn.Options{}).parked()
	require.GreaterOrEqual(t, time.Since(began), after)
	for range 3 {
		began := time.Now()
		p.send(fin|1, "one")
		c.expect("woken", "message one", "parked")
		require.GreaterOrEqual(t, time.Since(began), after)
	}
}

// A connection parks wherever the stream has stopped, and goes on from there.
func TestPark_WithinFrames(t *testing.T) {
	c, p := newLot(t, conn.Options{}).parked()
	stream := append(masked(1, "frag"), masked(fin|opPing, "between")...)
	stream = append(stream, masked(fin|opContinuation, "ment")...)
	for i := range len(stream) - 1 {
		p.sendRaw(stream[i : i+1])
		c.expect("woken", "parked")
	}
	p.sendRaw(stream[len(stream)-1:])
	c.expect("woken", "message fragment", "parked")

	long := strings.Repeat("long ", 5000)
	stream = masked(fin|1, long) // read into the message itself
	for _, cut := range []int{3, 100, 9000, 17000, len(stream) - 1} {
		p.sendRaw(stream[:cut])
		seen := c.Stats().BytesIn
		p.sendRaw(stream[cut:])
		for event := ""; event != "message "+long; event = <-c.events {
			require.Contains(t, []string{"", "woken", "parked", "parked early"}, event)
		}
		require.LessOrEqual(t, seen, c.Stats().BytesIn)
		c.expect("parked")
	}
}

func TestParked_CostsNoGoroutine(t *testing.T) {
	l := newLot(t, conn.Options{})
	first, _ := l.parked()
	before := runtime.NumGoroutine()
	for range 100 {
		l.parked()
	}
	require.Eventually(t, func() bool { // in a goroutine of its own
		return runtime.NumGoroutine()-1 <= before
	}, waitFor, tick, "those of net/http end, too")
	awake, places := l.poller.Tables()
	require.Zero(t, awake)
	require.Equal(t, 101, places)
	require.Empty(t, first.events)
}

func TestParked_IsClosed(t *testing.T) {
	l := newLot(t, conn.Options{})
	c, p := l.parked()
	require.NoError(t, c.Close(4000, "enough"))
	require.Equal(t, closeFrame(4000, "enough"), p.next())
	p.sendClose(4000, "enough")
	p.requireEOF()
	c.expect("woken")
	c.expectEnd(4000, nil)

	c, p = l.parked()
	p.sendClose(4001, "enough")
	require.Equal(t, closeFrame(4001, "enough"), p.next())
	p.requireEOF()
	c.expect("woken")
	c.expectEnd(4001, nil)

	c, p = l.parked()
	p.sendRaw([]byte("nonsense"))
	require.Equal(t, closeFrame(1002, "protocol error"), p.next())
	p.Close()
	c.expect("woken")
	c.expectEnd(1002, conn.ErrProtocol)

	errMine := errors.New("mine")
	c, p = l.parked()
	c.Abort(errMine)
	c.expect("woken")
	c.expectEnd(1006, errMine)
	require.Empty(t, p.frames())
}

// While it closes it does not park again: what is left has a deadline.
func TestParked_PeerDoesNotAnswerTheClose(t *testing.T) {
	c, p := newLot(t, conn.Options{CloseTimeout: 20 * time.Millisecond}).parked()
	require.NoError(t, c.Close(4000, ""))
	p.sendRaw(masked(fin|1, "half a frame")[:5])
	c.expect("woken")
	c.expectEnd(4000, os.ErrDeadlineExceeded)
}

func TestParked_PeerVanishes(t *testing.T) {
	l := newLot(t, conn.Options{})
	for _, half := range []string{"", "half a frame"} {
		for _, vanish := range []struct {
			how  func(*net.TCPConn) error
			want error
		}{
			{(*net.TCPConn).Close, io.ErrUnexpectedEOF},
			{(*net.TCPConn).CloseWrite, io.ErrUnexpectedEOF},
			{func(nc *net.TCPConn) error { _ = nc.SetLinger(0); return nc.Close() }, syscall.ECONNRESET},
		} {
			c, p := l.parked()
			if half != "" {
				p.sendRaw(masked(fin|1, half)[:7])
				c.expect("woken", "parked")
			}
			require.NoError(t, vanish.how(p.Conn.(*net.TCPConn)))
			c.expect("woken")
			c.expectEnd(1006, vanish.want)
		}
	}
}

func TestParked_Heartbeat(t *testing.T) {
	l := newLot(t, conn.Options{})
	c, p := l.parked()
	h := conn.NewHeart(time.Hour)
	h.Add(c.Conn)
	require.Empty(t, h.Sweep())
	for range 3 {
		require.Equal(t, frame{op: opPing}, p.next())
		p.send(fin|opPong, "")
		c.expect("woken", "parked")
		require.Empty(t, h.Sweep(), "any byte is life")
	}
	require.Equal(t, frame{op: opPing}, p.next())
	require.Equal(t, []*conn.Conn{c.Conn}, h.Sweep())
	h.Remove(c.Conn)

	// A kernel may delay an acknowledgement by 40 ms, and a peer that takes
	// something from one look to the next, of eight in the interval, is not
	// gone.
	h = startHeart(t, time.Second)
	h.Add(c.Conn)
	c.expect("woken")
	c.expectEnd(1006, conn.ErrPingTimeout)
	h.Remove(c.Conn)
}

func TestParked_Broadcast(t *testing.T) {
	l := newLot(t, conn.Options{QueueBytes: 4096, CloseTimeout: 20 * time.Millisecond})
	s := conn.Set{Writers: conn.NewWriters(nil)}
	var all []*parker
	var peers []*peer
	for range 5 {
		c, p := l.parked()
		s.Add(c.Conn)
		all, peers = append(all, c), append(peers, p)
	}
	for i := range 100 {
		s.Send(conn.NewFrame(conn.Text, fmt.Append(nil, i)), "", conn.Except{})
	}
	for i, c := range all {
		for j := range 100 {
			require.Equal(t, text(fmt.Sprint(j)), peers[i].next())
		}
		require.Empty(t, c.events, "nobody has to read for that")
	}

	// Writing finds out that a peer is gone, or the kernel does.
	require.NoError(t, peers[0].Conn.(*net.TCPConn).SetLinger(0))
	peers[0].Close()
	s.Send(conn.NewFrame(conn.Text, []byte("to those who are there")), "", conn.Except{})
	for _, p := range peers[1:] {
		require.Equal(t, text("to those who are there"), p.next())
	}
	all[0].expect("woken", "end")
	require.Equal(t, 1006, all[0].end.Code)
	s.Remove(all[0].Conn)

	// Who reads nothing is disconnected.
	slow := all[1]
	for range 10_000 {
		if slow.Send(conn.NewFrame(conn.Binary, make([]byte, 4000)), "") != nil {
			break
		}
	}
	slow.expect("woken")
	slow.expectEnd(1008, conn.ErrSlow)
	s.Remove(slow.Conn)
	for _, c := range all[2:] {
		require.Empty(t, c.events)
		s.Remove(c.Conn)
	}
}

// Without its Poller a connection keeps its goroutine.
func TestPoller_Ends(t *testing.T) {
	l := newLot(t, conn.Options{})
	type pair struct {
		*parker
		*peer
	}
	var pairs []pair
	for range 20 {
		c, p := l.parked()
		pairs = append(pairs, pair{c, p})
	}
	l.endPoller()
	for _, p := range pairs {
		p.expect("woken")
	}
	c, p := l.dial()
	for _, p := range append(pairs, pair{c, p}) {
		for _, m := range []string{"one", "two"} {
			p.peer.sendRaw(masked(fin|1, m)[:3])
			p.peer.sendRaw(masked(fin|1, m)[3:])
			p.expect("message " + m)
		}
	}
	awake, _ := l.poller.Tables()
	require.Equal(t, len(pairs)+1, awake)
	for _, p := range pairs {
		p.peer.sendClose(1000, "")
		p.peer.frames()
		p.expectEnd(1000, nil)
	}
}

// A handler may be silent for as long as it likes.
func TestPark_NotWithinTheHandler(t *testing.T) {
	release := make(chan struct{})
	l := newLot(t, conn.Options{})
	l.handle = func(_ *parker, m string) {
		if m == "wait" {
			<-release
		}
	}
	busy, p := l.parked()
	p.send(fin|1, "wait")
	busy.expect("woken", "message wait")
	other, q := l.parked()
	for range 10 { // the Poller has looked at both
		q.send(fin|1, "go on")
		other.expect("woken", "message go on", "parked")
	}
	awake, places := l.poller.Tables()
	require.Equal(t, 1, awake)
	require.Equal(t, 2, places)
	require.Empty(t, busy.events)
	p.send(fin|1, "next")
	close(release)
	busy.expect("message next", "parked")
}
