package schedule_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/inflight"
	"github.com/godurable/dog/internal/schedule"
	"github.com/godurable/dog/internal/store"
)

const namespace = 7

// fixture is a schedule over a store in memory.
type fixture struct {
	*schedule.Schedule
	engine store.Engine
	work   *inflight.Work
	stop   func()
}

func newFixture(t *testing.T, start func(*fixture, *schedule.Run)) *fixture {
	f := &fixture{engine: store.NewMemory(), work: inflight.New()}
	f.Schedule = schedule.New(schedule.Config{
		Engine: f.engine, Namespace: namespace, Now: time.Now, Work: f.work, Log: slog.New(slog.DiscardHandler),
		Start: func(r *schedule.Run) { start(f, r) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	f.stop = func() { f.work.Close(); f.work.Wait(); cancel(); <-ended }
	go func() { defer close(ended); f.Run(ctx) }()
	return f
}

// store stores an alarm of an object.
func (f *fixture) store(t *testing.T, object byte, at time.Time) store.DueAlarm {
	base := store.Base{object}
	o := store.NewObject(f.engine, store.Identity{Namespace: namespace, Base: base})
	require.NoError(t, o.SetAlarm(store.Alarm{At: at.UnixNano(), Scheduled: at.UnixNano(), Serial: 1}))
	commit, err := o.Commit()
	require.NoError(t, err)
	return store.DueAlarm{At: commit.Alarm, Namespace: namespace, Base: base}
}

func TestSchedule_RunsAlarmsInTheOrderOfTheirTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var objects []byte
		var times []time.Duration
		f := newFixture(t, func(f *fixture, r *schedule.Run) {
			objects, times = append(objects, r.Due.Base[0]), append(times, time.Since(began))
			f.Done(r, false)
		})
		any, err := f.Any()
		require.NoError(t, err)
		require.False(t, any)
		for object, after := range map[byte]time.Duration{1: 3 * time.Second, 2: time.Second, 3: time.Hour} {
			f.Set(f.store(t, object, began.Add(after)))
		}
		any, err = f.Any()
		require.NoError(t, err)
		require.True(t, any)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Equal(t, []byte{2, 1, 3}, objects)
		require.Equal(t, []time.Duration{time.Second, 3 * time.Second, time.Hour}, times)
		f.stop()
	})
}

func TestSchedule_RetriesAnAlarmThatCouldNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		f := newFixture(t, func(f *fixture, r *schedule.Run) { f.Done(r, runs.Add(1) == 1) })
		due := f.store(t, 1, time.Now())
		f.Set(due)
		synctest.Wait()
		require.EqualValues(t, 1, runs.Load())
		time.Sleep(time.Minute) // it is still in the index
		synctest.Wait()
		require.EqualValues(t, 2, runs.Load())
		f.stop()
	})
}

func TestSchedule_LimitsConcurrentAlarmsButNotForSlowOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := newFixture(t, func(f *fixture, r *schedule.Run) {
			<-release
			f.Done(r, false)
		})
		for object := range 256 {
			f.Set(f.store(t, byte(object), time.Now()))
		}
		other := store.NewObject(f.engine, store.Identity{Namespace: namespace, Base: store.Base{0, 1}})
		require.NoError(t, other.SetAlarm(store.Alarm{At: time.Now().UnixNano(), Serial: 1}))
		commit, err := other.Commit()
		require.NoError(t, err)
		f.Set(store.DueAlarm{At: commit.Alarm, Namespace: namespace, Base: store.Base{0, 1}})
		synctest.Wait()
		require.Equal(t, 256, f.Stats().Running)
		time.Sleep(11 * time.Second)
		require.Equal(t, 257, f.Stats().Running, "alarms that take long do not count")
		close(release)
		f.stop()
		require.Zero(t, f.Stats().Running)
	})
}
