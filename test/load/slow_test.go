package load_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// Clients over TCP that do not read, or are dead, beside others that are well.

// Opcodes of RFC 6455.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// patience is how long a test waits for what must happen. No test waits for
// that long unless it fails.
const patience = time.Minute

// forEachOwner runs a test, which may have a name besides that of the kind, for
// each kind of owner.
func forEachOwner(t *testing.T, name string, f func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range fixture.OwnerKinds {
		t.Run(path.Join(name, kind), func(t *testing.T) { f(t, kind) })
	}
}

// forEachReceiver runs a test for the kinds of owners that choose the options
// of each socket.
func forEachReceiver(t *testing.T, f func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range fixture.OwnerKinds {
		if fixture.HasReceive(kind) {
			t.Run(kind, func(t *testing.T) { f(t, kind) })
		}
	}
}

// An audience is an object, or a group of several replicas, with clients that
// read what they are sent, and others that do not.
type audience struct {
	*fixture.Owners
	well, slow []*peer
	ended      chan *dog.CloseError // how sockets ended
}

const (
	wellClients = 20
	slowClients = 5
	queueBytes  = 64 << 10
	padding     = 1 << 10 // of each message
	atOnce      = 8       // messages under way
	talk        = 100 * atOnce
)

// newAudience connects the clients to an owner of a kind; slow are the options
// of the slow ones' sockets.
func newAudience(t *testing.T, kind string, options dog.Options, slow dog.SocketOptions) *audience {
	t.Helper()
	a := &audience{ended: make(chan *dog.CloseError, wellClients+slowClients)}
	options.Logger = slog.New(slog.DiscardHandler)
	options.Trace = &dog.Trace{SocketClosed: func(_ *dog.Socket, cause *dog.CloseError) { a.ended <- cause }}
	pad := strings.Repeat(".", padding)
	owners := 1
	if fixture.IsReplica(kind) {
		owners = slowClients
	}
	a.Owners = fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
		MaxSockets: (wellClients + slowClients) / owners,
		Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
			var own *dog.SocketOptions
			if req.URL.Path == "/slow" {
				own = &slow
			}
			_, err := o.Connect(w, req, own)
			return err
		},
		Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
			key := m.Data[len(m.Data)-1:]
			return o.Broadcast(m.String()+pad, dog.Coalesce(string(key)))
		},
	})
	addr := serveTCP(t, a.Serve, smallBuffer)
	for i := range slowClients {
		a.slow = append(a.slow, mustDial(t, addr, fmt.Sprint("/slow?u=slow", i)))
		for j := range wellClients / slowClients {
			a.well = append(a.well, mustDial(t, addr, fmt.Sprintf("/ws?u=well%d.%d", i, j)))
		}
	}
	require.Len(t, a.Loads(), owners)
	return a
}

// smallBuffer has the kernel take little for a client that does not read.
func smallBuffer(c *net.TCPConn) { _ = c.SetWriteBuffer(8 << 10) }

// talk has a client send the numbers up to talk to all, while the fast clients
// read and the others do not. Halfway and at the end it waits until no more
// than QueueBytes wait for the others, as is so once the grace time of each has
// ended. These times end one by one, so the sum may grow again after halfway;
// what waits for one connection is bounded in TestAlive_FloodIsBounded of
// internal/conn.
func (a *audience) talk(t *testing.T) {
	t.Helper()
	const onItsWay = (wellClients + slowClients) * atOnce * (padding + 16)
	bounded := func() bool { return a.Runtime.Stats().QueuedBytes <= slowClients*queueBytes+onItsWay }
	for first := 0; first < talk; first += atOnce {
		if first == talk/2 {
			require.Eventually(t, bounded, patience, time.Millisecond)
		}
		for i := first; i < first+atOnce; i++ {
			require.NoError(t, a.well[0].send(opText, fmt.Sprintf("%06d", i)))
		}
		for _, p := range a.well {
			for i := first; i < first+atOnce; i++ {
				n, err := p.number()
				require.NoError(t, err)
				require.Equal(t, i, n)
			}
		}
	}
	require.Eventually(t, bounded, patience, time.Millisecond)
}

