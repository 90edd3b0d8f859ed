package load_test

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// Many idle sockets and a message to all of them:
//
//	go test ./test/load -run TestScale_OverTCP -sockets 19900 -v
//	go test ./test/load -run TestScale_InMemory -sockets 100000 -v
//
// The first has sockets of the kernel, whose clients are in a process of their
// own, the second does without the kernel.
// Each process needs a descriptor for each socket over TCP (ulimit -n). An
// address does not have ports for all: the clients come from 127.0.0.1,
// 127.0.0.2 and so on, which Linux takes for granted.
var scale = flag.Int("sockets", 0, "sockets in TestScale_OverTCP (0: 200) and TestScale_InMemory (0: 2,000)")

const (
	scaleLimit     = 500   // sockets on a replica
	scalePorts     = 5_000 // clients of an address: the kernel is slow at finding more free ports
	scaleDialers   = 64
	scaleAddr      = "DOG_SCALE_ADDR" // the address of the server, for the clients' process
	scaleConnected = "all are connected"
	scaleReceived  = "all have received"
	scaleNews      = "A message to everybody, as long as such messages are: 64 bytes.."
)

// newScale returns rooms whose runtime is that of production, without the
// checks of the test kit.
func newScale(t *testing.T, options dog.Options) *fixture.Rooms {
	t.Helper()
	options.Logger = slog.New(slog.DiscardHandler)
	rt, err := dog.New(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rt.Shutdown(context.Background())) })
	rooms, err := dog.RegisterReplica(
		rt, "room",
		&dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: &fixture.Hooks{}} }},
	)
	require.NoError(t, err)
	lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[fixture.Lobby]{Limit: scaleLimit})
	require.NoError(t, err)
	return &fixture.Rooms{Runtime: rt, Lobbies: lobbies, Group: lobbies.Named("main")}
}

// footprint is what a process takes.
type footprint struct {
	rss        int // bytes; 0 where /proc does not report it
	heap       int // bytes of live objects and of stacks
	goroutines int
}

func measure() footprint {
	debug.FreeOSMemory()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	var total, resident int
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		_, _ = fmt.Sscan(string(statm), &total, &resident)
	}
	return footprint{resident * os.Getpagesize(), int(memory.HeapAlloc + memory.StackInuse), runtime.NumGoroutine()}
}

// each describes what sockets take.
func (f footprint) each(before footprint, sockets int) string {
	n := float64(sockets)
	return fmt.Sprintf("each takes %.2f KiB of heap and stack, %.2f KiB of RSS, %.3f goroutines",
		float64(f.heap-before.heap)/n/1024, float64(f.rss-before.rss)/n/1024, float64(f.goroutines-before.goroutines)/n)
}

func TestScale_OverTCP(t *testing.T) {
	sockets := cmp.Or(*scale, 200)
	h := newScale(t, dog.Options{ParkAfter: time.Second})
	addr := serveTCP(t, h, nil)
	before := measure()
	start := time.Now()
	took := func() time.Duration { return time.Since(start).Round(time.Millisecond) }
	clients := startClients(t, addr, sockets)
	clients.wait(t, scaleConnected)
	connected := took()
	require.Equal(t, sockets, h.Runtime.Stats().Sockets)

	if runtime.GOOS == "linux" {
		require.Eventually(
			t, func() bool { return runtime.NumGoroutine() < before.goroutines+10 }, patience, 10*time.Millisecond,
			"no idle socket has a goroutine",
		)
	}
	parked := took()
	idle := measure()

	start = time.Now()
	require.NoError(t, h.Group.Broadcast(t.Context(), scaleNews))
	returned := took()
	clients.wait(t, scaleReceived)
	received := took()
	require.Eventually(
		t, func() bool { return h.Runtime.Stats().MessagesOut == uint64(sockets) }, patience, time.Millisecond,
	)
	after := measure()

	start = time.Now()
	clients.end(t)
	require.Eventually(t, func() bool { return h.Runtime.Stats().Sockets == 0 }, patience, 10*time.Millisecond)
	t.Logf(
		"%d sockets: connected after %v, parked after %v; a broadcast returned after %v and was received by all "+
			"after %v; "+
			"all were gone %v after the clients' process",
		sockets,
		connected,
		parked,
		returned,
		received,
		took(),
	)
	t.Log("idle", idle.each(before, sockets))
	t.Log("after the broadcast", after.each(before, sockets))
}

// clientProcess is another process with the clients of a test.
type clientProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
}

func startClients(t *testing.T, addr string, sockets int) *clientProcess {
	t.Helper()
	cmd := exec.CommandContext(
		t.Context(), os.Args[0], "-test.run=^TestScale_Clients$", fmt.Sprint("-sockets=", sockets),
	)
	cmd.Env = append(os.Environ(), scaleAddr+"="+addr)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return &clientProcess{cmd, stdin, bufio.NewScanner(stdout)}
}

