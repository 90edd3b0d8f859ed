package observe_test

import (
	"context"
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

// BenchmarkStats shows how long others are held up while Stats goes through
// many objects: max-ns is the longest call meanwhile, and max-alone-ns the
// longest in as much time without Stats.
func BenchmarkStats(b *testing.B) {
	rt, err := dog.New(dog.Options{MaxObjects: -1, EvictAfter: time.Hour})
	require.NoError(b, err)
	cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
	require.NoError(b, err)
	for i := range 300_000 {
		require.NoError(b, dog.CallErr0(context.Background(), cells.Named(strconv.Itoa(i)), (*fixture.Object).Nothing))
	}
	// longestWhile returns how long the longest call lasts while f runs.
	longestWhile := func(f func()) (longest time.Duration) {
		done := make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				start := time.Now()
				_ = dog.CallErr0(
					context.Background(), cells.Named(strconv.Itoa(n%300_000)), (*fixture.Object).Nothing,
				)
				longest = max(longest, time.Since(start))
			}
		})
		f()
		close(done)
		others.Wait()
		return longest
	}
	longest := longestWhile(func() {
		for b.Loop() {
			rt.Stats()
		}
	})
	alone := longestWhile(func() { time.Sleep(b.Elapsed()) })
	b.ReportMetric(float64(longest), "max-ns")
	b.ReportMetric(float64(alone), "max-alone-ns")
	require.NoError(b, rt.Shutdown(context.Background()))
}
