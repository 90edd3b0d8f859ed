package load_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// Clients that come and go. The long form:
//
//	go test ./test/load -run TestChurn -churn 200000 -v
var churned = flag.Int("churn", 3200, "connects in TestChurn")

const (
	churnGroups  = 4
	churnLimit   = 8
	churnIDs     = 50 // of a group
	churnWorkers = 16
	churnHeld    = 4 // sockets that a worker keeps open
)

// churnRooms is rooms on a real network whose clients come and go.
type churnRooms struct {
	*fixture.Rooms
	addr   string
	dialer net.Dialer

	opened, closed  atomic.Int64 // by Trace
	onOpen, onClose atomic.Int64
	most            atomic.Int64 // sockets or places that a replica had at an OnOpen
	sent            [churnGroups]atomic.Int64
}

func newChurnRooms(t *testing.T) *churnRooms {
	m := &churnRooms{}
	m.Rooms = fixture.NewRoomsWith(t, dog.Options{
		Logger: slog.New(slog.DiscardHandler),
		Trace: &dog.Trace{
			SocketOpened: func(*dog.Socket) { m.opened.Add(1) },
			SocketClosed: func(*dog.Socket, *dog.CloseError) { m.closed.Add(1) },
		},
	}, dog.GroupOptions[fixture.Lobby]{Limit: churnLimit}, &fixture.Hooks{
		Open: func(_ context.Context, r *fixture.Room, _ *dog.Socket) error {
			sockets := 0
			for range r.Sockets() {
				sockets++
			}
			m.see(sockets)
			if m.onOpen.Add(1)%100 == 0 {
				for s := range m.Lobbies.Named(r.GroupName()).Replicas() {
					m.see(s.Load)
				}
			}
			return nil
		},
		Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, msg dog.Message) error {
			m.sent[r.GroupName()[0]-'0'].Add(1)
			return r.Broadcast(msg)
		},
		Close: func(context.Context, *fixture.Room, *dog.Socket, int, string) error {
			m.onClose.Add(1)
			return nil
		},
	})
	m.addr = serveTCP(t, m, nil)
	return m
}

// see notes how many were on a replica.
func (m *churnRooms) see(n int) {
	for {
		most := m.most.Load()
		if int64(n) <= most || m.most.CompareAndSwap(most, int64(n)) {
			return
		}
	}
}

// ServeHTTP connects a request for /ws?group=g&u=id.
func (m *churnRooms) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	stub, err := m.Lobbies.Named(req.FormValue("group")).Identify(req.Context(), req.FormValue("u"))
	if err != nil {
		dog.WriteError(w, err)
		return
	}
	stub.ServeHTTP(w, req)
}

// come connects a client, which sends a word to its group and stays until it
// has received that itself.
func (m *churnRooms) come(group, id int, word string) (*peer, error) {
	p, err := dial(&m.dialer, m.addr, fmt.Sprintf("/ws?group=%d&u=%d", group, id))
	if err != nil {
		return nil, err
	}
	if err := p.send(opText, word); err != nil {
		return nil, err
	}
	_, err = p.await(word)
	return p, err
}

// await reads until a text arrives and returns how many texts did.
func (p *peer) await(word string) (received int64, err error) {
	for {
		op, payload, err := p.next()
		if err != nil {
			return received, err
		}
		if op != opText {
			return received, fmt.Errorf("opcode %d %q instead of %q", op, payload, word)
		}
		received++
		if string(payload) == word {
			return received, nil
		}
	}
}

// reset ends the connection without a word. The kernel sends RST.
func (p *peer) reset() error { return errors.Join(p.SetLinger(0), p.Close()) }

// closeHandshake ends the connection by the closing handshake.
func (p *peer) closeHandshake() error {
	if err := p.send(opClose, "\x03\xe8"); err != nil {
		return err
	}
	for {
		op, _, err := p.next()
		if err != nil {
			return errors.Join(err, p.Close())
		}
		if op == opClose {
			return p.Close()
		}
	}
}

// churn connects n clients. Every second one ends abruptly, every eighth during
// the handshake.
func (m *churnRooms) churn(n int) error {
	errs := make([]error, churnWorkers)
	var working sync.WaitGroup
	for worker := range churnWorkers {
		working.Go(func() { errs[worker] = m.work(worker, (n+churnWorkers-1)/churnWorkers) })
	}
	working.Wait()
	return errors.Join(errs...)
}

