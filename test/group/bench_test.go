package group_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// benchRooms is rooms without the checks of the test kit.
type benchRooms struct {
	group dog.GroupStub[fixture.Lobby, fixture.Room]
}

func newBenchRooms(b *testing.B, limit int, on *fixture.Hooks, history ...dog.HistoryOptions) *benchRooms {
	b.Helper()
	rt, err := dog.New(
		dog.Options{ReserveFor: time.Hour, LingerFor: time.Hour, Sockets: dog.SocketOptions{PingInterval: -1}},
	)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, rt.Shutdown(context.Background())) })
	rooms, err := dog.RegisterReplica(
		rt, "room", &dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: on} }},
	)
	require.NoError(b, err)
	options := &dog.GroupOptions[fixture.Lobby]{Limit: limit}
	if len(history) > 0 {
		options.History = history[0]
	}
	lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, options)
	require.NoError(b, err)
	return &benchRooms{group: lobbies.Named("main")}
}

func (p *benchRooms) identify(b *testing.B, uid string) dog.Stub[fixture.Room] {
	stub, err := p.group.Identify(context.Background(), uid)
	if err != nil {
		b.Fatal(err)
	}
	return stub
}

// join connects a sink, which is closed at the end.
func (p *benchRooms) join(b *testing.B, uid string, s *fixture.Sink) {
	s.Answered, s.Closed = make(chan struct{}), make(chan struct{})
	b.Cleanup(func() { s.Close() })
	p.identify(b, uid).ServeHTTP(&fixture.HijackedResponse{Conn: s}, fixture.NewUpgrade("/ws"))
	<-s.Answered
}

// visit makes n uids linger where they were, all at the same time, for one
// request each.
func (p *benchRooms) visit(b *testing.B, n int, user func(int) string) {
	stubs := make([]dog.Stub[fixture.Room], n)
	for i := range stubs {
		stubs[i] = p.identify(b, user(i))
	}
	req := fixture.NewRequest("/")
	for _, stub := range stubs {
		stub.ServeHTTP(&fixture.DiscardResponse{}, req)
	}
}

// BenchmarkIdentify is a decision and its release, for uids that linger on
// replicas with 50 of them each.
func BenchmarkIdentify(b *testing.B) {
	for _, ids := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("ids=%d/replicas=%d", ids, ids/50), func(b *testing.B) {
			p := newBenchRooms(b, 50, &fixture.Hooks{})
			buf := append(make([]byte, 0, 16), "user-"...)
			// fresh, as from a request
			user := func(i int) string { return string(strconv.AppendInt(buf, int64(i), 10)) }
			p.visit(b, ids, user)
			runtime.GC() // what the set-up left behind
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7_368_787) % ids // without a common factor: visits all, far from each other
				p.identify(b, user(i)).Release()
			}
		})
	}
}

// BenchmarkRequest is a request through a stub, answered by Receive.
func BenchmarkRequest(b *testing.B) {
	p := newBenchRooms(b, 2, &fixture.Hooks{})
	stub := p.identify(b, "ada")
	w, req := &fixture.DiscardResponse{}, fixture.NewRequest("/")
	b.ReportAllocs()
	for b.Loop() {
		stub.ServeHTTP(w, req)
	}
}

// BenchmarkBroadcast is a message to 10,000 sockets, until it has been written
// to all of them.
func BenchmarkBroadcast(b *testing.B) { broadcast(b) }

// BenchmarkBroadcastKept is BenchmarkBroadcast for a group with a history.
func BenchmarkBroadcastKept(b *testing.B) { broadcast(b, dog.HistoryOptions{Count: 10_000}) }

func broadcast(b *testing.B, history ...dog.HistoryOptions) {
	const sockets = 10_000
	for _, replicas := range []int{1, 20, 200} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			p := newBenchRooms(b, sockets/replicas, &fixture.Hooks{}, history...)
			var left atomic.Int64
			done := make(chan struct{})
			written := func(int) {
				if left.Add(-1) == 0 {
					done <- struct{}{}
				}
			}
			for i := range sockets {
				p.join(b, fmt.Sprint("user-", i), &fixture.Sink{Written: written})
			}
			message := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				left.Store(sockets)
				if err := p.group.Broadcast(context.Background(), message); err != nil {
					b.Fatal(err)
				}
				<-done
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sockets, "ns/socket")
		})
	}
}

// BenchmarkGossip is a question to all replicas and their answers.
func BenchmarkGossip(b *testing.B) {
	for _, siblings := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("siblings=%d", siblings), func(b *testing.B) {
			p := newBenchRooms(
				b, 1,
				&fixture.Hooks{
					Gossip: func(context.Context, *fixture.Room, dog.Message) (any, error) { return 1, nil },
				},
			)
			for i := range siblings {
				p.identify(b, fmt.Sprint("user-", i))
			}
			b.ReportAllocs()
			for b.Loop() {
				replies, err := p.group.Gossip(context.Background(), "how many?")
				if err != nil || len(replies) != siblings || replies[0].Err != nil {
					b.Fatal(replies, err)
				}
			}
		})
	}
}

// BenchmarkMessage is a message of 64 bytes from a client to its replica and
// back.
func BenchmarkMessage(b *testing.B) {
	p := newBenchRooms(b, 1, &fixture.Hooks{Message: fixture.Echo})
	back := make(chan int)
	s := &fixture.Sink{Inbound: make(chan []byte)}
	s.Written = func(n int) {
		select {
		case back <- n:
		case <-s.Closed:
		}
	}
	p.join(b, "ada", s)
	const binary, masked = 0x82, 0x80
	frame := append([]byte{binary, masked | 64, 0, 0, 0, 0}, make([]byte, 64)...)
	b.ReportAllocs()
	for b.Loop() {
		s.Inbound <- frame
		if n := <-back; n != 2+64 {
			b.Fatalf("%d bytes came back", n)
		}
	}
}
