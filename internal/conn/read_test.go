package conn_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

func TestReadFragmentsAndControlFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, nil)
		read := startReading(c)
		p.send(1, "one ")
		p.send(fin|opPing, "between")
		require.Equal(t, frame{opPong, "between"}, p.next())
		p.send(opContinuation, "mess")
		p.send(fin|opPong, "unasked for")
		p.send(opContinuation, "")
		p.send(fin|opContinuation, "age")
		p.send(fin|2, "")
		p.send(fin|opPing, "")
		require.Equal(t, frame{opPong, ""}, p.next())
		p.sendClose(1000, "")
		p.next()
		requireEnd(t, read, 1000, "", nil)
		require.Equal(t, []string{"one message", ""}, read.msgs)
	})
}

func TestReadMessagesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, nil)
		go func() {
			p.send(fin|1, strings.Repeat("a", 5000))
			p.send(fin|2, strings.Repeat("b", 5000))
			p.Close()
		}()
		op, a, err := c.Read()
		require.NoError(t, err)
		require.Equal(t, conn.Text, op)
		op, b, err := c.Read()
		require.NoError(t, err)
		require.Equal(t, conn.Binary, op)
		require.Equal(t, strings.Repeat("a", 5000), string(a))
		require.Equal(t, strings.Repeat("b", 5000), string(b))
		requireEnd(t, startReading(c), 1006, "", io.ErrUnexpectedEOF)
	})
}

func TestReadViolations(t *testing.T) {
	tooBig := closeFrame(1009, "message too big")
	protocol := closeFrame(1002, "protocol error")
	invalid := closeFrame(1007, "invalid UTF-8")
	unmasked := []byte{fin | 1, 1, 'x'}
	for name, tc := range map[string]struct {
		sent  []byte
		close frame
		cause error
	}{
		"over the limit":           {masked(fin|2, strings.Repeat("x", 1001)), tooBig, conn.ErrTooBig},
		"fragments over the limit": {append(masked(2, strings.Repeat("x", 600)), masked(opContinuation, strings.Repeat("x", 600))...), tooBig, conn.ErrTooBig},
		"huge length":              {append([]byte{fin | 2, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 2000)...), tooBig, conn.ErrTooBig},
		"negative length":          {[]byte{fin | 2, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, protocol, conn.ErrProtocol},
		"not UTF-8":                {masked(fin|1, "a\xff"), invalid, conn.ErrInvalidUTF8},
		"split rune missing":       {append(masked(1, "\xe2\x82"), masked(fin|opContinuation, "x")...), invalid, conn.ErrInvalidUTF8},
		"close reason not UTF-8":   {masked(fin|opClose, closeFrame(1000, "\xff").payload), invalid, conn.ErrInvalidUTF8},
		"unmasked":                 {unmasked, protocol, conn.ErrProtocol},
		"reserved bit":             {masked(fin|0x40|1, "x"), protocol, conn.ErrProtocol},
		"opcode":                   {masked(fin|3, "x"), protocol, conn.ErrProtocol},
		"fragmented ping":          {masked(opPing, "x"), protocol, conn.ErrProtocol},
		"long ping":                {masked(fin|opPing, strings.Repeat("x", 126)), protocol, conn.ErrProtocol},
		"stray continuation":       {masked(fin|opContinuation, "x"), protocol, conn.ErrProtocol},
		"message in a message":     {append(masked(1, "x"), masked(fin|1, "x")...), protocol, conn.ErrProtocol},
		"close of one byte":        {masked(fin|opClose, "x"), protocol, conn.ErrProtocol},
		"close code":               {masked(fin|opClose, closeFrame(1006, "").payload), protocol, conn.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := pipe(t, &conn.Options{MaxMessage: 1000})
				read := startReading(c)
				// What waits is dropped, except what the writer has taken.
				c.Send(conn.NewFrame(conn.Text, []byte("taken")), "")
				synctest.Wait()
				c.Send(conn.NewFrame(conn.Text, []byte("dropped")), "")
				go func() {
					p.Write(tc.sent)
					p.Write(masked(fin|1, strings.Repeat("more", 1000)))
				}()
				<-read.done
				require.Equal(t, text("taken"), p.next())
				require.Equal(t, tc.close, p.next())
				p.Close()
				requireEnd(t, read, int(tc.close.payload[0])<<8|int(tc.close.payload[1]), tc.close.payload[2:], tc.cause)
				require.Empty(t, read.msgs)
				require.ErrorIs(t, c.Send(conn.NewFrame(conn.Text, nil), ""), conn.ErrClosed)
			})
		})
	}
}

func TestReadAtTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, &conn.Options{MaxMessage: 1000})
		read := startReading(c)
		p.send(fin|2, strings.Repeat("x", 1000))
		p.send(2, strings.Repeat("x", 500))
		p.send(fin|opContinuation, strings.Repeat("x", 500))
		p.sendClose(1000, "")
		p.next()
		requireEnd(t, read, 1000, "", nil)
		require.Len(t, read.msgs, 2)
	})
}

// Wherever the peer vanishes, a part of a message is never taken for the whole.
func TestPeerVanishes(t *testing.T) {
	stream := append(masked(1, "frag"), masked(fin|opContinuation, "ment")...)
	stream = append(stream, masked(fin|opPing, "ping")...)
	stream = append(stream, masked(fin|2, strings.Repeat("x", 300))...)
	for cut := range len(stream) {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t, nil)
			read := startReading(c)
			p.sendRaw(stream[:cut])
			p.Close()
			ce := read.end(t)
			require.Equal(t, 1006, ce.Code)
			require.Error(t, ce.Err) // of reading, or of writing the pong
			if cut < 20 {
				require.Empty(t, read.msgs)
			} else {
				require.Equal(t, []string{"fragment"}, read.msgs)
			}
		})
	}
}

// A frame that never ends is silence like any other.
func TestFrameThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHeart(t, interval)
		c, p := pipe(t, nil)
		h.Add(c)
		read := startReading(c)
		p.sendRaw(masked(fin|opPing, "never complete")[:10])
		go p.frames()
		requireEnd(t, read, 1006, "", conn.ErrHeartbeat)
		h.Remove(c)
	})
}

func TestAutoResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, &conn.Options{AutoRequest: "ping", AutoReply: "pong"})
		read := startReading(c)
		require.True(t, c.LastAuto().IsZero())
		time.Sleep(time.Hour)
		p.send(fin|1, "ping")
		require.Equal(t, text("pong"), p.next())
		require.True(t, c.LastAuto().Equal(time.Now()))
		p.send(fin|2, "ping")
		p.send(fin|1, "ping ")
		p.sendClose(1000, "")
		p.next()
		requireEnd(t, read, 1000, "", nil)
		require.Equal(t, []string{"ping", "ping "}, read.msgs)
		require.EqualValues(t, 3, c.Stats().MessagesIn)
	})
}

func TestAutoResponseOff(t *testing.T) {
	for _, o := range []conn.Options{{AutoReply: "pong"}, {AutoRequest: "ping"}} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t, &o)
			read := startReading(c)
			p.send(fin|1, "")
			p.send(fin|1, "ping")
			p.sendClose(1000, "")
			p.next()
			requireEnd(t, read, 1000, "", nil)
			require.Equal(t, []string{"", "ping"}, read.msgs)
		})
	}
}

func TestStatsCountBytesOfFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t, nil)
		read := startReading(c)
		p.send(fin|1, "12345678") // 2 + 4 + 8
		require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte("abc")), ""))
		synctest.Wait()
		require.Equal(t, conn.Stats{QueuedBytes: 5, MessagesIn: 1, BytesIn: 14}, c.Stats())
		p.next()
		synctest.Wait()
		require.Equal(t, conn.Stats{MessagesIn: 1, MessagesOut: 1, BytesIn: 14, BytesOut: 5}, c.Stats())
		p.Close()
		requireEnd(t, read, 1006, "", io.ErrUnexpectedEOF)
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("no frames"))
	f.Add(masked(fin|1, "hello"))
	f.Add(append(masked(1, "hel"), masked(fin|opContinuation, "lo")...))
	f.Add(append(masked(fin|opPing, "p"), masked(fin|opClose, closeFrame(1000, "bye").payload)...))
	f.Add(masked(fin|opClose, closeFrame(1005, "").payload))
	f.Add([]byte{fin | 2, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, stream []byte) {
		c, p := pipe(t, &conn.Options{MaxMessage: 64})
		read := startReading(c)
		got := make(chan []frame, 1)
		go func() { got <- p.frames() }()
		p.Write(stream)
		p.Close()
		ce := read.end(t)
		frames := <-got
		for i, fr := range frames {
			if fr.op == opPong {
				continue
			}
			require.EqualValues(t, opClose, fr.op)
			require.Len(t, frames, i+1, "nothing follows a close frame")
			if ce.Code == 1005 {
				require.Empty(t, fr.payload)
			} else {
				require.Equal(t, closeFrame(ce.Code, ce.Reason), fr)
			}
		}
		for _, m := range read.msgs {
			require.LessOrEqual(t, len(m), 64)
		}
	})
}
