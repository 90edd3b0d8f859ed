package conn_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/conn"
)

const rsv1 = 0x40

var compressing = &conn.Options{Compression: true}

func offer(extensions string) *http.Request {
	return upgradeRequest("Sec-WebSocket-Extensions", extensions)
}

// deflatePipe is pipe with compression.
func deflatePipe(t testing.TB, o *conn.Options) (*conn.Conn, *peer) {
	server, client := net.Pipe()
	return acceptRequest(t, server, client, offer("permessage-deflate"), o)
}

// deflated is a message as permessage-deflate sends it.
func deflated(t require.TestingT, message string, level int) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	require.NoError(t, err)
	_, err = w.Write([]byte(message))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// inflated is what a client makes of the payload of a compressed frame.
func inflated(t require.TestingT, payload string) string {
	message, err := io.ReadAll(flate.NewReader(strings.NewReader(payload + "\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	require.NoError(t, err)
	return string(message)
}

// noise does not shrink.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

func TestDeflateNegotiation(t *testing.T) {
	const agreed = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	for offered, want := range map[string]string{
		"":                   "",
		"permessage-deflate": agreed,
		"permessage-deflate; client_max_window_bits":                               agreed, // Chrome, Firefox
		"permessage-deflate; client_max_window_bits=10":                            agreed,
		"permessage-deflate; server_max_window_bits=15":                            agreed + "; server_max_window_bits=15",
		`permessage-deflate; server_max_window_bits="15"`:                          agreed + "; server_max_window_bits=15",
		`permessage-deflate; server_max_window_bits="1\5"; client_max_window_bits`: agreed + "; server_max_window_bits=15",
		"permessage-deflate ; client_max_window_bits = 15":                         agreed,
		`permessage-deflate; client_max_window_bits="8"`:                           agreed,
		`x; y="a, permessage-deflate", permessage-deflate`:                         agreed,
		`x; y="a, permessage-deflate; client_max_window_bits"`:                     "",
		`x; y="a\", permessage-deflate", permessage-deflate;`:                      "",
		"permessage-deflate; client_max_window_bits=7":                             "",
		"permessage-deflate; client_max_window_bits=16":                            "",
		"permessage-deflate; client_max_window_bits=08":                            "",
		"permessage-deflate; client_max_window_bits=+9":                            "",
		"permessage-deflate; client_max_window_bits=":                              "",
		"permessage-deflate; server_max_window_bits":                               "",
		"permessage-deflate; server_max_window_bits=16":                            "",
		"permessage-deflate; server_max_window_bits=015":                           "",
		"permessage-deflate; server_no_context_takeover=1":                         "",
		"permessage-deflate; client_no_context_takeover=true":                      "",
		"permessage-deflate; client_max_window_bits; client_max_window_bits=10":    "",
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover, permessage-deflate; server_max_window_bits=15": agreed +
			"; server_max_window_bits=15",
		"permessage-deflate; client_max_window_bits=7, permessage-deflate": agreed,
		", ,permessage-deflate":                                                  agreed,
		"permessage-deflate;server_no_context_takeover":                          agreed,
		"permessage-deflate; client_no_context_takeover":                         agreed,
		"permessage-deflate; server_max_window_bits=10":                          "", // a promise that compress/flate cannot keep
		"permessage-deflate; server_max_window_bits=10, permessage-deflate":      agreed,
		"permessage-deflate; server_max_window_bits=10, x-webkit-deflate-frame":  "",
		"permessage-bzip2, permessage-deflate":                                   agreed,
		"permessage-deflate; unheard_of":                                         "",
		"permessage-deflate; unheard_of, permessage-deflate, permessage-deflate": agreed,
		"x-webkit-deflate-frame":                                                 "",
	} {
		for _, on := range []bool{true, false} {
			stream := masked(fin|rsv1|1, deflated(t, "compressed", flate.BestSpeed))
			msgs, end, nc := play(t, stream, len(stream), offer(offered), &conn.Options{Compression: on})
			answer, err := http.ReadResponse(bufio.NewReader(&nc.out), nil)
			require.NoError(t, err)
			extensions := answer.Header.Values("Sec-WebSocket-Extensions")
			if on && want != "" {
				require.Equal(t, []string{want}, extensions, offered)
				require.Equal(t, []string{"compressed"}, msgs)
				require.Equal(t, 1006, end.Code)
			} else {
				require.Empty(t, extensions, offered)
				require.Empty(t, msgs)
				require.Equal(t, 1002, end.Code)
			}
		}
	}
}

// echoServer sends every message back, and hands over the statistics of each connection when it has ended.
func echoServer(t *testing.T, o *conn.Options) (url string, stats chan conn.Stats) {
	stats = make(chan conn.Stats, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := conn.Accept(w, r, o)
		if err != nil {
			t.Error(err)
			return
		}
		c.Start()
		for {
			op, data, err := c.Read()
			if err != nil {
				break
			}
			_ = c.Send(conn.NewFrame(op, data), "") // a failure ends the next read
		}
		c.Wait()
		stats <- c.Stats()
	}))
	t.Cleanup(s.Close)
	return s.URL, stats
}

func TestDeflateWithCoder(t *testing.T) {
	const limit = 70_000
	url, stats := echoServer(t, &conn.Options{Compression: true, MaxMessage: limit})
	for _, mode := range []websocket.CompressionMode{
		websocket.CompressionDisabled, websocket.CompressionNoContextTakeover, websocket.CompressionContextTakeover,
	} {
		ws, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{CompressionMode: mode})
		require.NoError(t, err)
		ws.SetReadLimit(limit)
		var bytes uint64
		for _, n := range []int{0, 1, 127, 128, 511, 512, 513, 5000, 0xFFFF, 0x10000, limit} {
			for _, message := range []string{strings.Repeat("z", n), strings.Repeat("é€", n/5), noise(n)} {
				for range 2 { // the second like the first: with context takeover it would refer to it
					typ := websocket.MessageText
					if message == noise(n) {
						typ = websocket.MessageBinary
					}
					require.NoError(t, ws.Write(t.Context(), typ, []byte(message)))
					op, data, err := ws.Read(t.Context())
					require.NoError(t, err)
					require.Equal(t, typ, op)
					require.True(t, message == string(data), "%d bytes", n)
					bytes += uint64(n)
				}
			}
		}
		require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
		got := <-stats
		if mode == websocket.CompressionDisabled {
			require.Greater(t, got.BytesIn, bytes*9/10)
			require.Greater(t, got.BytesOut, bytes*9/10)
		} else { // what shrinks are two thirds
			require.Less(t, got.BytesIn, bytes/2)
			require.Less(t, got.BytesOut, bytes/2)
		}
	}
}