func (m *churnRooms) work(worker, n int) error {
	var leave []func() error // how those who are there leave
	for i := range n {
		group, id := worker%churnGroups, (worker+i*7)%churnIDs
		if i%8 == 0 {
			p, err := request(&m.dialer, m.addr, fmt.Sprintf("/ws?group=%d&u=%d", group, id))
			if err != nil {
				return err
			}
			if err := p.reset(); err != nil {
				return err
			}
			continue
		}
		p, err := m.come(group, id, fmt.Sprint(worker, ".", i))
		if err != nil {
			return err
		}
		if i%2 == 0 {
			leave = append(leave, p.reset)
		} else {
			leave = append(leave, p.closeHandshake)
		}
		if len(leave) > churnHeld {
			if err := leave[0](); err != nil {
				return err
			}
			leave = leave[1:]
		}
	}
	for _, f := range leave {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// places returns how many places of all groups are taken.
func (m *churnRooms) places() (places int) {
	for _, g := range m.Runtime.Stats().Groups {
		for _, r := range g.Replicas {
			places += r.Load
		}
	}
	return places
}

// holdings is what a process can lose.
type holdings struct {
	goroutines, descriptors int
	heap                    uint64
}

// descriptors returns how many are open, 0 where /proc does not report it.
func descriptors() int {
	open, _ := os.ReadDir("/proc/self/fd")
	return len(open)
}

func holds() holdings {
	runtime.GC()
	runtime.GC() // what pools had before the first one
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return holdings{runtime.NumGoroutine(), descriptors(), memory.HeapAlloc}
}

func (h holdings) within(o holdings, slack uint64) bool {
	return h.goroutines <= o.goroutines && h.descriptors <= o.descriptors && h.heap <= o.heap+slack
}

func TestChurn_LeavesNothing(t *testing.T) {
	m := newChurnRooms(t)
	// One client of each group stays, and must miss nothing. With others it
	// fills a replica first, so that the limit is seen.
	missed, failed := make(chan int64, churnGroups), make(chan error, churnGroups)
	var witnesses []*peer
	for group := range churnGroups {
		var here []*peer
		for i := range churnLimit {
			p, err := m.come(group, i, fmt.Sprint("first ", i))
			require.NoError(t, err)
			defer p.Close()
			here = append(here, p)
		}
		for _, p := range here[1:] {
			require.NoError(t, p.closeHandshake())
		}
		witness := here[0]
		witnesses = append(witnesses, witness)
		go func() {
			received, err := witness.await("last")
			missed <- m.sent[group].Load() - received - 1 // it has received its own first word before
			failed <- errors.Join(err, witness.closeHandshake())
		}()
	}
	require.EqualValues(t, churnLimit, m.most.Load())
	rest := func() {
		require.Eventually(t, func() bool { return m.places() == churnGroups }, patience, time.Millisecond)
	}

	// Until pools and maps have their size; and without collections, which
	// would close what nobody else has closed.
	open := descriptors()
	percent := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(percent)
	require.NoError(t, m.churn(800))
	rest()
	require.Eventually(t, func() bool { return descriptors() < open+churnLimit }, patience, time.Millisecond)
	debug.SetGCPercent(percent)

	before := holds()
	start := time.Now()
	require.NoError(t, m.churn(*churned))
	took := time.Since(start)
	rest()

	// A socket that stays takes over 1 KiB, so the bound shows every third of
	// 3,200, or 6 bytes for each of 200,000.
	const slack = 1 << 20
	after := holds()
	for time.Since(start) < took+patience && !after.within(before, slack) {
		after = holds()
	}
	require.LessOrEqual(t, after.goroutines, before.goroutines)
	require.LessOrEqual(t, after.descriptors, before.descriptors)
	require.LessOrEqual(t, after.heap, before.heap+slack)
	require.EqualValues(t, churnLimit, m.most.Load(), "the limit was exceeded")
	stats := m.Runtime.Stats()
	require.Equal(t, churnGroups, stats.Sockets)
	require.Zero(t, stats.QueuedBytes)
	require.Zero(t, stats.Slow)

	for _, p := range witnesses {
		require.NoError(t, p.send(opText, "last"))
	}
	for range witnesses {
		require.Zero(t, <-missed)
		require.NoError(t, <-failed)
	}
	require.NoError(t, m.Runtime.Shutdown(t.Context()))
	require.Equal(t, m.opened.Load(), m.closed.Load())
	require.Equal(t, m.opened.Load(), m.onOpen.Load())
	require.Equal(t, m.opened.Load(), m.onClose.Load())
	t.Logf(
		"%d clients came and went in %v, half of them abruptly: goroutines %d to %d, descriptors %d to %d, heap %d "+
			"to %d KiB",
		*churned, took.Round(time.Millisecond), before.goroutines, after.goroutines, before.descriptors,
		after.descriptors, before.heap>>10, after.heap>>10,
	)
}
