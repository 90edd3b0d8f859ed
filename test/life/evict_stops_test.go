package life_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// slowStop is an object whose OnStop takes a while.
type slowStop struct {
	dog.Object
	work *stopWork
}

// stopWork counts OnStop.
type stopWork struct {
	takes time.Duration
	until chan struct{} // for those that hang

	mu        sync.Mutex
	now, most int            // guarded by mu
	stopped   map[string]int // guarded by mu
}

func (s *slowStop) Nothing(context.Context) error { return nil }

func (s *slowStop) OnStop(context.Context, dog.StopReason) error {
	w := s.work
	w.mu.Lock()
	w.now++
	w.most = max(w.most, w.now)
	w.mu.Unlock()
	if strings.HasPrefix(s.Name(), "hangs") {
		<-w.until
	}
	time.Sleep(w.takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now--
	w.stopped[s.Name()]++
	return nil
}

func newSlowStops(
	t *testing.T, o dog.Options, takes time.Duration,
) (*stopWork, *dog.Runtime, *dog.Namespace[slowStop]) {
	w := &stopWork{takes: takes, until: make(chan struct{}), stopped: make(map[string]int)}
	rt := dogtest.New(t, o)
	all, err := dog.RegisterObject(
		rt, "slowStop", &dog.ObjectOptions[slowStop]{New: func() *slowStop { return &slowStop{work: w} }},
	)
	require.NoError(t, err)
	return w, rt, all
}

func TestEvict_LimitsConcurrentStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const objects = 640
		w, rt, all := newSlowStops(t, dog.Options{EvictAfter: time.Second}, 100*time.Millisecond)
		for i := range objects {
			require.NoError(t, dog.CallErr0(t.Context(), all.Named(strconv.Itoa(i)), (*slowStop).Nothing))
		}
		time.Sleep(1300 * time.Millisecond) // the first are being stopped
		used := 0
		for i := range objects {
			w.mu.Lock()
			waits := w.stopped[strconv.Itoa(i)] == 0
			w.mu.Unlock()
			if waits && used < 10 {
				require.NoError(t, dog.CallErr0(t.Context(), all.Named(strconv.Itoa(i)), (*slowStop).Nothing))
				used++
			}
		}
		time.Sleep(time.Minute)
		w.mu.Lock()
		require.Equal(t, 64, w.most)
		require.Len(t, w.stopped, objects)
		w.mu.Unlock()
		for o := range rt.Objects() {
			require.Fail(t, "still in memory", o.Name)
		}
	})
}

// One whose OnStop hangs keeps its place for a second.
func TestEvict_HangingOnStopKeepsNoOtherInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rt, all := newSlowStops(t, dog.Options{EvictAfter: time.Second}, 0)
		for i := range 200 {
			require.NoError(t, dog.CallErr0(t.Context(), all.Named("hangs "+strconv.Itoa(i)), (*slowStop).Nothing))
			require.NoError(t, dog.CallErr0(t.Context(), all.Named(strconv.Itoa(i)), (*slowStop).Nothing))
		}
		time.Sleep(7 * time.Second) // a second, and 200/64
		w.mu.Lock()
		require.Len(t, w.stopped, 200)
		require.Equal(t, 200, w.now)
		w.mu.Unlock()
		close(w.until)
		synctest.Wait()
		for o := range rt.Objects() {
			require.Fail(t, "still in memory", o.Name)
		}
	})
}

// An object that is used while it waits to be stopped stays.
func TestEvict_ObjectThatIsUsedAgainIsNotStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, all := newSlowStops(t, dog.Options{EvictAfter: 10 * time.Second}, 0)
		for i := range 64 {
			require.NoError(t, dog.CallErr0(t.Context(), all.Named("hangs "+strconv.Itoa(i)), (*slowStop).Nothing))
		}
		time.Sleep(5 * time.Second)
		require.NoError(t, dog.CallErr0(t.Context(), all.Named("late"), (*slowStop).Nothing))
		busy := time.NewTicker(500 * time.Millisecond)
		defer busy.Stop()
		for range 100 {
			<-busy.C
			require.NoError(t, dog.CallErr0(t.Context(), all.Named("late"), (*slowStop).Nothing))
		}
		w.mu.Lock()
		require.Zero(t, w.stopped["late"])
		require.Equal(t, 64, w.now)
		w.mu.Unlock()
		close(w.until)
	})
}

// What waits to be stopped when Shutdown begins is stopped by that.
func TestEvict_ShutdownStopsObjectsThatWaitToBeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rt, all := newSlowStops(t, dog.Options{EvictAfter: time.Second}, 100*time.Millisecond)
		for i := range 640 {
			require.NoError(t, dog.CallErr0(t.Context(), all.Named(strconv.Itoa(i)), (*slowStop).Nothing))
		}
		time.Sleep(1300 * time.Millisecond)
		require.NoError(t, rt.Shutdown(context.Background()))
		w.mu.Lock()
		defer w.mu.Unlock()
		require.Len(t, w.stopped, 640)
		require.LessOrEqual(t, w.most, 64)
	})
}
