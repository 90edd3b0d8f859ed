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

// ringGroup is a group with an alarm, ringReplica a replica with one.
type ringGroup struct {
	dog.Group
	clock  *fixture.AlarmHooks
	closed *atomic.Bool    // no ringGroup starts meanwhile; nil: never
	hang   <-chan struct{} // no start ends before it is closed; nil: at once
}

func (w *ringGroup) OnStart(context.Context) error {
	if w.closed != nil && w.closed.Load() {
		return errDropped
	}
	if w.hang != nil {
		<-w.hang
	}
	return nil
}

type ringReplica struct {
	dog.Replica
	clock *fixture.AlarmHooks
}

func (w *ringGroup) OnAlarm(_ context.Context, a dog.Alarm) error {
	w.clock.Note("ringGroup "+w.Name(), a)
	return nil
}

func (w *ringGroup) Clusterize(_ context.Context, uid string) (string, error) { return uid, nil }

func (w *ringGroup) After(_ context.Context, wait time.Duration) error {
	return w.Storage().Alarms().Set(time.Now().Add(wait))
}

func (n *ringReplica) OnAlarm(ctx context.Context, a dog.Alarm) error {
	n.clock.Note("ringReplica "+n.Name()+" of "+n.GroupName(), a)
	if n.clock.OnAlarm != nil {
		return n.clock.OnAlarm(ctx, nil, a)
	}
	return n.Broadcast("alarm")
}

func (n *ringReplica) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := n.Connect(w, req, nil)
	return err
}

func (n *ringReplica) After(_ context.Context, wait time.Duration) error {
	return n.Storage().Alarms().Set(time.Now().Add(wait))
}

// ringGroups is a runtime with groups of at most two ringReplicas.
type ringGroups struct {
	rt     *dog.Runtime
	groups *dog.Groups[ringGroup, ringReplica]
}

func newRingGroups(t *testing.T, options dog.Options, clock *fixture.AlarmHooks) *ringGroups {
	t.Helper()
	h := &ringGroups{rt: dogtest.New(t, options)}
	ringReplicas, err := dog.RegisterReplica(
		h.rt, "ringReplica",
		&dog.ReplicaOptions[ringReplica]{New: func() *ringReplica { return &ringReplica{clock: clock} }},
	)
	require.NoError(t, err)
	h.rt.Start()
	time.Sleep(time.Second) // what is due has the time to be tried in vain
	h.groups, err = dog.RegisterGroup(
		h.rt, "ringGroup", ringReplicas,
		&dog.GroupOptions[ringGroup]{
			New: func() *ringGroup { return &ringGroup{clock: clock} }, Limit: 1, MaxReplicas: 2,
		},
	)
	require.NoError(t, err)
	return h
}

func (h *ringGroups) ringReplica(t *testing.T, ringGroup, name string) dog.Stub[ringReplica] {
	t.Helper()
	stub, err := h.groups.Named(ringGroup).Identify(context.Background(), name)
	require.NoError(t, err)
	return stub
}

func (h *ringGroups) replicas(ringGroup string) (names []string) {
	for r := range h.groups.Named(ringGroup).Replicas() {
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
		h := newRingGroups(t, options, clock)
		for _, name := range []string{"ann", "bea"} {
			stub := h.ringReplica(t, "west", name)
			require.NoError(t, dog.CallErr(ctx, stub, (*ringReplica).After, time.Hour))
		}
		require.NoError(t, dog.CallErr(ctx, h.groups.Named("west").Stub, (*ringGroup).After, time.Hour))
		time.Sleep(10 * time.Minute)
		require.Zero(t, count(h.rt), "all have been retired")
		// Their places are taken when the two come back.
		for _, name := range []string{"cat", "deb"} {
			stub := h.ringReplica(t, "west", name)
			stub.Release()
		}
		time.Sleep(50*time.Minute - 2*time.Second)
		for _, name := range []string{"cat", "deb"} {
			h.ringReplica(t, "west", name)
		}
		time.Sleep(2 * time.Second)
		rings := clock.TakeRuns()
		require.Len(t, rings, 3)
		require.ElementsMatch(t, []string{"ringReplica ann of west", "ringReplica bea of west", "ringGroup west"},
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
		h := newRingGroups(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		ann := h.ringReplica(t, "west", "ann")
		require.NoError(t, dog.CallErr(ctx, ann, (*ringReplica).After, time.Hour))
		require.NoError(t, h.rt.Shutdown(ctx))
		time.Sleep(2 * time.Hour)

		h = newRingGroups(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		rings := clock.TakeRuns()
		require.Len(t, rings, 1)
		require.Equal(t, "ringReplica ann of west", rings[0].Object)
		require.Equal(t, ann.ID(), h.ringReplica(t, "west", "ann").ID(), "she has room, so nobody else is made")
	})
}

func TestAlarm_RunsInALiveReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := fixture.NewAlarmHooks(nil)
		h := newRingGroups(t, dog.Options{}, clock)
		stub := h.ringReplica(t, "west", "ann")
		srv := dogtest.Serve(t, stub)
		client := srv.Dial("/ws")
		require.NoError(t, dog.CallErr(context.Background(), stub, (*ringReplica).After, time.Hour))
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
		h := newRingGroups(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		require.NoError(t, dog.CallErr(ctx, h.ringReplica(t, "west", "ann"), (*ringReplica).After, time.Hour))
		require.NoError(t, h.rt.Shutdown(ctx))

		rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)})
		ringReplicas, err := dog.RegisterReplica(
			rt, "ringReplica",
			&dog.ReplicaOptions[ringReplica]{New: func() *ringReplica { return &ringReplica{clock: clock} }},
		)
		require.NoError(t, err)
		var closed atomic.Bool
		closed.Store(true)
		_, err = dog.RegisterGroup(rt, "ringGroup", ringReplicas, &dog.GroupOptions[ringGroup]{
			New: func() *ringGroup { return &ringGroup{clock: clock, closed: &closed} }, Limit: 1,
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
		h := newRingGroups(t, options, clock)
		id := h.groups.Named("main").ID()
		serve := func(group dog.GroupStub[ringGroup, ringReplica]) {
			stub, err := group.Identify(t.Context(), "ada")
			require.NoError(t, err)
			require.NoError(t, dog.CallErr(t.Context(), stub, (*ringReplica).After, time.Hour))
			stub.Release()
			require.NoError(t, h.rt.Shutdown(t.Context()))
			h = newRingGroups(t, options, clock)
		}
		serve(h.groups.Named("main"))
		byID, err := h.groups.ByID(id)
		require.NoError(t, err)
		serve(byID)
		time.Sleep(2 * time.Hour)
		rings := clock.TakeRuns()
		require.Len(t, rings, 1)
		require.Equal(t, "ringReplica ada of main", rings[0].Object)
	})
}
