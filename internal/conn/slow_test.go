package conn_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// ten returns a payload whose frame has ten bytes.
func ten(i int) string { return fmt.Sprintf("%08d", i) }

// stuck accepts a connection with one frame in flight that the peer does not
// take.
func stuck(t testing.TB, o *conn.Options) (*conn.Conn, *peer, *reading) {
	c, p := pipe(t, o)
	read := startReading(c)
	send(t, c, ten(0))
	synctest.Wait()
	return c, p, read
}

// moment is the default of Options.Moment.
const moment = time.Second

// newSlow is stuck for long enough to be slow.
func newSlow(t testing.TB, o *conn.Options) (*conn.Conn, *peer, *reading) {
	c, p, read := stuck(t, o)
	time.Sleep(moment)
	return c, p, read
}

func TestSlow_Disconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, read := newSlow(t, &conn.Options{QueueBytes: 100})
		for i := 1; i < 10; i++ {
			send(t, c, ten(i))
		}
		require.Equal(t, 100, c.Stats().QueuedBytes)
		require.ErrorIs(t, c.Send(conn.NewFrame(conn.Binary, nil), ""), conn.ErrSlow)
		require.ErrorIs(t, c.Send(conn.NewFrame(conn.Binary, nil), ""), conn.ErrClosed)
		require.Equal(t, 10, c.Stats().QueuedBytes)
		require.Equal(t, text(ten(0)), p.next())
		require.Equal(t, closeFrame(1008, "slow consumer"), p.next())
		p.sendClose(1008, "")
		p.requireEOF()
		requireEnd(t, read, 1008, "slow consumer", conn.ErrSlow)
	})
}

func TestSlow_DisconnectPeerThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, read := newSlow(t, &conn.Options{QueueBytes: 10, CloseTimeout: 3 * time.Second})
		time.Sleep(time.Second)
		require.ErrorIs(t, c.Send(conn.NewFrame(conn.Binary, nil), ""), conn.ErrSlow)
		start := time.Now()
		requireEnd(t, read, 1008, "slow consumer", conn.ErrSlow)
		require.Equal(t, 3*time.Second, time.Since(start))
		p.requireEOF()
	})
}

func TestSlow_DisconnectMessageOverTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, &conn.Options{QueueBytes: 100})
		read := startReading(c)
		send(t, c, strings.Repeat("x", 98))
		require.Len(t, p.next().payload, 98)
		synctest.Wait()
		require.ErrorIs(t, c.Send(conn.NewFrame(conn.Text, make([]byte, 99)), ""), conn.ErrSlow)
		require.Equal(t, closeFrame(1008, "slow consumer"), p.next())
		p.sendClose(1008, "")
		requireEnd(t, read, 1008, "slow consumer", conn.ErrSlow)
	})
}

func TestSlow_DropOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, read := newSlow(t, &conn.Options{QueueBytes: 100, Slow: conn.DropOldest})
		for i := 1; i <= 20; i++ {
			send(t, c, ten(i))
			require.LessOrEqual(t, c.Stats().QueuedBytes, 100)
		}
		send(t, c, strings.Repeat("x", 99)) // fits in no case
		send(t, c, strings.Repeat("x", 89)) // does not fit beside what is in flight
		require.EqualValues(t, 13, c.Stats().Dropped)
		require.Equal(t, text(ten(0)), p.next())
		for i := 12; i <= 20; i++ {
			require.Equal(t, text(ten(i)), p.next())
		}
		synctest.Wait()
		require.EqualValues(t, 10, c.Stats().MessagesOut)
		p.sendClose(1000, "")
		p.next()
		requireEnd(t, read, 1000, "", nil)
	})
}

// The writer takes half of the bound at most, so what is newest finds room.
func TestSlow_DropOldestKeepsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, read := newSlow(t, &conn.Options{QueueBytes: 100, Slow: conn.DropOldest})
		for i := 1; i < 10; i++ {
			send(t, c, ten(i))
		}
		require.Equal(t, text(ten(0)), p.next())
		time.Sleep(moment) // the next five are in flight
		newest := strings.Repeat("n", 48)
		send(t, c, newest)
		require.EqualValues(t, 4, c.Stats().Dropped)
		for i := 1; i <= 5; i++ {
			require.Equal(t, text(ten(i)), p.next())
		}
		require.Equal(t, text(newest), p.next())
		p.sendClose(1000, "")
		p.next()
		requireEnd(t, read, 1000, "", nil)
	})
}

