package history_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

const (
	manyBehind = 1000
	// leftEach is less than a connection, a socket or a session takes, and more
	// than what a list that grows by a factor may differ by.
	leftEach = 200
)

// unlogged are options without a log, which a test would keep in memory.
var unlogged = dog.Options{LingerFor: -1, Logger: slog.New(slog.DiscardHandler)}

// heapNow returns the bytes of all objects that live.
func heapNow() int64 {
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// requireGoroutines checks that there are no more goroutines than before. Those
// that are about to return are given the time to do so.
func requireGoroutines(t *testing.T, before int) {
	t.Helper()
	for range 1_000_000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before)
}

// requireNoneLeft checks that a wave of clients leaves less than some bytes.
// What clients leave grows with each wave, unlike what the tests before have
// left to the collector.
func requireNoneLeft(t *testing.T, less int64, wave func()) {
	t.Helper()
	left := less
	for range 5 {
		before := heapNow()
		wave()
		if left = min(left, heapNow()-before); left < less {
			return
		}
	}
	require.Less(t, left, less)
}

// Clients that are behind, all at once, and vanish, leave no goroutine and no
// memory.
func TestBehind_ManyThatVanishLeaveNothing(t *testing.T) {
	fixture.TakesLong(t)
	on := &fixture.OwnerHooks{MaxSockets: manyBehind, History: dog.HistoryOptions{Bytes: 1 << 20}}
	over(t, on, unlogged, func(t *testing.T, v *fixture.Owners) {
		wave := func() {
			var all []net.Conn
			for i := range manyBehind {
				all = append(all, connectDeaf(t, v, fmt.Sprintf("/?u=client-%d&after=", i), i%2 == 0))
			}
			for _, text := range padded(1, 500) { // twice what is queued for a socket
				require.NoError(t, v.Broadcast(t.Context(), text))
			}
			synctest.Wait()
			require.Equal(t, []int{manyBehind}, v.Loads())
			for _, c := range all {
				require.NoError(t, c.Close())
			}
			time.Sleep(time.Minute) // the deadlines of the connections keep them as long
			synctest.Wait()
			require.Zero(t, v.Runtime.Stats().Sockets)
			require.Zero(t, v.Runtime.Stats().QueuedBytes)
		}
		for _, text := range padded(1, 1100) { // until the history is full
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		wave()
		goroutines := runtime.NumGoroutine()
		requireNoneLeft(t, manyBehind*leftEach, wave)
		requireGoroutines(t, goroutines)
	})
}

// The same over TCP, in real time.
func TestBehind_ManyThatVanishLeaveNothingOverTCP(t *testing.T) {
	fixture.TakesLong(t)
	rt, err := dog.New(unlogged)
	require.NoError(t, err)
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()
	halls, err := dog.RegisterObject(rt, "hall", &dog.ObjectOptions[speaker]{
		MaxSockets: manyBehind, History: dog.HistoryOptions{Bytes: 1 << 20},
		Sockets: dog.SocketOptions{QueueBytes: 16 << 10},
	})
	require.NoError(t, err)
	main := halls.Named("main")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		main.WithUID(r.FormValue("u")).ServeHTTP(w, r)
	}))
	defer srv.Close()
	soon := func(what string, holds func() bool) {
		t.Helper()
		require.Eventually(t, holds, time.Minute, 10*time.Millisecond, what)
	}
	wave := func() {
		var all []net.Conn
		for i := range manyBehind {
			all = append(all, dialDeaf(t, srv, i))
		}
		soon("all are connected", func() bool { return rt.Stats().Sockets == manyBehind })
		out := rt.Stats().BytesOut
		for _, text := range padded(1, 900) {
			require.NoError(t, dog.CallErr(t.Context(), main, (*speaker).Say, text))
		}
		require.Less(t, rt.Stats().BytesOut-out, uint64(manyBehind*900<<10*3/4), "they are behind")
		for _, c := range all {
			require.NoError(t, c.Close())
		}
		soon("all are gone", func() bool { return rt.Stats().Sockets == 0 })
	}
	wave()
	still := 0
	soon("the first have left nothing that runs", func() bool { // it stays as it is for a while
		was := still
		still = runtime.NumGoroutine()
		return was == still
	})
	before := heapNow()
	wave()
	soon("no goroutine is left", func() bool { return runtime.NumGoroutine() <= still })
	soon("no memory is left", func() bool { return heapNow()-before < manyBehind*leftEach })
}

// dialDeaf connects a client that reads no more than the response. Every second
// one speaks dog.v1.
func dialDeaf(t *testing.T, srv *httptest.Server, i int) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	tcp, is := c.(*net.TCPConn)
	require.True(t, is)
	require.NoError(t, tcp.SetReadBuffer(4096))
	require.NoError(t, tcp.SetLinger(0)) // it vanishes when it is closed
	protocol := ""
	if i%2 == 0 {
		protocol = "Sec-WebSocket-Protocol: dog.v1\r\n"
	}
	_, err = fmt.Fprintf(c, "GET /?u=client-%d&after= HTTP/1.1\r\nHost: x\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", i, protocol)
	require.NoError(t, err)
	line, err := bufio.NewReaderSize(c, 16).ReadString('\n')
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(line, "HTTP/1.1 101"), line)
	return c
}

// speaker is an object that says what it is asked to.
type speaker struct{ dog.Object }

func (s *speaker) OnMessage(context.Context, *dog.Socket, dog.Message) error { return nil }

// Say sends a text to all.
func (s *speaker) Say(_ context.Context, text string) error { return s.Broadcast(text) }
