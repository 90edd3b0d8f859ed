//go:build linux

package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/godurable/dog/bench/internal/wire"
)

// A fake is a server that does what it should, unless deliver changes that.
type fake struct {
	mu      sync.Mutex
	conns   []net.Conn
	rooms   []string                            // of conns
	deliver func(conn int, frame []byte) []byte // what a connection gets for a frame; nil: the frame
	inRooms bool                                // the sockets ask for rooms
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	f.mu.Lock()
	f.conns, f.rooms = append(f.conns, conn), append(f.rooms, r.FormValue("room"))
	f.mu.Unlock()
	_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept + "\r\n\r\n"))
	var in []byte
	for {
		frame, n, err := wire.Next(in)
		if err != nil {
			return
		}
		if n == 0 {
			chunk := make([]byte, 4096)
			n, err := conn.Read(chunk)
			if err != nil {
				return
			}
			in = append(in, chunk[:n]...)
			continue
		}
		if frame.Op == wire.Binary {
			f.answer(conn, frame.Payload)
		}
		in = in[n:]
	}
}

func (f *fake) answer(from net.Conn, message []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, conn := range f.conns {
		if message[0] == wire.Echo && conn != from || f.rooms[i] != f.rooms[slices.Index(f.conns, from)] {
			continue
		}
		frame := wire.AppendFrame(nil, wire.Binary, message)
		if f.deliver != nil {
			frame = f.deliver(i, frame)
		}
		if frame == nil {
			conn.Close()
		} else {
			_, _ = conn.Write(frame)
		}
	}
}

const testSockets = 10

// attach returns a loop with sockets at the fake.
func attach(t *testing.T, f *fake) *loop {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/ws", f)
	mux.HandleFunc("/stat", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		_ = json.NewEncoder(w).Encode(wire.Stat{Sockets: len(f.conns)})
	})
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	was := *statAddr
	*statAddr = (&url.URL{Host: listener.Addr().String()}).Host
	t.Cleanup(func() {
		*statAddr = was
		server.Close()
		require.ErrorIs(t, <-served, http.ErrServerClosed)
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, conn := range f.conns {
			conn.Close()
		}
	})
	l, err := newLoop(
		target{addr: netip.MustParseAddrPort(listener.Addr().String()), proto: wire.ProtoPlain, rooms: f.inRooms},
	)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, s := range l.sockets {
			unix.Close(s.fd)
		}
		unix.Close(l.epoll)
		unix.Close(l.timer)
	})
	require.NoError(t, l.open(0, testSockets))
	return l
}

// measureCells measures cells and returns their results.
func measureCells(t *testing.T, l *loop, names string) []wire.Result {
	t.Helper()
	cells, err := parseCells(names)
	require.NoError(t, err)
	was := *measure
	*measure = 20 * time.Millisecond
	t.Cleanup(func() { *measure = was })
	var all []wire.Result
	for _, c := range cells {
		require.NoError(t, c.measure(l, func(r wire.Result) error {
			all = append(all, r)
			return nil
		}))
	}
	return all
}

func TestLoad_CountsEveryDelivery(t *testing.T) {
	l := attach(t, &fake{})
	for _, r := range measureCells(t, l, "w1-64,w32-1024,w1-16,rate-256@1000,slow-64@1000") {
		require.Empty(t, r.Err, r.Cell)
		require.Zero(t, r.Lost, r.Cell)
		require.GreaterOrEqual(t, r.Messages, int64(*atLeast), r.Cell)
		require.Equal(t, testSockets*r.Messages, r.Deliveries, r.Cell)
		require.NotNil(t, r.Last, r.Cell)
		require.LessOrEqual(t, r.Median.P50, r.Last.Max, r.Cell)
	}
}

func TestLoad_CountsEchoes(t *testing.T) {
	r := measureCells(t, attach(t, &fake{}), "echo-64")[0]
	require.Empty(t, r.Err)
	require.GreaterOrEqual(t, r.Messages, int64(testSockets))
	require.Equal(t, r.Messages, r.Deliveries)
}

