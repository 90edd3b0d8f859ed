package alarm_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// ward is a group with an alarm, nurse a replica with one.
type ward struct {
	dog.Group
	clock  *fixture.AlarmHooks
	closed *atomic.Bool    // no ward starts meanwhile; nil: never
	hang   <-chan struct{} // no start ends before it is closed; nil: at once
}

func (w *ward) OnStart(context.Context) error {
	if w.closed != nil && w.closed.Load() {
		return errDropped
	}
	if w.hang != nil {
		<-w.hang
	}
	return nil
}

type nurse struct {
	dog.Replica
	clock *fixture.AlarmHooks
}

func (w *ward) OnAlarm(_ context.Context, a dog.Alarm) error {
	w.clock.Note("ward "+w.Name(), a)
	return nil
}

func (w *ward) Clusterize(_ context.Context, uid string) (string, error) { return uid, nil }

func (w *ward) After(_ context.Context, wait time.Duration) error {
	return w.Storage().Alarms().Set(time.Now().Add(wait))
}

func (n *nurse) OnAlarm(ctx context.Context, a dog.Alarm) error {
	n.clock.Note("nurse "+n.Name()+" of "+n.GroupName(), a)
	if n.clock.OnAlarm != nil {
		return n.clock.OnAlarm(ctx, nil, a)
	}
	return n.Broadcast("alarm")
}

func (n *nurse) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := n.Connect(w, req, nil)
	return err
}

func (n *nurse) After(_ context.Context, wait time.Duration) error {
	return n.Storage().Alarms().Set(time.Now().Add(wait))
}

// hospital is a runtime with wards of at most two nurses.
type hospital struct {
	rt    *dog.Runtime
	wards *dog.Groups[ward, nurse]
}

func newHospital(t *testing.T, options dog.Options, clock *fixture.AlarmHooks) *hospital {
	t.Helper()
	h := &hospital{rt: dogtest.New(t, options)}
	nurses, err := dog.RegisterReplica(
		h.rt, "nurse", &dog.ReplicaOptions[nurse]{New: func() *nurse { return &nurse{clock: clock} }},
	)
	require.NoError(t, err)
	h.rt.Start()
	time.Sleep(time.Second) // what is due has the time to be tried in vain
	h.wards, err = dog.RegisterGroup(
		h.rt, "ward", nurses,
		&dog.GroupOptions[ward]{New: func() *ward { return &ward{clock: clock} }, Limit: 1, MaxReplicas: 2},
	)
	require.NoError(t, err)
	return h
}

func (h *hospital) nurse(t *testing.T, ward, name string) dog.Stub[nurse] {
	t.Helper()
	stub, err := h.wards.Named(ward).Identify(context.Background(), name)
	require.NoError(t, err)
	return stub
}

func (h *hospital) replicas(ward string) (names []string) {
	for r := range h.wards.Named(ward).Replicas() {
		names = append(names, r.Name)
	}
	return names
}

func TestAlarms_OfGroupsAndReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(nil)
		options := dog.Options{Store: fixture.StoreOf(engine), RetireAfter: time.Minute, LingerFor: time.Minute}
		h := newHospital(t, options, clock)
		for _, name := range []string{"ann", "bea"} {
			stub := h.nurse(t, "west", name)
			require.NoError(t, dog.CallErr(ctx, stub, (*nurse).After, time.Hour))
		}
		require.NoError(t, dog.CallErr(ctx, h.wards.Named("west").Stub, (*ward).After, time.Hour))
		time.Sleep(10 * time.Minute)
		require.Zero(t, count(h.rt), "all have been retired")
		// Their places are taken when the two come back.
		for _, name := range []string{"cat", "deb"} {
			stub := h.nurse(t, "west", name)
			stub.Release()
		}
		time.Sleep(50*time.Minute - 2*time.Second)
		for _, name := range []string{"cat", "deb"} {
			h.nurse(t, "west", name)
		}
		time.Sleep(2 * time.Second)
		rings := clock.TakeRuns()
		require.Len(t, rings, 3)
		require.ElementsMatch(t, []string{"nurse ann of west", "nurse bea of west", "ward west"},
			[]string{rings[0].Object, rings[1].Object, rings[2].Object})
		require.ElementsMatch(
			t, []string{"ann", "bea", "cat", "deb"}, h.replicas("west"), "they are in their group's books",
		)
		time.Sleep(10 * time.Minute)
		require.Zero(t, count(h.rt), "and retire like others")
	})
}

