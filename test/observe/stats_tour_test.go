package observe_test

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// Whatever comes and goes while Stats goes through everything is counted once:
// counts do not fall, and in the end they are exact.
func TestStats_CountMovingObjectsOnce(t *testing.T) {
	rt := dogtest.New(t, dog.Options{MaxObjects: 50})
	cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
	require.NoError(t, err)
	rooms, err := dog.RegisterReplica(
		rt, "room",
		&dog.ReplicaOptions[fixture.Room]{
			New: func() *fixture.Room { return &fixture.Room{On: &fixture.Hooks{Message: fixture.Echo}} },
		},
	)
	require.NoError(t, err)
	lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[fixture.Lobby]{Limit: 300})
	require.NoError(t, err)
	h := &fixture.Rooms{Runtime: rt, Lobbies: lobbies, Group: lobbies.Named("main")}
	h.Server = dogtest.Serve(t, h)

	var work, look sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		look.Go(func() {
			var last dog.Stats
			for {
				s := rt.Stats()
				if s.Turns.Events < last.Turns.Events || s.MessagesIn < last.MessagesIn ||
					s.MessagesOut < last.MessagesOut {
					t.Errorf("counts fell: %+v after %+v", s.Turns, last.Turns)
				}
				last = s
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	const workers, objects, clients = 4, 1000, 60
	for w := range workers {
		work.Go(func() {
			for i := range objects {
				_ = dog.CallErr0(
					context.Background(), cells.Named(strconv.Itoa(w*objects+i)), (*fixture.Object).Nothing,
				)
			}
		})
		work.Go(func() {
			for i := range clients {
				c := h.Join("user" + strconv.Itoa(w*clients+i))
				c.Send("hello")
				c.Receive()
				c.Close(1000, "")
			}
		})
	}
	work.Wait()
	close(done)
	look.Wait()
	require.Eventually(t, func() bool { return rt.Stats().Sockets == 0 }, time.Minute, time.Millisecond)
	s := rt.Stats()
	require.EqualValues(t, workers*clients, s.MessagesIn)
	require.EqualValues(t, workers*clients, s.MessagesOut)
}

// calls are how long the calls of some windows of time have taken.
type calls struct {
	all     []time.Duration
	longest []time.Duration // of each window
}

// report reports the 99.9th percentile, the longest call of the median window,
// and the longest of all. The last depends on what else the machine does.
func (c *calls) report(b *testing.B, of string) {
	slices.Sort(c.all)
	slices.Sort(c.longest)
	b.ReportMetric(float64(c.all[len(c.all)*999/1000]), "p99.9-"+of+"-ns")
	b.ReportMetric(float64(c.longest[len(c.longest)/2]), "longest-"+of+"-ns")
	b.ReportMetric(float64(c.all[len(c.all)-1]), "max-"+of+"-ns")
}

// BenchmarkStats shows how long others are held up while Stats goes through
// many objects: how long calls take meanwhile, beside a goroutine that computes
// for as long and shares nothing with them, and alone. The three kinds of
// windows take turns, so that all have the same share of what else the machine
// does. The garbage is collected between windows.
func BenchmarkStats(b *testing.B) {
	const objects = 300_000
	rt, err := dog.New(dog.Options{MaxObjects: -1, EvictAfter: time.Hour})
	require.NoError(b, err)
	cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
	require.NoError(b, err)
	call := func(i int) error {
		return dog.CallErr0(context.Background(), cells.Named(strconv.Itoa(i)), (*fixture.Object).Nothing)
	}
	for i := range objects {
		require.NoError(b, call(i))
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	// window adds the calls made while f runs.
	window := func(c *calls, f func()) {
		runtime.GC()
		done := make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() {
			var longest time.Duration
			for n := 0; ; n++ {
				select {
				case <-done:
					c.longest = append(c.longest, longest)
					return
				default:
				}
				start := time.Now()
				_ = call(n % objects)
				took := time.Since(start)
				c.all = append(c.all, took)
				longest = max(longest, took)
			}
		})
		f()
		close(done)
		others.Wait()
	}
	var during, beside, alone calls
	var total time.Duration
	for b.Loop() {
		var took time.Duration
		window(&during, func() {
			start := time.Now()
			rt.Stats()
			took = time.Since(start)
		})
		window(&beside, func() {
			const step = 300 * time.Microsecond // Stats gives way about as often
			for start := time.Now(); time.Since(start) < took; runtime.Gosched() {
				for began := time.Now(); time.Since(began) < step; {
				}
			}
		})
		window(&alone, func() { time.Sleep(took) })
		total += took
	}
	b.ReportMetric(float64(total)/float64(b.N), "ns/op") // of Stats alone
	during.report(b, "stats")
	beside.report(b, "busy")
	alone.report(b, "alone")
	require.NoError(b, rt.Shutdown(context.Background()))
}