func TestSlow_Coalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, read := newSlow(t, &conn.Options{QueueBytes: 60, Slow: conn.Coalesce})
		keyed := func(i int, key string) error { return c.Send(conn.NewFrame(conn.Text, []byte(ten(i))), key) }
		require.NoError(t, keyed(1, "a"))
		require.NoError(t, keyed(2, ""))
		require.NoError(t, keyed(3, "b"))
		require.NoError(t, keyed(4, ""))
		require.NoError(t, keyed(5, "a"))
		require.NoError(t, keyed(6, "b"))
		require.NoError(t, keyed(7, "b"))
		require.Equal(t, 50, c.Stats().QueuedBytes)
		require.EqualValues(t, 3, c.Stats().Coalesced)
		for _, i := range []int{0, 2, 4, 5, 7} {
			require.Equal(t, text(ten(i)), p.next())
		}
		synctest.Wait()

		require.NoError(t, keyed(10, "a"))
		time.Sleep(moment) // in flight: can no longer be replaced
		for i := 11; i <= 15; i++ {
			require.NoError(t, keyed(i, fmt.Sprint(i)))
		}
		require.NoError(t, keyed(16, "11"))
		require.ErrorIs(t, keyed(17, "a"), conn.ErrSlow)
		require.Equal(t, text(ten(10)), p.next())
		require.Equal(t, closeFrame(1008, "slow consumer"), p.next())
		p.sendClose(1008, "")
		requireEnd(t, read, 1008, "slow consumer", conn.ErrSlow)
	})
}

// Under the other policies a key means nothing.
func TestSlow_KeyWithoutCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, read := stuck(t, &conn.Options{Slow: conn.DropOldest})
		for i := 1; i < 4; i++ {
			require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte(ten(i))), "key"))
		}
		for i := range 4 {
			require.Equal(t, text(ten(i)), p.next())
		}
		p.sendClose(1000, "")
		p.next()
		requireEnd(t, read, 1000, "", nil)
	})
}

func TestSlow_WriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c, p, read := stuck(t, &conn.Options{WriteTimeout: 4 * time.Second})
		requireEnd(t, read, 1006, "", conn.ErrSlow)
		require.ErrorIs(t, read.err, os.ErrDeadlineExceeded)
		require.Equal(t, 4*time.Second, time.Since(start))
		require.Zero(t, c.Stats().QueuedBytes)
		p.requireEOF()
	})
}

// Slow is not stuck: a peer that reads a byte in time stays connected, also in
// the middle of a frame.
func TestSlow_WriteProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, read := stuck(t, &conn.Options{WriteTimeout: 4 * time.Second, QueueBytes: 1 << 20})
		send(t, c, strings.Repeat("x", 200_000))
		send(t, c, "end")
		var got []byte
		one := make([]byte, 1)
		for range 50 {
			time.Sleep(3 * time.Second)
			n, err := p.Read(one)
			require.NoError(t, err)
			got = append(got, one[:n]...)
		}
		require.Equal(t, "\x81\x08"+ten(0), string(got[:10]))
		p.br.Reset(p.Conn)
		rest := make([]byte, 200_010-len(got[10:]))
		for n := 0; n < len(rest); {
			k, err := p.Read(rest[n:])
			require.NoError(t, err)
			n += k
		}
		require.Equal(t, text("end"), p.next())
		p.sendClose(1000, "")
		p.next()
		requireEnd(t, read, 1000, "", nil)
	})
}

func TestSlow_ControlFramesOvertakeData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, read := stuck(t, nil)
		send(t, c, "queued", "queued too")
		p.send(fin|opPing, "hello")
		synctest.Wait()
		require.Equal(t, text(ten(0)), p.next())
		require.Equal(t, frame{opPong, "hello"}, p.next())
		require.Equal(t, text("queued"), p.next())
		require.Equal(t, text("queued too"), p.next())
		p.sendClose(1000, "")
		p.next()
		requireEnd(t, read, 1000, "", nil)
	})
}

// Pings that nobody waits for: only the last pong is kept.
func TestSlow_PingFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, read := stuck(t, &conn.Options{QueueBytes: 20})
		for i := range 10_000 {
			p.send(fin|opPing, fmt.Sprint(i))
		}
		send(t, c, ten(1)) // pongs take no room
		synctest.Wait()
		require.Equal(t, text(ten(0)), p.next())
		require.Equal(t, frame{opPong, "9999"}, p.next())
		require.Equal(t, text(ten(1)), p.next())
		p.sendClose(1000, "")
		require.Equal(t, []frame{closeFrame(1000, "")}, p.frames())
		requireEnd(t, read, 1000, "", nil)
	})
}