// What would not become shorter goes plain, and control frames always.
func TestDeflateOnlyWhatShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := deflatePipe(t, compressing)
		read := startReading(c)
		for message, head := range map[string]byte{
			"":                            fin | 1,
			strings.Repeat("z", 511):      fin | 1,
			strings.Repeat("z", 512):      fin | rsv1 | 1,
			noise(512):                    fin | 1,
			noise(100_000):                fin | 1,
			strings.Repeat("long", 50000): fin | rsv1 | 1,
		} {
			f := conn.NewFrame(conn.Text, []byte(message))
			require.NoError(t, c.Send(f, ""))
			got, err := p.readAny()
			require.NoError(t, err)
			require.Equal(t, head, got.op, "%d bytes", len(message))
			if head&rsv1 != 0 {
				require.Less(t, len(got.payload), len(message))
				got.payload = inflated(t, got.payload)
			}
			require.True(t, message == got.payload)
			require.Greater(t, f.Len(), len(message), "what counts for the queue does not depend on the peer")
		}
		p.send(fin|opPing, strings.Repeat("p", 125))
		require.Equal(t, frame{opPong, strings.Repeat("p", 125)}, p.next())
		p.sendClose(1000, strings.Repeat("r", 123))
		require.Equal(t, closeFrame(1000, strings.Repeat("r", 123)), p.next())
		requireEnd(t, read, 1000, strings.Repeat("r", 123), nil)
	})
}

