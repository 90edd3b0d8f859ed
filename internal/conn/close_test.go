package conn_test

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

func send(t testing.TB, c *conn.Conn, msgs ...string) {
	t.Helper()
	for _, m := range msgs {
		require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte(m)), ""))
	}
}

func TestClose_Validates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, nil)
		read := startReading(c)
		for _, code := range []int{-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 1000 + 1<<16} {
			require.ErrorIs(t, c.Close(code, ""), conn.ErrCloseCode, "%d", code)
		}
		require.ErrorIs(t, c.Close(1000, strings.Repeat("x", 124)), conn.ErrCloseReason)
		require.ErrorIs(t, c.Close(1000, "\xff"), conn.ErrCloseReason)
		send(t, c, "still open")
		require.Equal(t, text("still open"), p.next())
		p.Close()
		requireEnd(t, read, 1006, "", io.ErrUnexpectedEOF)
	})
}

func TestClose_ByServer(t *testing.T) {
	for _, code := range []int{1000, 1003, 1007, 1014, 3000, 4999} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t, nil)
			read := startReading(c)
			send(t, c, "1", "2", "3")
			require.NoError(t, c.Close(code, strings.Repeat("r", 123)))
			require.NoError(t, c.Close(4000, "again"))
			require.ErrorIs(t, c.Send(conn.NewFrame(conn.Text, nil), ""), conn.ErrClosed)
			for _, m := range []string{"1", "2", "3"} {
				require.Equal(t, text(m), p.next())
			}
			require.Equal(t, closeFrame(code, strings.Repeat("r", 123)), p.next())
			p.send(fin|1, "too late to matter")
			p.send(fin|opPing, "no answer follows a close frame")
			p.sendClose(code, "")
			p.requireEOF()
			requireEnd(t, read, code, strings.Repeat("r", 123), nil)
			require.Empty(t, read.msgs)
			require.NoError(t, c.Close(1000, "long over"))
		})
	}
}

// Only peers that speak dog.v1 get the frame before the close frame, also those
// that have no room for a further message.
func TestLeave_SendsItsFrameLast(t *testing.T) {
	f, err := conn.NewFarewell(1001, "over", []byte("b"))
	require.NoError(t, err)
	_, err = conn.NewFarewell(1005, "", nil)
	require.ErrorIs(t, err, conn.ErrCloseCode)
	for _, marked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t, &conn.Options{Marked: marked, QueueBytes: 20})
			read := startReading(c)
			header := ""
			if marked {
				header = "m\n"
			}
			for _, s := range []string{"taken", "0123456789abcdef"} {
				require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte(s)), ""))
			}
			c.Leave(f)
			require.ErrorIs(t, c.Send(conn.NewFrame(conn.Text, nil), ""), conn.ErrClosed)
			want := []frame{text(header + "taken"), text(header + "0123456789abcdef")}
			if marked {
				want = append(want, text("b"))
			}
			for _, w := range append(want, closeFrame(1001, "over")) {
				require.Equal(t, w, p.next())
			}
			p.sendClose(1001, "")
			requireEnd(t, read, 1001, "over", nil)
		})
	}
}

func TestClose_ByPeer(t *testing.T) {
	for _, tc := range []struct {
		code            int
		reason, payload string
	}{
		{1000, "bye", closeFrame(1000, "bye").payload},
		{1001, "", closeFrame(1001, "").payload},
		{1002, "you broke it", closeFrame(1002, "you broke it").payload},
		{4321, strings.Repeat("é", 61), closeFrame(4321, strings.Repeat("é", 61)).payload},
		{1005, "", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t, nil)
			read := startReading(c)
			send(t, c, "taken")
			synctest.Wait()
			send(t, c, "queued", "queued too")
			p.send(fin|opClose, tc.payload)
			<-read.done
			require.ErrorIs(t, c.Send(conn.NewFrame(conn.Text, nil), ""), conn.ErrClosed)
			require.NoError(t, c.Close(1000, ""))
			want := []frame{text("taken"), text("queued"), text("queued too"), {opClose, tc.payload}}
			require.Equal(t, want, p.frames())
			requireEnd(t, read, tc.code, tc.reason, nil)
		})
	}
}

func TestClose_ByBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, nil)
		read := startReading(c)
		send(t, c, "taken")
		synctest.Wait()
		require.NoError(t, c.Close(4001, "ours"))
		p.sendClose(4002, "theirs")
		require.Equal(t, []frame{text("taken"), closeFrame(4001, "ours")}, p.frames())
		requireEnd(t, read, 4001, "ours", nil)
	})
}

