package history_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

const idleMessage = "the only message"

// idle is how many bytes of heap idle sockets take: plain ones of an object
// without a history, and how much more those of dog.v1, of clients with a
// session, and of clients with a session that have come back. Each has got one
// message. They have no uid, and are parked. The clients are in the same
// process and take the same.
type idle struct{ plain, v1, session, back float64 }

// measureIdle measures some sockets of each kind. All stay until the end of the
// test, because what has ended is not released at once.
func measureIdle(t testing.TB, sockets int) (r idle) {
	session := func() string { return "?session=" + rand.Text()[:22] }
	none := func(*idleHall) string { return "" }
	idleHeap(t, sockets, false, none) // takes what is there once
	r.plain = idleHeap(t, sockets, false, none)
	r.v1 = idleHeap(t, sockets, true, none) - r.plain
	r.session = idleHeap(t, sockets, true, func(*idleHall) string { return session() }) - r.plain
	r.back = idleHeap(t, sockets, true, func(h *idleHall) string { return session() + after(h.position) }) - r.plain
	return r
}

// It is to be run with -benchtime 1x.
func BenchmarkIdleSocket(b *testing.B) {
	r := measureIdle(b, 300)
	b.ReportMetric(r.plain, "plain-B")
	b.ReportMetric(r.v1, "v1-more-B")
	b.ReportMetric(r.session, "session-more-B")
	b.ReportMetric(r.back, "back-more-B")
	b.ReportMetric(0, "ns/op")
}

// idleHeap returns how many bytes of heap a socket takes whose client connects
// with a query. Clients of dog.v1 connect to an object with a history.
func idleHeap(t testing.TB, sockets int, v1 bool, query func(*idleHall) string) float64 {
	h := newIdleHall(t, sockets, v1)
	h.dial(query(h)).Close() // what the object takes is not the sockets'
	h.soon("it has left", func() bool { return h.rt.Stats().Sockets == 0 })
	goroutines, before := runtime.NumGoroutine(), heapNow()
	conns := make([]net.Conn, sockets)
	for i := range conns {
		conns[i] = h.dial(query(h))
	}
	require.NoError(t, dog.CallErr(t.Context(), h.stub, (*speaker).Say, idleMessage))
	for _, c := range conns {
		text := make([]byte, len(idleMessage))
		for !strings.HasSuffix(string(text), idleMessage) {
			_, err := c.Read(text[copy(text, text[1:]):])
			require.NoError(t, err)
		}
	}
	if runtime.GOOS == "linux" {
		h.soon("all are parked", func() bool { return runtime.NumGoroutine() < goroutines+10 })
	}
	t.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return float64(heapNow()-before) / float64(sockets)
}

// idleHall is an object with clients over TCP.
type idleHall struct {
	testing.TB
	rt       *dog.Runtime
	stub     dog.Stub[speaker]
	addr     string
	v1       bool
	position string // of a client that has connected last
}

func newIdleHall(t testing.TB, sockets int, v1 bool) *idleHall {
	options := unlogged
	options.ParkAfter = 10 * time.Millisecond
	rt, err := dog.New(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rt.Shutdown(context.Background())) })
	config := dog.ObjectOptions[speaker]{MaxSockets: sockets, Sockets: dog.SocketOptions{PingInterval: -1}}
	if v1 {
		config.History.Count = 100
	}
	halls, err := dog.RegisterObject(rt, "hall", &config)
	require.NoError(t, err)
	h := &idleHall{TB: t, rt: rt, stub: halls.Named("main"), v1: v1}
	srv := httptest.NewServer(h.stub)
	t.Cleanup(srv.Close)
	h.addr = srv.Listener.Addr().String()
	return h
}

func (h *idleHall) soon(what string, holds func() bool) {
	h.Helper()
	require.Eventually(h, holds, time.Minute, 10*time.Millisecond, what)
}

// dial connects a client, which has read the response and hello.
func (h *idleHall) dial(query string) net.Conn {
	c, err := net.Dial("tcp", h.addr)
	require.NoError(h, err)
	protocol := ""
	if h.v1 {
		protocol = "Sec-WebSocket-Protocol: dog.v1\r\n"
	}
	_, err = fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", query, protocol)
	require.NoError(h, err)
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	require.NoError(h, err)
	require.True(h, strings.HasPrefix(line, "HTTP/1.1 101"), line)
	for line != "\r\n" {
		line, err = r.ReadString('\n')
		require.NoError(h, err)
	}
	if !h.v1 {
		return c
	}
	_, err = r.ReadBytes('h')
	require.NoError(h, err)
	var greeting hello
	require.NoError(h, json.NewDecoder(r).Decode(&greeting))
	h.position = greeting.Pos
	return c
}