// requireLeft requires that the slow clients, and only they, have left and
// nothing of them is kept.
func (a *audience) requireLeft(t *testing.T) {
	t.Helper()
	sum := 0
	for _, load := range a.Loads() {
		sum += load
	}
	require.Equal(t, wellClients, sum)
	require.Equal(t, wellClients, a.Runtime.Stats().Sockets)
	require.Eventually(t, func() bool { return a.Runtime.Stats().QueuedBytes == 0 }, patience, time.Millisecond)
}

func TestSlow_DisconnectOverTCP(t *testing.T) {
	forEachReceiver(t, func(t *testing.T, kind string) {
		a := newAudience(t, kind, dog.Options{}, dog.SocketOptions{
			QueueBytes: queueBytes, Slow: dog.DisconnectSlow, WriteTimeout: time.Second, CloseTimeout: patience,
		})
		a.talk(t)
		require.Equal(t, wellClients+slowClients, a.Runtime.Stats().Sockets, "they have not read that they are closed")
		for _, p := range a.slow {
			received, err := p.listen()
			require.EqualError(t, err, "closed: 1008 slow consumer")
			require.NotEmpty(t, received, "what the kernel took")
			for i, n := range received {
				require.Equal(t, i, n)
			}
			require.NoError(t, p.Close())
		}
		for range a.slow {
			cause := <-a.ended
			require.ErrorIs(t, cause, dog.ErrSlowConsumer)
			require.Equal(t, 1008, cause.Code)
		}
		stats := a.Runtime.Stats()
		require.EqualValues(t, slowClients, stats.Slow)
		require.Positive(t, stats.Lost)
		a.requireLeft(t)
		a.talk(t)
	})
}

func TestSlow_DropOldestOverTCP(t *testing.T) {
	forEachReceiver(t, func(t *testing.T, kind string) {
		a := newAudience(
			t, kind, dog.Options{},
			dog.SocketOptions{QueueBytes: queueBytes, Slow: dog.DropOldest, WriteTimeout: patience},
		)
		a.talk(t)
		require.Greater(t, a.Runtime.Stats().QueuedBytes, slowClients*queueBytes/2)
		all := 0
		for _, p := range a.slow {
			received, err := p.listen()
			require.NoError(t, err)
			require.True(t, slices.IsSorted(received), received)
			all += len(received)
		}
		stats := a.Runtime.Stats()
		require.Zero(t, stats.Slow)
		require.Zero(t, stats.Lost)
		require.Positive(t, stats.Dropped)
		require.EqualValues(t, slowClients*talk, uint64(all)+stats.Dropped)
		require.Empty(t, a.ended)
	})
}

func TestSlow_CoalesceOverTCP(t *testing.T) {
	forEachReceiver(t, func(t *testing.T, kind string) {
		a := newAudience(
			t, kind, dog.Options{},
			dog.SocketOptions{QueueBytes: queueBytes, Slow: dog.CoalesceSlow, WriteTimeout: patience},
		)
		a.talk(t)
		all := 0
		for _, p := range a.slow {
			received, err := p.listen()
			require.NoError(t, err)
			require.True(t, slices.IsSorted(received), received)
			const keys = 10
			for i, n := range received[len(received)-keys:] {
				require.Equal(t, talk-keys+i, n, "the newest of each key")
			}
			all += len(received)
		}
		stats := a.Runtime.Stats()
		require.Zero(t, stats.Slow)
		require.Zero(t, stats.Lost)
		require.Positive(t, stats.Coalesced)
		require.EqualValues(t, slowClients*talk, uint64(all)+stats.Coalesced)
		require.Empty(t, a.ended)
	})
}