func TestClose_WithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, &conn.Options{CloseTimeout: 2 * time.Second})
		read := startReading(c)
		start := time.Now()
		require.NoError(t, c.Close(1001, "going away"))
		require.Equal(t, []frame{closeFrame(1001, "going away")}, p.frames())
		requireEnd(t, read, 1001, "going away", os.ErrDeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}

// The time to close is one for all: a write that began before does not lengthen
// it.
func TestClose_OfPeerThatNeverReads(t *testing.T) {
	for _, first := range []string{"server", "peer"} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t, &conn.Options{CloseTimeout: 2 * time.Second, WriteTimeout: time.Minute})
			read := startReading(c)
			send(t, c, "stuck", "queued")
			synctest.Wait()
			start := time.Now()
			if first == "server" {
				require.NoError(t, c.Close(1000, ""))
				requireEnd(t, read, 1000, "", os.ErrDeadlineExceeded)
			} else {
				p.sendClose(1000, "")
				requireEnd(t, read, 1000, "", nil)
			}
			require.Equal(t, 2*time.Second, time.Since(start))
			p.requireEOF()
			require.Zero(t, c.Stats().QueuedBytes)
		})
	}
}

// The peer answers the close frame with nonsense.
func TestClose_ViolationWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, nil)
		read := startReading(c)
		require.NoError(t, c.Close(1000, "done"))
		require.Equal(t, closeFrame(1000, "done"), p.next())
		p.sendRaw([]byte{0, 0})
		p.Close()
		requireEnd(t, read, 1000, "done", conn.ErrProtocol)
	})
}

func TestClose_ThenPeerVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, nil)
		read := startReading(c)
		require.NoError(t, c.Close(1000, ""))
		p.next()
		p.Close()
		requireEnd(t, read, 1000, "", io.ErrUnexpectedEOF)
	})
}

func TestAbort(t *testing.T) {
	errMine := errors.New("mine")
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, nil)
		read := startReading(c)
		send(t, c, "stuck", "queued")
		synctest.Wait()
		c.Abort(errMine)
		c.Abort(errors.New("another"))
		p.requireEOF()
		requireEnd(t, read, 1006, "", errMine)
		require.ErrorIs(t, c.Send(conn.NewFrame(conn.Text, nil), ""), conn.ErrClosed)
		require.NoError(t, c.Close(1000, ""))
		require.Zero(t, c.Stats().QueuedBytes)
	})
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, nil)
		read := startReading(c)
		require.NoError(t, c.Close(1000, "first"))
		p.next()
		c.Abort(errMine)
		requireEnd(t, read, 1000, "first", errMine)
	})
}

// What had arrived before Abort goes too, be it a message or the peer's
// goodbye.
func TestAbort_DropsReadAheadData(t *testing.T) {
	for _, ahead := range [][]byte{masked(fin|1, "2"), masked(fin|opClose, closeFrame(1000, "bye").payload)} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t, nil)
			go p.Write(append(masked(fin|1, "1"), ahead...))
			_, data, err := c.Read()
			require.NoError(t, err)
			require.Equal(t, "1", string(data))
			c.Abort(nil)
			read := startReading(c)
			requireEnd(t, read, 1006, "", conn.ErrClosed)
			require.Empty(t, read.msgs)
		})
	}
}

// wrapper is a connection that knows how often it was closed, and shows what is
// underneath.
type wrapper struct {
	net.Conn
	closed *atomic.Int32
}

func (w wrapper) NetConn() net.Conn { return w.Conn }
func (w wrapper) Close() error {
	w.closed.Add(1)
	return w.Conn.Close()
}

