package alarm_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

// stock stores alarms of objects, the one of each i at at(i), as if an earlier
// process had set them.
func stock(t testing.TB, engine store.Engine, n int, at func(i int) time.Time) {
	t.Helper()
	rt, err := dog.New(dog.Options{Store: fixture.OpenedStore(lasting{engine})})
	require.NoError(t, err)
	sleepers, err := dog.RegisterObject(
		rt, "sleeper",
		&dog.ObjectOptions[fixture.AlarmObject]{
			New: func() *fixture.AlarmObject { return &fixture.AlarmObject{On: fixture.NewAlarmHooks(nil)} },
		},
	)
	require.NoError(t, err)
	require.NoError(t, rt.Shutdown(context.Background()))
	for i := range n {
		name := strconv.Itoa(i)
		id := sleepers.Named(name).ID()
		o := store.NewObject(engine, store.Identity{Namespace: 1, Base: store.Base(id[:24]), Name: name})
		due := at(i).UnixNano()
		require.NoError(t, o.SetAlarm(store.Alarm{Scheduled: due, At: due, Serial: 1}))
		_, err := o.Commit()
		require.NoError(t, err)
	}
}

// lasting is an engine that outlives its runtime.
type lasting struct{ store.Engine }

func (lasting) Close() error { return nil }

// inBubble returns the number of goroutines in bubbles. Others, such as those
// of connections that earlier tests had, come and go.
func inBubble() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte(", synctest bubble "))
}

func TestAlarms_PendingCostNoGoroutines(t *testing.T) {
	const n = 100_000
	engine := store.NewMemory()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		stock(t, engine, n, func(i int) time.Time { return began.Add(time.Hour + time.Duration(i)*time.Second) })
		clock := fixture.NewAlarmHooks(nil)
		d := fixture.NewAlarmObjects(t, dog.Options{Store: fixture.OpenedStore(engine)}, clock)
		synctest.Wait()
		services := inBubble()
		require.Greater(t, services, 1)
		fixture.Elapse(time.Hour + 10*time.Second) // also until the run of that very moment has ended
		require.Len(t, clock.TakeRuns(), 11)
		require.Equal(t, services, inBubble())
		d.Shutdown()
	})
}

func TestAlarms_BeyondTheWindowRunOnTimeAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 18_000 // more than are kept in memory
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(nil)
		options := dog.Options{Store: fixture.StoreOf(engine), EvictAfter: time.Second, MaxObjects: 1000}
		d := fixture.NewAlarmObjects(t, options, clock)
		hour := time.Now().Add(time.Hour)
		order := rand.Perm(n)
		for _, i := range order {
			name := strconv.Itoa(i)
			d.With(name, func(a *dog.Alarms) error { return a.Set(hour.Add(time.Duration(i) * time.Millisecond)) })
		}
		check := func(from, to int) {
			t.Helper()
			rings := clock.TakeRuns()
			require.Equal(t, to-from, len(rings)) // not Len, which would print them
			for i, r := range rings {
				require.Equal(t, strconv.Itoa(from+i), r.Object)
				require.Equal(t, time.Hour+time.Duration(from+i)*time.Millisecond, r.At)
			}
		}
		time.Sleep(time.Hour + 10*time.Second - 1)
		check(0, 10_000)
		d.Shutdown()
		fixture.NewAlarmObjects(t, options, clock)
		time.Sleep(5 * time.Second)
		check(10_000, 15_000)
		time.Sleep(5 * time.Second)
		check(15_000, n)
	})
}
