package conn_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// listening is a connection that has been accepted and not started, and what
// its client gets.
func listening(t *testing.T, o *conn.Options) (c *conn.Conn, p *peer, got *bool) {
	t.Helper()
	server, client := net.Pipe()
	c, err := conn.Accept(hijackWriter{httptest.NewRecorder(), server}, upgradeRequest(), o)
	require.NoError(t, err)
	p = &peer{Conn: client, t: t, br: bufio.NewReader(client)}
	got = new(bool)
	go func() {
		_, err := p.br.Peek(1)
		*got = err == nil
	}()
	return c, p, got
}

func TestStart_NothingIsSentBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &conn.Options{CloseTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second}
		c, p, got := listening(t, o)
		set := &conn.Set{Writers: conn.NewWriters(func(f func()) { go f() })}
		require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte("a")), ""))
		set.Add(c)
		set.Send(conn.NewFrame(conn.Text, []byte("b")), "", conn.Except{})
		require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte("c")), ""))
		time.Sleep(time.Minute)
		require.NoError(t, c.Close(4000, "banned"))
		require.ErrorIs(t, c.Send(conn.NewFrame(conn.Text, []byte("d")), ""), conn.ErrClosed)
		require.True(t, c.Over())
		time.Sleep(time.Minute) // CloseTimeout has not begun
		require.False(t, *got)

		c.Start()
		read := startReading(c)
		synctest.Wait()
		require.True(t, *got)
		answer, err := http.ReadResponse(p.br, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
		for _, want := range []frame{text("a"), text("b"), text("c"), closeFrame(4000, "banned")} {
			require.Equal(t, want, p.next())
		}
		started := time.Now()
		c.Wait()
		require.Equal(t, 3*time.Second, time.Since(started), "the client does not answer")
		require.Equal(t, 4000, read.end(t).Code)
	})
}

func TestStart_AbortBeforeItSendsNothing(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, p, got := listening(t, nil)
			require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte("a")), ""))
			if closed {
				require.NoError(t, c.Close(4000, ""))
			}
			gone := errors.New("gone")
			c.Abort(gone)
			read := startReading(c)
			if end := read.end(t); !closed {
				require.ErrorIs(t, end, gone)
			}
			c.Wait()
			synctest.Wait()
			require.False(t, *got)
			_ = p.Close()
		})
	}
}