// wait waits for a line that the clients print.
func (c *clientProcess) wait(t *testing.T, line string) {
	t.Helper()
	var lines []string
	for c.lines.Scan() {
		if c.lines.Text() == line {
			return
		}
		lines = append(lines, c.lines.Text())
	}
	require.Fail(t, "the clients failed", strings.Join(lines, "\n"))
}

func (c *clientProcess) end(t *testing.T) {
	t.Helper()
	require.NoError(t, c.stdin.Close())
	for c.lines.Scan() {
	}
	require.NoError(t, c.cmd.Wait())
}

// TestScale_Clients is the clients' process of TestScale_OverTCP. It prints how
// far it is, and ends when its standard input does.
func TestScale_Clients(t *testing.T) {
	addr := os.Getenv(scaleAddr)
	if addr == "" {
		t.Skip("a part of TestScale_OverTCP")
	}
	peers := make([]*peer, *scale)
	errs := make(chan error, scaleDialers)
	for d := range scaleDialers {
		go func() {
			var err error
			for i := d; i < len(peers) && err == nil; i += scaleDialers {
				address := 1 + i/scalePorts
				dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(address>>8), byte(address))}}
				peers[i], err = dial(&dialer, addr, fmt.Sprint("/ws?u=", i))
			}
			errs <- err
		}()
	}
	for range scaleDialers {
		require.NoError(t, <-errs)
	}
	fmt.Println(scaleConnected)

	var listening sync.WaitGroup
	var wrong atomic.Pointer[string]
	for i, p := range peers {
		listening.Go(func() {
			op, payload, err := p.next()
			if err != nil || op != opText || string(payload) != scaleNews {
				report := fmt.Sprintf("client %d: opcode %d %q, %v", i, op, payload, err)
				wrong.Store(&report)
			}
		})
	}
	listening.Wait()
	require.Nil(t, wrong.Load())
	fmt.Println(scaleReceived)
	_, err := io.Copy(io.Discard, os.Stdin)
	require.NoError(t, err)
	for _, p := range peers {
		p.Close()
	}
}

func TestScale_InMemory(t *testing.T) {
	sockets := cmp.Or(*scale, 2000)
	h := newScale(t, dog.Options{Sockets: dog.SocketOptions{PingInterval: -1}}) // the clients would not answer
	closing := string([]byte{0x03, 0xe9})                                       // 1001
	// What the clients have been sent and have not got yet.
	var messages, closes atomic.Int64
	messages.Store(int64(sockets))
	closes.Store(int64(sockets))
	received, closed := make(chan struct{}), make(chan struct{})

	before := measure()
	start := time.Now()
	took := func() time.Duration { return time.Since(start).Round(time.Millisecond) }
	for i := range sockets {
		s := &fixture.Sink{Inbound: make(chan []byte, 1), Answered: make(chan struct{}), Closed: make(chan struct{})}
		s.Written = func(n int) {
			if n == len(scaleNews)+2 {
				if messages.Add(-1) == 0 {
					close(received)
				}
				return
			}
			s.Inbound <- fixture.Frame(opClose, closing)
			if closes.Add(-1) == 0 {
				close(closed)
			}
		}
		stub, err := h.Identify(t.Context(), fmt.Sprint("user-", i))
		require.NoError(t, err)
		stub.ServeHTTP(&fixture.HijackedResponse{Conn: s}, fixture.NewUpgrade("/ws"))
		<-s.Answered
	}
	connected := took()
	idle := measure()

	start = time.Now()
	stats := h.Runtime.Stats()
	counted := took()
	require.Equal(t, sockets, stats.Sockets)
	require.Len(t, stats.Groups, 1)
	require.Equal(t, sockets, stats.Groups[0].UIDs)
	require.Len(t, stats.Groups[0].Replicas, (sockets+scaleLimit-1)/scaleLimit)

	start = time.Now()
	require.NoError(t, h.Group.Broadcast(t.Context(), scaleNews))
	<-received
	broadcast := took()

	start = time.Now()
	require.NoError(t, h.Runtime.Shutdown(t.Context()))
	<-closed
	ended := took()
	stats = h.Runtime.Stats()
	require.Zero(t, stats.Sockets)
	require.Zero(t, stats.QueuedBytes)
	require.Zero(t, stats.Lost)
	require.EqualValues(t, sockets, stats.MessagesOut)
	for _, r := range stats.Groups[0].Replicas {
		require.Zero(t, r.Load)
	}
	t.Logf("%d sockets: connected after %v; Stats took %v, a broadcast to all %v, Shutdown %v",
		sockets, connected, counted, broadcast, ended)
	t.Log(idle.each(before, sockets))
}