func TestSlow_ClientsThatNeverReadAreCutOffOverTCP(t *testing.T) {
	forEachReceiver(t, func(t *testing.T, kind string) {
		for name, c := range map[string]struct {
			options dog.SocketOptions
			code    int
		}{
			"WriteTimeout": {dog.SocketOptions{Slow: dog.DropOldest, WriteTimeout: 100 * time.Millisecond}, 1006},
			"CloseTimeout": {
				dog.SocketOptions{
					Slow: dog.DisconnectSlow, WriteTimeout: time.Second, CloseTimeout: 100 * time.Millisecond,
				},
				1008,
			},
		} {
			t.Run(name, func(t *testing.T) {
				c.options.QueueBytes = queueBytes
				a := newAudience(t, kind, dog.Options{}, c.options)
				a.talk(t)
				for range a.slow {
					cause := <-a.ended
					require.ErrorIs(t, cause, dog.ErrSlowConsumer)
					require.Equal(t, c.code, cause.Code)
				}
				require.EqualValues(t, slowClients, a.Runtime.Stats().Slow)
				a.requireLeft(t)
				a.talk(t)
			})
		}
	})
}

// A dead client is one that the kernel still speaks for, but that neither reads
// nor answers. Some are parked when they are found.
func TestSlow_DeadClientsAreFoundOverTCP(t *testing.T) {
	forEachReceiver(t, func(t *testing.T, kind string) {
		a := newAudience(
			t, kind,
			dog.Options{Sockets: dog.SocketOptions{PingInterval: 2 * time.Second}, ParkAfter: 50 * time.Millisecond},
			dog.SocketOptions{},
		)
		got := make(chan error)
		for _, p := range a.well {
			go func() {
				_, _, err := p.next() // answers pings until it gets something else
				got <- err
			}()
		}
		for range a.slow {
			cause := <-a.ended
			require.ErrorIs(t, cause, dog.ErrPingTimeout)
			require.Equal(t, 1006, cause.Code)
		}
		require.Zero(t, a.Runtime.Stats().Slow)
		a.requireLeft(t)
		require.NoError(t, a.Broadcast(t.Context(), "still there?"))
		for range a.well {
			require.NoError(t, <-got)
		}
		require.Empty(t, a.ended)
	})
}

// BenchmarkBroadcastSlow is a message to 1,000 sockets over TCP until all have
// it but those that never read. Clients and server share a process: compare
// only the two with each other.
func BenchmarkBroadcastSlow(b *testing.B) {
	const sockets = 1000
	for _, slow := range []int{0, sockets / 100} {
		b.Run(fmt.Sprint("slow=", slow), func(b *testing.B) {
			options := dog.Options{
				Logger: slog.New(slog.DiscardHandler),
				Sockets: dog.SocketOptions{
					PingInterval: -1,
					QueueBytes:   queueBytes,
					Slow:         dog.DropOldest,
					WriteTimeout: time.Hour,
				},
			}
			h := fixture.NewRoomsWith(b, options, dog.GroupOptions[fixture.Lobby]{Limit: 100}, &fixture.Hooks{})
			addr := serveTCP(b, h, smallBuffer)
			var left atomic.Int64
			done := make(chan struct{})
			for i := range sockets {
				p := mustDial(b, addr, fmt.Sprint("/ws?u=", i))
				if i < slow {
					continue
				}
				go func() {
					for {
						if _, _, err := p.next(); err != nil {
							return
						}
						if left.Add(-1) == 0 {
							done <- struct{}{}
						}
					}
				}()
			}
			send := func(message []byte) {
				left.Store(int64(sockets - slow))
				if err := h.Group.Broadcast(context.Background(), message); err != nil {
					b.Fatal(err)
				}
				<-done
			}
			for h.Runtime.Stats().Dropped < uint64(10*slow) { // until the kernel takes no more for them
				send(make([]byte, queueBytes/4))
			}
			message := make([]byte, 64)
			var took []time.Duration
			runtime.GC()
			for b.Loop() {
				start := time.Now()
				send(message)
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
