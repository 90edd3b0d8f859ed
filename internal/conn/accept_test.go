package conn_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

func TestAccept_Refuses(t *testing.T) {
	edit := func(f func(r *http.Request)) *http.Request {
		r := upgradeRequest()
		f(r)
		return r
	}
	for name, tc := range map[string]struct {
		r      *http.Request
		status int
		header string // must be in the answer
	}{
		"method":              {edit(func(r *http.Request) { r.Method = http.MethodPost }), 405, "Allow"},
		"method, no upgrade":  {httptest.NewRequest(http.MethodPut, "/", nil), 405, "Allow"},
		"no upgrade":          {httptest.NewRequest(http.MethodGet, "/", nil), 426, "Upgrade"},
		"another upgrade":     {upgradeRequest("Upgrade", "h2c"), 426, "Upgrade"},
		"HTTP/1.0":            {edit(func(r *http.Request) { r.ProtoMinor = 0 }), 426, "Upgrade"},
		"version":             {upgradeRequest("Sec-WebSocket-Version", "8"), 400, "Sec-WebSocket-Version"},
		"no key":              {edit(func(r *http.Request) { r.Header.Del("Sec-WebSocket-Key") }), 400, ""},
		"bad key":             {upgradeRequest("Sec-WebSocket-Key", "secret"), 400, ""},
		"origin":              {upgradeRequest("Origin", "https://evil.example"), 403, ""},
		"origin not a URL":    {upgradeRequest("Origin", "https://%zz"), 403, ""},
		"no hijacking":        {upgradeRequest(), 501, ""},
		"no hijacking, proto": {upgradeRequest("Sec-WebSocket-Protocol", "chat"), 501, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			c, err := conn.Accept(w, tc.r, &conn.Options{Subprotocols: []string{"chat"}})
			require.Nil(t, c)
			var he *conn.HandshakeError
			require.ErrorAs(t, err, &he)
			require.Error(t, he.Err)
			require.Equal(t, tc.status, he.Status)
			require.Contains(t, err.Error(), fmt.Sprint(tc.status))
			require.NotContains(t, w.Body.String(), he.Err.Error())
			require.Equal(t, tc.status, w.Code)
			require.Equal(t, http.StatusText(tc.status), strings.TrimSpace(w.Body.String()))
			if tc.header != "" {
				require.NotEmpty(t, w.Header().Get(tc.header))
			}
			require.Empty(t, w.Header().Get("Sec-WebSocket-Accept"))
			require.Empty(t, w.Header().Get("Sec-WebSocket-Protocol"))
		})
	}
}

func TestCheck_RefusesExactlyWhatAcceptRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		r      *http.Request
		status int // 0: none
	}{
		"no upgrade": {httptest.NewRequest(http.MethodGet, "/", nil), 426},
		"method":     {httptest.NewRequest(http.MethodPost, "/", nil), 405},
		"version":    {upgradeRequest("Sec-WebSocket-Version", "8"), 400},
		"origin":     {upgradeRequest("Origin", "https://evil.example"), 403},
		"valid":      {upgradeRequest(), 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Code = 0
			err := conn.Check(w, tc.r, nil)
			require.Equal(t, tc.status, w.Code)
			if tc.status == 0 {
				require.NoError(t, err)
				require.Empty(t, w.Header())
				require.Empty(t, w.Body.String())
				return
			}
			var he *conn.HandshakeError
			require.ErrorAs(t, err, &he)
			require.Equal(t, tc.status, he.Status)
			require.Equal(t, http.StatusText(tc.status), strings.TrimSpace(w.Body.String()))
		})
	}
}

func TestAcceptIf_ChecksTheConditionLast(t *testing.T) {
	errNoRoom := errors.New("no room")
	asked := 0
	admit := func() error { asked++; return errNoRoom }
	w := httptest.NewRecorder()
	_, err := conn.AcceptIf(w, upgradeRequest("Origin", "https://evil.example"), nil, admit)
	require.Error(t, err)
	require.Equal(t, 403, w.Code)
	require.Zero(t, asked)

	w = httptest.NewRecorder()
	w.Code = 0
	_, err = conn.AcceptIf(w, upgradeRequest(), nil, admit)
	require.Equal(t, errNoRoom, err)
	require.Equal(t, 1, asked)
	require.Zero(t, w.Code, "the caller writes the response")
	require.Empty(t, w.Header())
}

type hijacked struct{ *httptest.ResponseRecorder }

func (hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, http.ErrHijacked }

func TestAccept_HijackFails(t *testing.T) {
	w := hijacked{httptest.NewRecorder()}
	_, err := conn.Accept(w, upgradeRequest(), nil)
	require.ErrorIs(t, err, http.ErrHijacked)
	require.Equal(t, 500, w.Code)
}

