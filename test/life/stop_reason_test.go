package life_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// stopCounts are the numbers of OnStop of each kind, by their reasons.
type stopCounts map[dog.Kind]map[dog.StopReason]int

// stopLog counts the OnStop of objects.
type stopLog struct {
	mu     sync.Mutex
	counts stopCounts // guarded by mu
}

func (s *stopLog) add(kind dog.Kind, reason dog.StopReason) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts[kind] == nil {
		s.counts[kind] = make(map[dog.StopReason]int)
	}
	s.counts[kind][reason]++
	return nil
}

// read returns the counts. No object may be stopping.
func (s *stopLog) read() stopCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

type (
	stopObject struct {
		dog.Object
		stops *stopLog
	}
	stopReplica struct {
		dog.Replica
		stops *stopLog
	}
	stopGroup struct {
		dog.Group
		stops *stopLog
	}
)

func (s *stopObject) OnOpen(context.Context, *dog.Socket) error { return nil }
func (s *stopObject) OnStop(_ context.Context, r dog.StopReason) error {
	return s.stops.add(dog.KindObject, r)
}
func (s *stopReplica) OnStop(_ context.Context, r dog.StopReason) error {
	return s.stops.add(dog.KindReplica, r)
}
func (s *stopGroup) OnStop(_ context.Context, r dog.StopReason) error {
	return s.stops.add(dog.KindGroup, r)
}

// Touch does nothing: calling it starts the object.
func (s *stopObject) Touch(context.Context) error { return nil }

// Touch does nothing: calling it starts the replica.
func (s *stopReplica) Touch(context.Context) error { return nil }

// Touch does nothing: calling it starts the group.
func (s *stopGroup) Touch(context.Context) error { return nil }

// stopping is a runtime whose objects count why they stop.
type stopping struct {
	stops   *stopLog
	rt      *dog.Runtime
	objects *dog.Namespace[stopObject]
	group   dog.GroupStub[stopGroup, stopReplica]
}

func newStopping(t *testing.T, options dog.Options) *stopping {
	t.Helper()
	s := &stopping{stops: &stopLog{counts: make(stopCounts)}, rt: dogtest.New(t, options)}
	var err error
	s.objects, err = dog.RegisterObject(s.rt, "object", &dog.ObjectOptions[stopObject]{
		New: func() *stopObject { return &stopObject{stops: s.stops} }, Hibernate: true,
	})
	require.NoError(t, err)
	replicas, err := dog.RegisterReplica(s.rt, "replica", &dog.ReplicaOptions[stopReplica]{
		New: func() *stopReplica { return &stopReplica{stops: s.stops} },
	})
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(s.rt, "group", replicas, &dog.GroupOptions[stopGroup]{
		Limit: 1, New: func() *stopGroup { return &stopGroup{stops: s.stops} },
	})
	require.NoError(t, err)
	s.group = groups.Named("main")
	return s
}

// touch starts an object, the group and a replica.
func (s *stopping) touch(t *testing.T) {
	t.Helper()
	require.NoError(t, dog.CallErr0(t.Context(), s.objects.Named("a"), (*stopObject).Touch))
	replica, err := s.group.Identify(t.Context(), "ada")
	require.NoError(t, err)
	require.NoError(t, dog.CallErr0(t.Context(), replica, (*stopReplica).Touch))
	require.NoError(t, dog.CallErr0(t.Context(), s.group.Stub, (*stopGroup).Touch))
	replica.Release()
}

func TestStop_ReasonOfIdleObjectsIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStopping(t, dog.Options{EvictAfter: time.Second, RetireAfter: time.Second, LingerFor: -1})
		s.touch(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, stopCounts{
			dog.KindObject:  {dog.StopIdle: 1},
			dog.KindReplica: {dog.StopIdle: 1},
			dog.KindGroup:   {dog.StopIdle: 1},
		}, s.stops.read())
	})
}

func TestStop_ReasonAtShutdownIsShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStopping(t, dog.Options{})
		s.touch(t)
		require.NoError(t, s.rt.Shutdown(t.Context()))
		require.Equal(t, stopCounts{
			dog.KindObject:  {dog.StopShutdown: 1},
			dog.KindReplica: {dog.StopShutdown: 1},
			dog.KindGroup:   {dog.StopShutdown: 1},
		}, s.stops.read())
	})
}

func TestStop_ReasonOfPressureIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStopping(t, dog.Options{EvictAfter: time.Hour, MaxObjects: 10})
		for i := range 40 {
			require.NoError(t, dog.CallErr0(t.Context(), s.objects.Named(strconv.Itoa(i)), (*stopObject).Touch))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		require.Positive(t, s.stops.read()[dog.KindObject][dog.StopIdle])
		require.Zero(t, s.stops.read()[dog.KindObject][dog.StopShutdown])
	})
}

func TestStop_ReasonOfHibernationIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStopping(t, dog.Options{HibernateAfter: time.Second})
		ada := dogtest.Serve(t, s.objects.Named("a")).Dial("/")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, stopCounts{dog.KindObject: {dog.StopIdle: 1}}, s.stops.read())
		require.Equal(t, 1, s.rt.Stats().Sockets)
		require.NoError(t, s.rt.Shutdown(t.Context()))
		code, _ := ada.Closed()
		require.Equal(t, 1001, code)
		require.Equal(t, 1, s.stops.read()[dog.KindObject][dog.StopIdle])
	})
}

func TestStop_DoesNotRunOnAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStopping(t, dog.Options{})
		s.touch(t)
		require.NoError(t, s.objects.Named("a").Abort(errors.New("enough")))
		synctest.Wait()
		require.Empty(t, s.stops.read())
	})
}
