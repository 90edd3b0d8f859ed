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
func requirePunctual(t *testing.T, rt *dog.Runtime, ringers *dog.Namespace[ringer], rang *atomic.Int64) {
	t.Helper()
	rt.Start()
	time.Sleep(time.Hour + time.Second) // the others' alarms are due, and count as running
	synctest.Wait()
	require.Zero(t, rang.Load())
	for i := range hanging {
		require.NoError(t, dog.CallErr(t.Context(), ringers.Named(fmt.Sprint(i)), (*ringer).RingIn, time.Second))
	}
	time.Sleep(time.Second)
	synctest.Wait()
	require.EqualValues(t, hanging, rang.Load())
}

func TestAlarms_BusyObjectsDoNotDelayOtherTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		var rang, late atomic.Int64
		busy := newRingers(t, rt, "busy", func(context.Context, *ringer) error { late.Add(1); return nil })
		ringers := newRingers(t, rt, "ringer", func(context.Context, *ringer) error { rang.Add(1); return nil })
		until := make(chan struct{})
		for i := range hanging {
			stub := busy.Named(fmt.Sprint(i))
			require.NoError(t, dog.CallErr(t.Context(), stub, (*ringer).RingIn, time.Hour))
			go func() { _ = dog.CallErr(context.Background(), stub, (*ringer).Keep, (<-chan struct{})(until)) }()
		}
		requirePunctual(t, rt, ringers, &rang)
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
		h := newRingGroups(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		for i := range hanging {
			stub := h.ringReplica(t, fmt.Sprint(i), "ann")
			require.NoError(t, dog.CallErr(t.Context(), stub, (*ringReplica).After, time.Hour))
			stub.Release()
		}
		require.NoError(t, h.rt.Shutdown(t.Context()))

		rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine), StartTimeout: -1})
		ringReplicas, err := dog.RegisterReplica(
			rt, "ringReplica",
			&dog.ReplicaOptions[ringReplica]{New: func() *ringReplica { return &ringReplica{clock: clock} }},
		)
		require.NoError(t, err)
		until := make(chan struct{})
		_, err = dog.RegisterGroup(rt, "ringGroup", ringReplicas, &dog.GroupOptions[ringGroup]{
			New: func() *ringGroup { return &ringGroup{clock: clock, hang: until} }, Limit: 1,
		})
		require.NoError(t, err)
		var rang atomic.Int64
		ringers := newRingers(t, rt, "ringer", func(context.Context, *ringer) error { rang.Add(1); return nil })
		requirePunctual(t, rt, ringers, &rang)
		require.Empty(t, clock.TakeRuns())
		close(until)
		time.Sleep(time.Minute)
		require.Len(t, clock.TakeRuns(), hanging, "they run once they can")
	})
}