func TestLoad_CountsRoomsOfTwo(t *testing.T) {
	r := measureCells(t, attach(t, &fake{inRooms: true}), "rooms-64")[0]
	require.Empty(t, r.Err)
	require.Zero(t, r.Lost)
	require.GreaterOrEqual(t, r.Messages, int64(testSockets))
	require.Equal(t, roomSize*r.Messages, r.Deliveries)
}

func TestLoad_FindsFaultsInRooms(t *testing.T) {
	for name, c := range map[string]struct {
		inRooms bool
		deliver func(conn int, frame []byte) []byte
		want    string
	}{
		"lost": {true, func(int, []byte) []byte { return []byte{} }, "nothing arrived"},
		"twice": {
			true, func(_ int, frame []byte) []byte { return append(frame, frame...) }, "in another room or twice",
		},
		"in every room": {false, nil, "in another room or twice"},
	} {
		t.Run(name, func(t *testing.T) {
			l := attach(t, &fake{inRooms: c.inRooms, deliver: c.deliver})
			l.patience = 100 * time.Millisecond
			require.Contains(t, measureCells(t, l, "rooms-64")[0].Err, c.want)
		})
	}
}

func TestLoad_ReadsSplitAndJoinedFrames(t *testing.T) {
	var kept []byte
	l := attach(t, &fake{deliver: func(conn int, frame []byte) []byte {
		if conn != 0 {
			return frame
		}
		if kept == nil { // half of this one comes later, with the next whole one
			kept = frame[5:]
			return frame[:5]
		}
		out := append(kept, frame...)
		kept = nil
		return out
	}})
	f := newFanout(l, 64)
	require.NoError(t, f.window(2, 0, 0))
	sent, deliveries, lost, err := f.account()
	require.NoError(t, err)
	require.Equal(t, int64(2), sent)
	require.Equal(t, int64(2*testSockets), deliveries)
	require.Zero(t, lost)
}

func TestLoad_FindsFaults(t *testing.T) {
	ping := wire.AppendFrame(nil, wire.Ping, []byte("?"))
	for name, c := range map[string]struct {
		deliver func(frame []byte) []byte // to one of the connections
		lost    bool
		want    string
	}{
		"lost":   {func([]byte) []byte { return ping }, true, "nothing arrived"},
		"closed": {func([]byte) []byte { return nil }, true, "closed 1 sockets"},
		"other size": {
			func(frame []byte) []byte { return wire.AppendFrame(nil, wire.Binary, frame) }, true, "not sent",
		},
		"fragmented": {
			func(frame []byte) []byte { return append([]byte{frame[0] &^ 0x80}, frame[1:]...) }, true, "fragmented",
		},
		"twice": {func(frame []byte) []byte { return append(frame, frame...) }, false, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			l := attach(t, &fake{deliver: func(conn int, frame []byte) []byte {
				if conn == 3 {
					return c.deliver(frame)
				}
				return frame
			}})
			l.patience = 100 * time.Millisecond
			f := newFanout(l, 64)
			failed := f.window(1, 0, 0)
			if failed == nil { // what came twice may still be on its way
				failed = l.turn(time.Second)
			}
			_, _, lost, err := f.account()
			if failed == nil {
				failed = err
			}
			require.ErrorContains(t, failed, c.want)
			require.Equal(t, c.lost, lost > 0)
		})
	}
}

func TestCellNames(t *testing.T) {
	for _, name := range []string{
		"", "w1", "w-64", "w0-64", "w1-8", "w1-64@5", "rate-64", "rate-64@0", "fast-64", "idle,w1-64", "w1-64,",
		"rooms", "rooms-64,w1-64", "storm-100", "storm-100x5", "w1-100x50", "storm-100x50,w1-64",
	} {
		_, err := parseCells(name)
		require.Error(t, err, name)
	}
	cells, err := parseCells("storm-100x50")
	require.NoError(t, err)
	require.Equal(t, []cell{{name: "storm-100x50", kind: "storm", size: 100, n: 50}}, cells)
	cells, err = parseCells("w32-64,slow-256@10")
	require.NoError(t, err)
	require.Equal(t, []cell{
		{name: "w32-64", kind: "w", size: 64, n: 32},
		{name: "slow-256@10", kind: "slow", size: 256, rate: 10},
	}, cells)
}