func TestAccept_ClientThatReadsNoResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		start := time.Now()
		c, err := conn.Accept(
			hijackWriter{httptest.NewRecorder(), server}, upgradeRequest(),
			&conn.Options{WriteTimeout: 3 * time.Second},
		)
		require.NoError(t, err)
		require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte("x")), ""))
		c.Start()
		end := startReading(c).end(t)
		require.Equal(t, 1006, end.Code)
		require.ErrorIs(t, end, os.ErrDeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Zero(t, c.Stats().MessagesOut)
	})
}

func TestAccept_SendsNothingBeforeTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		c, err := conn.Accept(hijackWriter{httptest.NewRecorder(), server}, upgradeRequest(), nil)
		require.NoError(t, err)
		require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte("first")), ""))
		c.Start()
		r := bufio.NewReader(client)
		answer, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
		message := make([]byte, 7)
		_, err = io.ReadFull(r, message)
		require.NoError(t, err)
		require.Equal(t, "\x81\x05first", string(message))
		synctest.Wait()
		require.EqualValues(t, 7, c.Stats().BytesOut)
		client.Close()
		startReading(c).end(t)
	})
}

func TestAccept_Origin(t *testing.T) {
	for _, tc := range []struct {
		origin string
		o      conn.Options
	}{
		{"http://example.com", conn.Options{}},
		{"https://a.friend.example", conn.Options{OriginPatterns: []string{"*.friend.example"}}},
		{"https://evil.example", conn.Options{OriginPatterns: []string{"*"}}},
	} {
		server, client := net.Pipe()
		go bufio.NewReader(client).ReadString(0)
		c, err := conn.Accept(hijackWriter{httptest.NewRecorder(), server}, upgradeRequest("Origin", tc.origin), &tc.o)
		require.NoError(t, err)
		c.Start()
		client.Close()
		startReading(c).end(t)
	}
}

// A client may send its first messages with the request; net/http has then read
// them ahead.
func TestAccept_EarlyData(t *testing.T) {
	accepted := make(chan *conn.Conn, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Mine", "1")
		c, err := conn.Accept(w, r, &conn.Options{Subprotocols: []string{"b", "a"}})
		if err == nil {
			c.Start()
			accepted <- c
		}
	}))
	defer s.Close()
	nc, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	p := &peer{Conn: nc, t: t, br: bufio.NewReader(nc)}

	var request bytes.Buffer
	r := upgradeRequest("Sec-WebSocket-Protocol", "a, b")
	require.NoError(t, r.Write(&request))
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint("message ", i))
		request.Write(masked(fin|1, want[i]))
	}
	p.sendRaw(request.Bytes())
	resp, err := http.ReadResponse(p.br, r)
	require.NoError(t, err)
	require.Equal(t, 101, resp.StatusCode)
	require.Equal(t, "1", resp.Header.Get("X-Mine"))
	require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept"))
	require.Equal(t, "b", resp.Header.Get("Sec-WebSocket-Protocol"), "the server's preference")

	c := <-accepted
	require.Equal(t, "b", c.Subprotocol())
	read := startReading(c)
	p.sendClose(1000, "")
	require.Equal(t, closeFrame(1000, ""), p.next())
	p.requireEOF()
	requireEnd(t, read, 1000, "", nil)
	require.Equal(t, want, read.msgs)
}

