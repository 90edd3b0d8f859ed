package conn_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

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

func TestDeflate_Negotiation(t *testing.T) {
	const agreed = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	const agreed15 = agreed + "; server_max_window_bits=15"
	for offered, want := range map[string]string{
		"":                   "",
		"permessage-deflate": agreed,
		"permessage-deflate; client_max_window_bits":                               agreed, // Chrome, Firefox
		"permessage-deflate; client_max_window_bits=10":                            agreed,
		"permessage-deflate; server_max_window_bits=15":                            agreed15,
		`permessage-deflate; server_max_window_bits="15"`:                          agreed15,
		`permessage-deflate; server_max_window_bits="1\5"; client_max_window_bits`: agreed15,
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
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover, " +
			"permessage-deflate; server_max_window_bits=15": agreed15,
		"permessage-deflate; client_max_window_bits=7, permessage-deflate": agreed,
		", ,permessage-deflate":                          agreed,
		"permessage-deflate;server_no_context_takeover":  agreed,
		"permessage-deflate; client_no_context_takeover": agreed,
		// a promise that compress/flate cannot keep
		"permessage-deflate; server_max_window_bits=10":                          "",
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

// echoServer sends every message back, and hands over the statistics of each
// connection when it has ended.
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

func TestDeflate_WithCoder(t *testing.T) {
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
func TestDeflate_OnlyIfSmaller(t *testing.T) {
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

// One frame serves connections with and without compression, by whatever way it
// reaches them.
func TestDeflate_SharedFrames(t *testing.T) {
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