// Listeners that limit, count, or speak the PROXY protocol rely on the Close of
// their connections.
func TestClose_ClosesAWrappedConnectionByItsClose(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(c *conn.Conn, p *peer)
		code int
	}{
		"peer closes":   {func(_ *conn.Conn, p *peer) { p.sendClose(1000, "") }, 1000},
		"server closes": {func(c *conn.Conn, p *peer) { c.Close(1001, ""); p.next(); p.sendClose(1001, "") }, 1001},
		"no answer":     {func(c *conn.Conn, _ *peer) { c.Close(1001, "") }, 1001},
		"violation":     {func(_ *conn.Conn, p *peer) { p.sendRaw([]byte{0, 0}) }, 1002},
		"end":           {func(_ *conn.Conn, p *peer) { p.Close() }, 1006},
		"half an end":   {func(_ *conn.Conn, p *peer) { p.Conn.(*net.TCPConn).CloseWrite() }, 1006},
		"reset":         {func(_ *conn.Conn, p *peer) { p.Conn.(*net.TCPConn).SetLinger(0); p.Close() }, 1006},
		"abort":         {func(c *conn.Conn, _ *peer) { c.Abort(nil) }, 1006},
		"aborts":        {func(c *conn.Conn, _ *peer) { c.Close(4000, ""); c.Abort(nil); c.Abort(nil) }, 4000},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := tcpPair(t)
			var closed atomic.Int32
			c, p := accept(t, wrapper{server, &closed}, client, &conn.Options{CloseTimeout: 100 * time.Millisecond})
			read := startReading(c)
			send(t, c, "before")
			require.Equal(t, text("before"), p.next())
			tc.end(c, p)
			require.Equal(t, tc.code, read.end(t).Code)
			require.EqualValues(t, 1, closed.Load())
			p.frames()
		})
	}
}

// What a wrapper does in its Close may take as long as the peer likes, over TLS
// for example; Abort must not wait.
func TestAbort_DoesNotWaitForAWrapper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		release := make(chan struct{})
		c, p := accept(t, slowToClose{server, release}, client, nil)
		read := startReading(c)
		c.Abort(nil)
		<-read.done
		over := false
		c.OnEnd(func() { over = true })
		synctest.Wait()
		require.False(t, over)
		close(release)
		p.requireEOF()
		requireEnd(t, read, 1006, "", conn.ErrClosed)
		require.True(t, over)
	})
}

type slowToClose struct {
	net.Conn
	release chan struct{}
}

func (s slowToClose) Close() error {
	<-s.release
	return s.Conn.Close()
}

// coder/websocket's finalizer would keep the connection, which refers to
// itself, in memory. A stopped timer of the connection may stay with the Go
// runtime for a moment longer, so the first collection need not do it.
func TestClose_EndedConnectionIsCollected(t *testing.T) {
	ended := func() weak.Pointer[conn.Conn] {
		c, p := pipe(t, nil)
		read := startReading(c)
		p.Close()
		require.Equal(t, 1006, read.end(t).Code)
		return weak.Make(c)
	}()
	require.Eventually(t, func() bool {
		runtime.GC()
		return ended.Value() == nil
	}, waitFor, tick)
}

// writeFails is a connection whose writes after the handshake fail although
// reading still works: the peer has gone, and its last words are still under
// way.
type writeFails struct {
	net.Conn
	after *atomic.Bool
}

var errWrite = errors.New("broken pipe")

func (w writeFails) Write(p []byte) (int, error) {
	if w.after.Load() {
		return 0, errWrite
	}
	return w.Conn.Write(p)
}

func TestClose_WriteFails(t *testing.T) {
	for name, tc := range map[string]struct {
		last  []byte // what the peer had sent before
		code  int
		cause error
		after time.Duration
	}{
		"peer had closed":    {masked(fin|opClose, closeFrame(1001, "tab closed").payload), 1001, nil, 0},
		"peer broke rules":   {[]byte{0, 0}, 1002, conn.ErrProtocol, 5 * time.Second},
		"peer sends nothing": {nil, 1006, errWrite, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := net.Pipe()
				var broken atomic.Bool
				c, p := accept(t, writeFails{server, &broken}, client, nil)
				broken.Store(true)
				send(t, c, "lost")
				synctest.Wait()
				require.ErrorIs(t, c.Send(conn.NewFrame(conn.Text, nil), ""), conn.ErrClosed)
				start := time.Now()
				read := startReading(c)
				if tc.last != nil {
					p.sendRaw(tc.last)
				}
				ce := read.end(t)
				require.Equal(t, tc.code, ce.Code)
				if tc.cause == nil {
					require.NoError(t, ce.Err)
				} else {
					require.ErrorIs(t, ce, tc.cause)
				}
				require.LessOrEqual(t, time.Since(start), tc.after)
				require.Zero(t, c.Stats().MessagesOut)
			})
		})
	}
}

func TestCloseError_Text(t *testing.T) {
	require.Equal(t, `conn: closed with 1000 "bye"`, (&conn.CloseError{Code: 1000, Reason: "bye"}).Error())
	require.Equal(t, "conn: closed with 1006: EOF", (&conn.CloseError{Code: 1006, Err: io.EOF}).Error())
}