// Every kind of connection, against a client that is not ours, with frames of
// all header sizes and more than one write.
func TestAccept_KindsOfConnection(t *testing.T) {
	accepted := make(chan *conn.Conn, 1)
	opts := &conn.Options{MaxMessage: 1 << 20, QueueBytes: 8 << 20, Subprotocols: []string{"p"}}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := conn.Accept(w, r, opts); err == nil {
			c.Start()
			accepted <- c
		}
	})
	exchange := func(t *testing.T, dial func(context.Context) (*websocket.Conn, error)) {
		ctx := t.Context()
		client, err := dial(ctx)
		require.NoError(t, err)
		defer client.CloseNow()
		client.SetReadLimit(-1)
		c := <-accepted
		read := make(chan error, 1)
		go func() {
			for {
				op, data, err := c.Read()
				if err != nil {
					read <- err
					return
				}
				c.Send(conn.NewFrame(op, data), "")
			}
		}()
		sizes := []int{0, 1, 125, 126, 511, 512, 513, 4096, 65535, 65536, 1 << 20}
		go func() {
			for i, n := range sizes {
				client.Write(ctx, websocket.MessageType(1+i%2), bytes.Repeat([]byte{byte('a' + i)}, n))
			}
		}()
		for i, n := range sizes {
			typ, data, err := client.Read(ctx)
			require.NoError(t, err)
			require.Equal(t, websocket.MessageType(1+i%2), typ)
			require.True(t, bytes.Equal(bytes.Repeat([]byte{byte('a' + i)}, n), data), "message of %d bytes", n)
		}
		go client.CloseRead(ctx)
		require.NoError(t, client.Ping(ctx))
		require.NoError(t, client.Close(4000, "bye"))
		var ce *conn.CloseError
		require.ErrorAs(t, <-read, &ce)
		require.Equal(t, &conn.CloseError{Code: 4000, Reason: "bye"}, ce)
		c.Wait()
		stats := c.Stats()
		require.EqualValues(t, len(sizes), stats.MessagesIn)
		require.EqualValues(t, len(sizes), stats.MessagesOut)
		require.Greater(t, stats.BytesIn, stats.BytesOut, "masks")
		require.Zero(t, stats.QueuedBytes)
	}
	t.Run("TCP", func(t *testing.T) {
		s := httptest.NewServer(handler)
		defer s.Close()
		exchange(t, func(ctx context.Context) (*websocket.Conn, error) {
			c, _, err := websocket.Dial(ctx, s.URL, nil)
			return c, err
		})
	})
	t.Run("TLS", func(t *testing.T) {
		s := httptest.NewTLSServer(handler)
		defer s.Close()
		exchange(t, func(ctx context.Context) (*websocket.Conn, error) {
			c, _, err := websocket.Dial(ctx, s.URL, &websocket.DialOptions{HTTPClient: s.Client()})
			return c, err
		})
	})
	t.Run("in memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := make(listener)
			s := &http.Server{Handler: handler, WriteTimeout: time.Second, ReadTimeout: time.Second}
			go s.Serve(l)
			defer s.Close()
			exchange(t, func(ctx context.Context) (*websocket.Conn, error) {
				tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					server, client := net.Pipe()
					l <- server
					return client, nil
				}}
				c, _, err := websocket.Dial(
					ctx, "ws://memory", &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}},
				)
				time.Sleep(time.Minute) // the server's time-outs no longer matter
				return c, err
			})
		})
	})
}

// listener hands out the connections sent to it.
type listener chan net.Conn

func (l listener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, errors.New("closed")
}
func (l listener) Close() error   { close(l); return nil }
func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

// The server has its own spelling of what was agreed upon; the client, which
// takes no other for an answer, gets its own.
func TestAccept_Subprotocol(t *testing.T) {
	for name, tc := range map[string]struct {
		offered   []string // header lines
		supported []string
		known     string // what the application put into its answer

		ours, answer string
	}{
		"same":                   {[]string{"chat"}, []string{"chat"}, "", "chat", "chat"},
		"other case":             {[]string{"CHAT.V1"}, []string{"chat.v1"}, "", "chat.v1", "CHAT.V1"},
		"both cases":             {[]string{"CHAT, chat"}, []string{"chat"}, "", "chat", "chat"},
		"our favourite":          {[]string{"a, B"}, []string{"b", "a"}, "", "b", "B"},
		"over lines":             {[]string{"other, v1", " v2 "}, []string{"v2", "v1"}, "", "v2", "v2"},
		"empty":                  {[]string{""}, []string{""}, "", "", ""},
		"empty places":           {[]string{",, v1,"}, []string{"", "v1"}, "", "v1", "v1"},
		"unknown":                {[]string{"other"}, []string{"chat"}, "", "", ""},
		"none offered":           {nil, []string{"chat"}, "", "", ""},
		"the application's":      {[]string{"token, abc"}, nil, "token", "token", "token"},
		"its offered nowhere":    {[]string{"chat"}, nil, "mine", "", ""},
		"it counts less":         {[]string{"chat, token"}, []string{"chat"}, "token", "chat", "chat"},
		"nobody asked for it":    {nil, nil, "mine", "", ""},
		"a part of what we have": {[]string{"cha"}, []string{"chat"}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := upgradeRequest()
			r.Header["Sec-Websocket-Protocol"] = tc.offered
			nc := &tape{in: new(pieces), wrote: make(chan struct{}, 1)}
			w := hijackWriter{httptest.NewRecorder(), nc}
			if tc.known != "" {
				w.Header().Set("Sec-WebSocket-Protocol", tc.known)
			}
			w.Header().Set("Sec-WebSocket-Extensions", "permessage-deflate") // nor may the application set this
			c, err := conn.Accept(w, r, &conn.Options{Subprotocols: tc.supported})
			require.NoError(t, err)
			c.Start()
			<-nc.wrote
			startReading(c).end(t)
			require.Equal(t, tc.ours, c.Subprotocol())
			answer, err := http.ReadResponse(bufio.NewReader(&nc.out), nil)
			require.NoError(t, err)
			require.Equal(t, tc.answer, answer.Header.Get("Sec-WebSocket-Protocol"))
			require.Empty(t, answer.Header.Values("Sec-WebSocket-Extensions"))
		})
	}
}