// One frame serves connections with and without compression, by whatever way it reaches them.
func TestDeflateSharedFrames(t *testing.T) {
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		s := conn.Set{Writers: conn.NewWriters(nil)}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := conn.Accept(w, r, compressing)
			if err != nil {
				t.Error(err)
				return
			}
			c.Start()
			s.Add(c)
			startReading(c).end(t)
			s.Remove(c)
		}))
		defer server.Close()
		var plain, packing []*peer
		var reads []*reading
		for range 3 {
			c, p := dial(nil)
			s.Add(c)
			plain, reads = append(plain, p), append(reads, startReading(c))

			nc, err := net.Dial("tcp", server.Listener.Addr().String())
			require.NoError(t, err)
			p = &peer{Conn: nc, t: t, br: bufio.NewReader(nc)}
			require.NoError(t, offer("permessage-deflate").Write(p))
			_, err = http.ReadResponse(p.br, nil)
			require.NoError(t, err)
			packing = append(packing, p)
		}
		require.Eventually(t, func() bool { return s.Len() == 6 }, waitFor, tick)

		long := strings.Repeat("to everybody ", 1000)
		messages := []string{"short", long, noise(1000), long}
		for _, m := range messages { // sent together, some go as one run
			s.Send(conn.NewFrame(conn.Binary, []byte(m)), "", conn.Except{})
		}
		shared := conn.NewFrame(conn.Binary, []byte(long))
		for c := range s.Each() {
			require.NoError(t, c.Send(shared, ""))
		}
		messages = append(messages, long)
		for _, p := range plain {
			for _, m := range messages {
				require.Equal(t, frame{2, m}, p.next())
			}
		}
		for i, m := range messages {
			var first frame
			for j, p := range packing {
				f, err := p.readAny()
				require.NoError(t, err)
				if m == long {
					require.EqualValues(t, fin|rsv1|2, f.op)
					require.Equal(t, m, inflated(t, f.payload))
				} else {
					require.Equal(t, frame{fin | 2, m}, f, i)
				}
				if j == 0 {
					first = f
				}
				require.Equal(t, first, f)
			}
		}
		for i, p := range append(plain, packing...) {
			p.Close()
			if i < len(reads) {
				reads[i].end(t)
				s.Remove(reads[i].c)
			}
		}
		require.Eventually(t, func() bool { return s.Len() == 0 }, waitFor, tick)
	})
}

