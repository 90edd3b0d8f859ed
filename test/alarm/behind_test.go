package alarm_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// More objects than alarms run at a time, all of which hang before their
// alarms can run.
const hanging = 1000

// requirePunctual requires that alarms of another type run at their times.
func requirePunctual(t *testing.T, rt *dog.Runtime, chimes *dog.Namespace[chime], rang *atomic.Int64) {
	t.Helper()
	rt.Start()
	time.Sleep(time.Hour + time.Second) // the others' alarms are due, and count as running
	synctest.Wait()
	require.Zero(t, rang.Load())
	for i := range hanging {
		require.NoError(t, dog.CallErr(t.Context(), chimes.Named(fmt.Sprint(i)), (*chime).RingIn, time.Second))
	}
	time.Sleep(time.Second)
	synctest.Wait()
	require.EqualValues(t, hanging, rang.Load())
}

func TestAlarms_BusyObjectsDoNotDelayOtherTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		var rang, late atomic.Int64
		busy := newChimes(t, rt, "busy", func(context.Context, *chime) error { late.Add(1); return nil })
		chimes := newChimes(t, rt, "chime", func(context.Context, *chime) error { rang.Add(1); return nil })
		until := make(chan struct{})
		for i := range hanging {
			stub := busy.Named(fmt.Sprint(i))
			require.NoError(t, dog.CallErr(t.Context(), stub, (*chime).RingIn, time.Hour))
			go func() { _ = dog.CallErr(context.Background(), stub, (*chime).Keep, (<-chan struct{})(until)) }()
		}
		requirePunctual(t, rt, chimes, &rang)
		require.Zero(t, late.Load())
		close(until)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.EqualValues(t, hanging, late.Load(), "they run once they can")
	})
}

func TestAlarms_HangingGroupsDoNotDelayOtherReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(nil)
		h := newHospital(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		for i := range hanging {
			stub := h.nurse(t, fmt.Sprint(i), "ann")
			require.NoError(t, dog.CallErr(t.Context(), stub, (*nurse).After, time.Hour))
			stub.Release()
		}
		require.NoError(t, h.rt.Shutdown(t.Context()))

		rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine), StartTimeout: -1})
		nurses, err := dog.RegisterReplica(
			rt, "nurse", &dog.ReplicaOptions[nurse]{New: func() *nurse { return &nurse{clock: clock} }},
		)
		require.NoError(t, err)
		until := make(chan struct{})
		_, err = dog.RegisterGroup(rt, "ward", nurses, &dog.GroupOptions[ward]{
			New: func() *ward { return &ward{clock: clock, hang: until} }, Limit: 1,
		})
		require.NoError(t, err)
		var rang atomic.Int64
		chimes := newChimes(t, rt, "chime", func(context.Context, *chime) error { rang.Add(1); return nil })
		requirePunctual(t, rt, chimes, &rang)
		require.Empty(t, clock.TakeRuns())
		close(until)
		time.Sleep(time.Minute)
		require.Len(t, clock.TakeRuns(), hanging, "they run once they can")
	})
}
