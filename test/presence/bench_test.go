package presence_test

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// benchReplica is a replica that counts the ends of its sockets.
type benchReplica struct {
	dog.Replica
	left *sync.WaitGroup
}

func (s *benchReplica) OnClose(context.Context, *dog.Socket, int, string) error {
	s.left.Done()
	return nil
}

// benchGroup is a group that gets the changes of its members, and does nothing.
type benchGroup struct{ dog.Group }

func (*benchGroup) OnPresence(context.Context, dog.PresenceChange) error { return nil }

// newBenchGroup returns a group with presence, or without.
func newBenchGroup(
	b *testing.B, p dog.Presence, left *sync.WaitGroup,
) (identify func(uid string) (dog.Stub[benchReplica], error)) {
	b.Helper()
	rt, err := dog.New(dog.Options{
		Logger: slog.New(slog.DiscardHandler), Sockets: dog.SocketOptions{PingInterval: -1},
	})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, rt.Shutdown(context.Background())) })
	replicas, err := dog.RegisterReplica(rt, "benchReplica", &dog.ReplicaOptions[benchReplica]{
		New: func() *benchReplica { return &benchReplica{left: left} },
	})
	require.NoError(b, err)
	if p == (dog.Presence{}) {
		groups, err := dog.RegisterGroup(rt, "benchGroup", replicas, &dog.GroupOptions[dog.Group]{Limit: 1000})
		require.NoError(b, err)
		return func(uid string) (dog.Stub[benchReplica], error) {
			return groups.Named("a").Identify(context.Background(), uid)
		}
	}
	groups, err := dog.RegisterGroup(
		rt, "benchGroup", replicas, &dog.GroupOptions[benchGroup]{Limit: 1000, Presence: p},
	)
	require.NoError(b, err)
	return func(uid string) (dog.Stub[benchReplica], error) {
		return groups.Named("a").Identify(context.Background(), uid)
	}
}

// BenchmarkAttachAndRelease connects 100,000 uids to a group, and disconnects
// them.
func BenchmarkAttachAndRelease(b *testing.B) {
	for name, p := range map[string]dog.Presence{"off": {}, "on": {Grace: 100 * time.Millisecond}} {
		b.Run("presence="+name, func(b *testing.B) {
			const clients = 100_000
			var left sync.WaitGroup
			identify := newBenchGroup(b, p, &left)
			uids := make([]string, clients)
			for i := range uids {
				uids[i] = "user-" + strconv.Itoa(i)
			}
			var perMember float64
			b.ReportAllocs()
			for b.Loop() {
				sinks := make([]*fixture.Sink, clients)
				left.Add(clients)
				for i, uid := range uids {
					sinks[i] = &fixture.Sink{Answered: make(chan struct{}), Closed: make(chan struct{})}
					stub, err := identify(uid)
					if err != nil {
						b.Fatal(err)
					}
					stub.ServeHTTP(&fixture.HijackedResponse{Conn: sinks[i]}, fixture.NewUpgrade("/"))
				}
				b.StopTimer()
				perMember = heap() / clients
				b.StartTimer()
				for _, s := range sinks {
					_ = s.Close()
				}
				left.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/clients, "ns/client")
			b.ReportMetric(perMember, "heap-B/client")
		})
	}
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