// What RFC 7692 gives as examples, section 7.2.3.
func TestDeflateExamplesOfTheRFC(t *testing.T) {
	for name, tc := range map[string]struct {
		wire, want string
	}{
		"one block":     {"\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		"stored":        {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"},
		"a final block": {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"},
		"two blocks":    {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"},
		"empty message": {"\x00", ""},
	} {
		t.Run(name, func(t *testing.T) {
			whole := masked(fin|rsv1|1, tc.wire)
			for cut := range tc.wire {
				stream := append(masked(rsv1|1, tc.wire[:cut]), masked(fin|opPing, "")...)
				stream = append(append(stream, masked(fin|opContinuation, tc.wire[cut:])...), whole...)
				msgs, end, _ := play(t, stream, 1+cut, offer("permessage-deflate"), compressing)
				require.Equal(t, 1006, end.Code, "%v", end)
				require.Equal(t, []string{tc.want, tc.want}, msgs)
			}
		})
	}
}

// Whatever a client compresses, at whatever level and in whatever fragments, arrives; between plain messages, too.
func TestDeflateReads(t *testing.T) {
	const limit = 20_000
	rapid.Check(t, func(rt *rapid.T) {
		var stream []byte
		var want []string
		for range rapid.IntRange(1, 4).Draw(rt, "messages") {
			n := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, limit), rapid.Just(limit)).Draw(rt, "n")
			m := noise(n)
			if rapid.Bool().Draw(rt, "shrinks") {
				m = strings.Repeat(m[:min(n, 10)], limit/10)[:n]
			}
			want = append(want, m)
			head := byte(2)
			if rapid.Bool().Draw(rt, "compressed") {
				head, m = rsv1|2, deflated(rt, m, rapid.IntRange(flate.HuffmanOnly, flate.BestCompression).Draw(rt, "level"))
			}
			for range rapid.IntRange(0, 2).Draw(rt, "more fragments") {
				cut := rapid.IntRange(0, len(m)).Draw(rt, "cut")
				stream, m = append(stream, masked(head, m[:cut])...), m[cut:]
				head = 0
			}
			stream = append(stream, masked(fin|head, m)...)
		}
		piece := rapid.IntRange(1, 3000).Draw(rt, "piece")
		msgs, end, _ := play(t, stream, piece, offer("permessage-deflate"), &conn.Options{Compression: true, MaxMessage: limit})
		require.Equal(rt, 1006, end.Code, "%v", end)
		require.True(rt, len(want) == len(msgs))
		for i := range want {
			require.True(rt, want[i] == msgs[i], "message %d", i)
		}
	})
}

// The largest limit there is means that there is none.
func TestDeflateWithoutLimit(t *testing.T) {
	long := strings.Repeat("long ", 50_000)
	stream := append(masked(fin|1, long), masked(fin|rsv1|1, deflated(t, long, flate.BestSpeed))...)
	o := &conn.Options{Compression: true, MaxMessage: math.MaxInt64}
	msgs, end, _ := play(t, stream, len(stream), offer("permessage-deflate"), o)
	require.Equal(t, 1006, end.Code, "%v", end)
	require.True(t, slices.Equal([]string{long, long}, msgs))
}

func TestDeflateViolations(t *testing.T) {
	hello := deflated(t, "hello", flate.BestSpeed)
	long := deflated(t, noise(2000), flate.BestSpeed)
	for name, tc := range map[string]struct {
		sent  []byte
		code  int
		cause error
	}{
		"nonsense":            {masked(fin|rsv1|2, "\xff\xff\xff"), 1002, conn.ErrProtocol},
		"cut short":           {masked(fin|rsv1|2, long[:len(long)/2]), 1002, conn.ErrProtocol},
		"nothing at all":      {masked(fin|rsv1|2, ""), 1002, conn.ErrProtocol},
		"more after the end":  {masked(fin|rsv1|2, "\x01\x00\x00\xff\xff"+"\xff\xff\xff"), 1002, conn.ErrProtocol},
		"context takeover":    {append(masked(fin|rsv1|1, hello), masked(fin|rsv1|1, "\xf2\x00\x11\x00\x00")...), 1002, conn.ErrProtocol},
		"text not UTF-8":      {masked(fin|rsv1|1, deflated(t, "\xff", flate.BestSpeed)), 1007, conn.ErrInvalidUTF8},
		"over the limit":      {masked(fin|rsv1|2, deflated(t, strings.Repeat("x", 2001), flate.BestSpeed)), 1009, conn.ErrTooBig},
		"longer than it was":  {masked(fin|rsv1|2, strings.Repeat("\x00\x00\x00\xff\xff", 1000)), 1009, conn.ErrTooBig},
		"compressed ping":     {masked(fin|rsv1|opPing, hello), 1002, conn.ErrProtocol},
		"compressed pong":     {masked(fin|rsv1|opPong, hello), 1002, conn.ErrProtocol},
		"compressed close":    {masked(fin|rsv1|opClose, ""), 1002, conn.ErrProtocol},
		"bit on continuation": {append(masked(rsv1|2, hello[:2]), masked(fin|rsv1|opContinuation, hello[2:])...), 1002, conn.ErrProtocol},
		"the same, plain":     {append(masked(2, "hel"), masked(fin|rsv1|opContinuation, "lo")...), 1002, conn.ErrProtocol},
		"another bit":         {masked(fin|rsv1|0x20|1, hello), 1002, conn.ErrProtocol},
		"two plain fragments": {append(masked(2, strings.Repeat("x", 1500)), masked(fin|opContinuation, strings.Repeat("x", 501))...), 1009, conn.ErrTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			stream := append(masked(fin|rsv1|1, hello), tc.sent...)
			stream = append(stream, masked(fin|1, "after")...)
			msgs, end, nc := play(t, stream, len(stream), offer("permessage-deflate"), &conn.Options{Compression: true, MaxMessage: 2000})
			require.Equal(t, tc.code, end.Code, "%v", end)
			require.ErrorIs(t, end, tc.cause)
			require.Equal(t, "hello", msgs[0])
			require.NotContains(t, msgs, "after")
			require.True(t, bytes.HasSuffix(nc.out.Bytes(), []byte(closeFrame(tc.code, end.Reason).payload)))
		})
	}
}