func TestAlarm_OfAReplicaSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(nil)
		h := newHospital(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		ann := h.nurse(t, "west", "ann")
		require.NoError(t, dog.CallErr(ctx, ann, (*nurse).After, time.Hour))
		require.NoError(t, h.rt.Shutdown(ctx))
		time.Sleep(2 * time.Hour)

		h = newHospital(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		rings := clock.TakeRuns()
		require.Len(t, rings, 1)
		require.Equal(t, "nurse ann of west", rings[0].Object)
		require.Equal(t, ann.ID(), h.nurse(t, "west", "ann").ID(), "she has room, so nobody else is made")
	})
}

func TestAlarm_RunsInALiveReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := fixture.NewAlarmHooks(nil)
		h := newHospital(t, dog.Options{}, clock)
		stub := h.nurse(t, "west", "ann")
		srv := dogtest.Serve(t, stub)
		client := srv.Dial("/ws")
		require.NoError(t, dog.CallErr(context.Background(), stub, (*nurse).After, time.Hour))
		time.Sleep(time.Hour)
		require.Len(t, clock.TakeRuns(), 1)
		require.Equal(t, "alarm", client.Receive().String())
		require.Equal(t, []string{"ann"}, h.replicas("west"))
	})
}

func TestAlarm_OfAReplicaWaitsForItsGroupToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(nil)
		h := newHospital(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		require.NoError(t, dog.CallErr(ctx, h.nurse(t, "west", "ann"), (*nurse).After, time.Hour))
		require.NoError(t, h.rt.Shutdown(ctx))

		rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)})
		nurses, err := dog.RegisterReplica(
			rt, "nurse", &dog.ReplicaOptions[nurse]{New: func() *nurse { return &nurse{clock: clock} }},
		)
		require.NoError(t, err)
		var closed atomic.Bool
		closed.Store(true)
		_, err = dog.RegisterGroup(rt, "ward", nurses, &dog.GroupOptions[ward]{
			New: func() *ward { return &ward{clock: clock, closed: &closed} }, Limit: 1,
		})
		require.NoError(t, err)
		rt.Start()
		time.Sleep(2 * time.Hour)
		require.Empty(t, clock.TakeRuns())
		closed.Store(false)
		time.Sleep(3 * time.Second)
		require.Len(t, clock.TakeRuns(), 1)
	})
}

func TestAlarm_KeepsTheNameOfAGroupReachedByItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, clock := dog.Options{Store: fixture.StoreOf(fixture.PromptEngine())}, fixture.NewAlarmHooks(nil)
		h := newHospital(t, options, clock)
		id := h.wards.Named("main").ID()
		serve := func(group dog.GroupStub[ward, nurse]) {
			stub, err := group.Identify(t.Context(), "ada")
			require.NoError(t, err)
			require.NoError(t, dog.CallErr(t.Context(), stub, (*nurse).After, time.Hour))
			stub.Release()
			require.NoError(t, h.rt.Shutdown(t.Context()))
			h = newHospital(t, options, clock)
		}
		serve(h.wards.Named("main"))
		byID, err := h.wards.ByID(id)
		require.NoError(t, err)
		serve(byID)
		time.Sleep(2 * time.Hour)
		rings := clock.TakeRuns()
		require.Len(t, rings, 1)
		require.Equal(t, "nurse ada of main", rings[0].Object)
	})
}
