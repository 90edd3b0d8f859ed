package conn_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

func TestRead_FragmentsAndControlFrames(t *testing.T) {
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

func TestRead_MessagesStayValid(t *testing.T) {
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

func TestRead_Violations(t *testing.T) {
	tooBig := closeFrame(1009, "message too big")
	protocol := closeFrame(1002, "protocol error")
	invalid := closeFrame(1007, "invalid UTF-8")
	unmasked := []byte{fin | 1, 1, 'x'}
	for name, tc := range map[string]struct {
		sent  []byte
		close frame
		cause error
	}{
		"over the limit": {masked(fin|2, strings.Repeat("x", 1001)), tooBig, conn.ErrTooBig},
		"fragments over the limit": {
			append(masked(2, strings.Repeat("x", 600)), masked(opContinuation, strings.Repeat("x", 600))...), tooBig,
			conn.ErrTooBig,
		},
		"huge length": {
			append([]byte{fin | 2, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 2000)...), tooBig,
			conn.ErrTooBig,
		},
		"negative length": {
			[]byte{fin | 2, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, protocol, conn.ErrProtocol,
		},
		"not UTF-8": {masked(fin|1, "a\xff"), invalid, conn.ErrInvalidUTF8},
		"split rune missing": {
			append(masked(1, "\xe2\x82"), masked(fin|opContinuation, "x")...), invalid, conn.ErrInvalidUTF8,
		},
		"close reason not UTF-8": {masked(fin|opClose, closeFrame(1000, "\xff").payload), invalid, conn.ErrInvalidUTF8},
		"unmasked":               {unmasked, protocol, conn.ErrProtocol},
		"reserved bit":           {masked(fin|0x40|1, "x"), protocol, conn.ErrProtocol},
		"opcode":                 {masked(fin|3, "x"), protocol, conn.ErrProtocol},
		"fragmented ping":        {masked(opPing, "x"), protocol, conn.ErrProtocol},
		"long ping":              {masked(fin|opPing, strings.Repeat("x", 126)), protocol, conn.ErrProtocol},
		"stray continuation":     {masked(fin|opContinuation, "x"), protocol, conn.ErrProtocol},
		"message in a message":   {append(masked(1, "x"), masked(fin|1, "x")...), protocol, conn.ErrProtocol},
		"close of one byte":      {masked(fin|opClose, "x"), protocol, conn.ErrProtocol},
		"close code":             {masked(fin|opClose, closeFrame(1006, "").payload), protocol, conn.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := pipe(t, &conn.Options{MaxMessage: 1000})
				read := startReading(c)
				c.Send(conn.NewFrame(conn.Text, []byte("taken")), "")
				synctest.Wait()
				c.Send(conn.NewFrame(conn.Text, []byte("queued")), "")
				go func() {
					p.Write(tc.sent)
					p.Write(masked(fin|1, strings.Repeat("more", 1000)))
				}()
				<-read.done
				require.Equal(t, text("taken"), p.next())
				require.Equal(t, text("queued"), p.next())
				require.Equal(t, tc.close, p.next())
				p.Close()
				requireEnd(
					t, read, int(tc.close.payload[0])<<8|int(tc.close.payload[1]), tc.close.payload[2:], tc.cause,
				)
				require.Empty(t, read.msgs)
				require.ErrorIs(t, c.Send(conn.NewFrame(conn.Text, nil), ""), conn.ErrClosed)
			})
		})
	}
}