// A message that is enormous once it is unpacked costs no more than the limit.
func TestDeflateBomb(t *testing.T) {
	const gigabyte = 1 << 30
	// A flushed stream ends at a byte: the same again is a stream as well.
	mega := deflated(t, strings.Repeat("\x00", 1<<20), flate.BestSpeed) + "\x00\x00\xff\xff"
	bomb := masked(fin|rsv1|2, strings.Repeat(mega, gigabyte>>20))
	small := masked(fin|rsv1|2, strings.Repeat(mega, (60<<10)/len(mega)))
	for _, tc := range []struct {
		bomb  []byte
		limit int64
	}{
		{bomb, 64 << 10}, // too long as it is
		{small, 64 << 10},
		{bomb, int64(len(bomb))},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, end, _ := play(t, tc.bomb, len(tc.bomb), offer("permessage-deflate"), &conn.Options{Compression: true, MaxMessage: tc.limit})
		runtime.ReadMemStats(&after)
		require.Equal(t, 1009, end.Code, "%v", end)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(20*tc.limit), "bytes allocated")
	}
}

func TestDeflateStatsCountTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := deflatePipe(t, compressing)
		read := startReading(c)
		long := strings.Repeat("long ", 1000)
		in := masked(fin|rsv1|1, deflated(t, long, flate.BestSpeed))
		p.sendRaw(in)
		f := conn.NewFrame(conn.Text, []byte(long))
		require.NoError(t, c.Send(f, ""))
		synctest.Wait()
		require.Equal(t, conn.Stats{QueuedBytes: f.Len(), MessagesIn: 1, BytesIn: uint64(len(in))}, c.Stats())
		out, err := p.readAny()
		require.NoError(t, err)
		synctest.Wait()
		header := 2
		if len(out.payload) > 125 {
			header = 4
		}
		require.Equal(t, conn.Stats{MessagesIn: 1, MessagesOut: 1, BytesIn: uint64(len(in)), BytesOut: uint64(header + len(out.payload))}, c.Stats())
		p.Close()
		read.end(t)
		require.Equal(t, []string{long}, read.msgs)
	})
}

// A client with little memory sends many short blocks: zlib grows what does not shrink by up to 4 %.
func TestDeflateShortBlocks(t *testing.T) {
	const limit = 20_000
	message := noise(limit)
	var b []byte
	for rest := message; rest != ""; {
		n := min(len(rest), 127)
		b = append(b, 0, byte(n), 0, ^byte(n), 0xff) // a stored block
		b = append(b, rest[:n]...)
		rest = rest[n:]
	}
	stream := masked(fin|rsv1|2, string(append(b, 0)))
	msgs, end, _ := play(t, stream, len(stream), offer("permessage-deflate"), &conn.Options{Compression: true, MaxMessage: limit})
	require.Equal(t, 1006, end.Code, "%v", end)
	require.True(t, len(msgs) == 1 && message == msgs[0])
}