func TestRead_AtTheLimit(t *testing.T) {
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
func TestRead_PeerVanishes(t *testing.T) {
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
func TestRead_FrameThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHeart(t, interval)
		c, p := pipe(t, nil)
		h.Add(c)
		read := startReading(c)
		p.sendRaw(masked(fin|opPing, "never complete")[:10])
		go p.frames()
		requireEnd(t, read, 1006, "", conn.ErrPingTimeout)
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

func TestAutoResponse_Off(t *testing.T) {
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

func TestStats_CountBytesOfFrames(t *testing.T) {
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

// readByCoder is what coder/websocket makes of a stream: the messages, and the
// close code that sums up how it ended. Where it is laxer than we are, the code
// is ours: it does not check that texts and close reasons are UTF-8.
func readByCoder(t *testing.T, stream []byte, limit int64) (msgs []string, code int) {
	nc := &tape{in: &pieces{stream, len(stream)}}
	ws, err := websocket.Accept(hijackWriter{httptest.NewRecorder(), nc}, upgradeRequest(), nil)
	require.NoError(t, err)
	defer ws.CloseNow()
	ws.SetReadLimit(limit)
	for {
		typ, data, err := ws.Read(t.Context())
		var peer websocket.CloseError
		switch {
		case err == nil && typ == websocket.MessageText && !utf8.Valid(data):
			return msgs, 1007
		case err == nil:
			msgs = append(msgs, string(data))
		case errors.As(err, &peer) && !utf8.ValidString(peer.Reason):
			return msgs, 1007
		case errors.As(err, &peer):
			return msgs, int(peer.Code)
		case errors.Is(err, websocket.ErrMessageTooBig):
			return msgs, 1009
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return msgs, 1006
		default:
			return msgs, 1002 // a frame without a mask and a negative length it hangs up on without a close frame
		}
	}
}

// FuzzReadLikeCoder reads arbitrary bytes here and with coder/websocket: the
// messages and the verdict must be the same, and must not depend on the pieces
// in which they arrive.
func FuzzReadLikeCoder(f *testing.F) {
	const limit = 64
	add := func(frames ...[]byte) { f.Add(bytes.Join(frames, nil), byte(7)) }
	add()
	add([]byte("no frames"))
	add(masked(fin|1, "hello"), masked(fin|2, "\xff"), masked(fin|opPing, "p"), masked(fin|opPong, ""))
	add(
		masked(1, "a\xe2\x82"), masked(fin|opPing, "between"), masked(0, ""), masked(fin|opContinuation, "\xac"),
		masked(fin|1, "more"),
	)
	add(masked(1, "a\xe2\x82"), masked(fin|opContinuation, "x"))
	for _, n := range []int{limit - 1, limit, limit + 1, 125, 126, 0xFFFF, 0x10000} {
		long := strings.Repeat("x", n)
		add(masked(fin|2, long), masked(fin|1, "after"))
		add(
			masked(2, long[:n/2]), masked(fin|opPing, "p"), masked(fin|opContinuation, long[n/2:]),
			masked(fin|1, "after"),
		)
		add(masked(fin|opPing, long), masked(fin|opPong, long), masked(fin|1, "after"))
	}
	for code := range 5100 {
		if code < 20 || code > 995 && code < 1020 || code%1000 < 2 || code%1000 > 998 {
			add(masked(fin|1, "before"), masked(fin|opClose, closeFrame(code, "why").payload), masked(fin|1, "after"))
		}
	}
	add(masked(fin|opClose, ""))
	add(masked(fin|opClose, "\x03"))
	add(masked(fin|opClose, closeFrame(1000, "\xff").payload))
	add(masked(fin|opClose, closeFrame(1000, strings.Repeat("r", 123)).payload))
	for head := range 0x100 {
		add(masked(byte(head), "x"), masked(fin|1, "after"))
		add(masked(1, "begun"), masked(byte(head), "x"), masked(fin|opContinuation, "after"))
		add([]byte{fin | 1, byte(head), 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	}
	add([]byte{fin | 2, 0xFE, 0, 1, 1, 2, 3, 4, 'x'}) // a length longer than need be
	add([]byte{fin | 2, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 'x'})
	add([]byte{fin | 2, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4})
	add([]byte{fin | 2, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4})
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 { // mostly legal
		var stream []byte
		begun := false
		for range 1 + rnd.IntN(6) {
			head := byte(1 + rnd.IntN(2))
			switch k := rnd.IntN(10); {
			case k == 0:
				head = byte(rnd.IntN(0x100))
			case k < 3:
				head = fin | opPing + byte(rnd.IntN(2))
			case begun:
				head = 0
				fallthrough
			default:
				begun = rnd.IntN(2) == 0
				if !begun {
					head |= fin
				}
			}
			payload := strings.Repeat("x€", rnd.IntN(8))
			payload = payload[:max(len(payload)-rnd.IntN(8)/7, 0)]
			stream = append(stream, masked(head, payload)...)
		}
		f.Add(stream[:len(stream)-rnd.IntN(2)], byte(rnd.IntN(20)))
	}

	f.Fuzz(func(t *testing.T, stream []byte, piece byte) {
		o := &conn.Options{MaxMessage: limit}
		// Zeros complete every frame that is not too long, and are no frame
		// themselves, so every input gets a verdict.
		whole := append(bytes.Clone(stream), make([]byte, 200)...)
		want, code := readByCoder(t, whole, limit)
		require.NotEqual(t, 1006, code)
		for _, size := range []int{len(whole), 1, 1 + int(piece)} {
			msgs, end, _ := play(t, whole, size, upgradeRequest(), o)
			require.Equal(t, want, msgs)
			require.Equal(t, code, end.Code, "%v", end)
		}

		// Without them the stream ends early, unless the verdict was clear
		// before. There a message that has begun may then be taken for whole.
		msgs, end, _ := play(t, stream, 1+int(piece), upgradeRequest(), o)
		if end.Code == 1006 {
			require.LessOrEqual(t, len(msgs), len(want))
			want = want[:len(msgs)]
		} else {
			require.Equal(t, code, end.Code, "%v", end)
		}
		require.True(t, slices.Equal(want, msgs), "%q, not %q", msgs, want)
	})
}
