package life_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
	"github.com/godurable/dog/test/internal/surface"
)

// hangs are the places where the bad neighbour hangs: all hooks, by the names
// that package surface has for them, and others.
var hangs = []string{
	"OnStart", "OnStop", "Receive", "OnAlarm", "Identify", "Clusterize", "OnOpen", "OnMessage", "OnError", "OnClose",
	"OnGossip", "OnPresence", "Encode", "Decode",
	"ObjectOptions.New", "ReplicaOptions.New", "GroupOptions.New",
	"Trace.ObjectStarted", "Trace.ObjectStopped", "Trace.EventBegin", "Trace.EventDone", "Trace.SocketOpened",
	"Trace.SocketClosed",
	"OnStart of a group", "OnStart of a replica", "OnStop of a group", "OnStop of a replica", "Receive of a replica",
	"handler", "await", "loop", "timer", "answer", "log", "Schema", "disk",
}

func TestNeighbours_EachHookHangsInATest(t *testing.T) {
	var hooks []string
	for _, folder := range []string{"../..", "../../disk", "../../outbox", "../../shard"} {
		hooks = append(hooks, surface.Read(t, folder).Hooks()...)
	}
	require.Subset(t, hooks, []string{"OnStart", "Trace.EventDone", "GroupOptions.New"})
	for _, hook := range hooks {
		require.True(t, slices.Contains(hangs, hook), "no row has %s hang", hook)
	}
}

// One object, hook, client or logger that hangs costs nobody else anything:
// others start, work, leave memory and are stopped at Shutdown, which waits for
// nothing beyond the end of its context.
func TestNeighbours_HangingHookAffectsNoOther(t *testing.T) {
	fixture.TakesLong(t)
	for _, hang := range hangs {
		t.Run(hang, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHangTest(t, hang)
				s.provoke(t)
				traffic := func(round string) {
					start := time.Now()
					for i := range goodNeighbours {
						stub := s.good(i)
						require.NoError(t, dog.CallErr0(t.Context(), stub, (*hangObject).Knock))
						if i%20 == 0 {
							require.Equal(t, "hello", fixture.Get(stub))
						}
					}
					c := s.srv.Dial("/?group=good&u=" + round)
					c.Send("hello")
					require.Equal(t, []string{"hello"}, fixture.Texts(c))
					c.Close(1000, "")
					synctest.Wait()
					require.Equal(t, start, time.Now(), "nobody waited")
				}

				if hang == "Clusterize" { // it can be helped
					require.NoError(t, s.groups.Named("bad").Abort(errors.New("it hangs")))
					c := s.srv.Dial("/?group=bad&u=again")
					c.Send("hello")
					require.Equal(t, []string{"hello"}, fixture.Texts(c))
					c.Close(1000, "")
				}
				traffic("start")
				time.Sleep(3 * time.Minute)
				alive, stops := s.alive()
				require.Zero(t, alive, "all have left memory")
				require.GreaterOrEqual(t, stops, goodNeighbours)

				time.Sleep(10 * time.Minute) // the group is gone, too
				for o := range s.rt.Objects() {
					require.NotContains(t, o.Name, "good")
					require.False(t, hang == "Clusterize" && o.Name == "bad", "it is retired")
				}
				traffic("again")

				const patience = 20 * time.Second
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				ended := make(chan error, 1)
				start := time.Now()
				go func() { ended <- s.rt.Shutdown(ctx) }()
				synctest.Wait()
				alive, _ = s.alive()
				require.Zero(t, alive, "the good ones are stopped at once")
				err := <-ended
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "have not ended")
				require.NotContains(t, err.Error(), "good")
				require.LessOrEqual(t, time.Since(start), patience+time.Second)

				close(s.until)
				require.NoError(t, s.rt.Shutdown(context.Background()))
				if s.hang == "handler" || s.hang == "await" || s.hang == "loop" {
					require.Contains(t, err.Error(), `object "bad"`)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.hang != "log" { // it was reset
					require.Zero(t, s.running["bad"], "its OnStop runs when it can")
				}
			})
		})
	}
}

// A hook may use the object that it reports.
func TestNeighbours_HooksMayUseObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rt *dog.Runtime
		var cells *dog.Namespace[fixture.Object]
		var mu sync.Mutex
		reported := make(map[string]int)
		use := func(what string, o dog.ObjectInfo) {
			mu.Lock()
			reported[what]++
			n := reported[what]
			mu.Unlock()
			if n > 20 {
				return
			}
			if stub, err := cells.ByID(o.ID); err == nil {
				_ = dog.CallErr0(context.Background(), stub, (*fixture.Object).Nothing)
			}
			for i := range 3 {
				_ = dog.CallErr0(context.Background(), cells.Named(what+strconv.Itoa(3*n+i)), (*fixture.Object).Nothing)
			}
		}
		rt, cells = fixture.NewObjects(t, dog.Options{MaxObjects: 8, Trace: &dog.Trace{
			ObjectStarted: func(o dog.ObjectInfo) { use("started", o) },
			ObjectStopped: func(o dog.ObjectInfo, _ error) { use("stopped", o) },
			EventDone:     func(_ context.Context, e dog.EventInfo) { use("done", e.Object) },
		}})
		for i := range 100 {
			require.NoError(t, dog.CallErr0(t.Context(), cells.Named(strconv.Itoa(i)), (*fixture.Object).Nothing))
		}
		synctest.Wait()
		mu.Lock()
		require.Greater(t, reported["started"], 100)
		require.Greater(t, reported["stopped"], 90)
		mu.Unlock()
		require.NoError(t, rt.Shutdown(context.Background()))
	})
}

// ObjectStarted and ObjectStopped come in pairs, however an object ends.
func TestNeighbours_HooksRunOnceAtTheBeginningAndEndOfALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fixture.TraceLog
		trace := d.Trace()
		trace.EventDone = nil
		rt := dogtest.New(t, dog.Options{Trace: trace, EvictAfter: time.Second, HibernateAfter: time.Second})
		boxes, err := dog.RegisterObject(
			rt, "box",
			&dog.ObjectOptions[stoppingBox]{
				New: func() *stoppingBox { return &stoppingBox{box{events: new(eventLog)}} },
			},
		)
		require.NoError(t, err)
		cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
		require.NoError(t, err)
		rooms, err := dog.RegisterReplica(
			rt, "room",
			&dog.ReplicaOptions[fixture.Room]{
				New:       func() *fixture.Room { return &fixture.Room{On: &fixture.Hooks{}} },
				Hibernate: true,
			},
		)
		require.NoError(t, err)
		halls, err := dog.RegisterGroup(rt, "hall", rooms, &dog.GroupOptions[fixture.Lobby]{Limit: 1, Hibernate: true})
		require.NoError(t, err)
		require.Equal(t, "1 1", fixture.Get(boxes.Named("a")))
		require.NoError(t, dog.CallErr0(t.Context(), cells.Named("a"), (*fixture.Object).Nothing))
		stub, err := halls.Named("a").Identify(t.Context(), "ada")
		require.NoError(t, err)
		fixture.Get(stub)
		require.ElementsMatch(t, []string{"box started", "cell started", "hall started", "room started"}, d.Take())
		time.Sleep(10 * time.Minute)
		require.Empty(t, rt.Stats().Groups)
		require.ElementsMatch(t, []string{"box retired", "cell retired", "hall retired", "room retired"}, d.Take())
		require.Error(
			t,
			fixture.InTurn(cells.Named("a"), func(context.Context, *fixture.Object) error { panic("on purpose") }),
		)
		require.Equal(t, []string{"cell started", "cell reset"}, d.Take())
		require.NoError(t, boxes.Named("a").Abort(errors.New("nobody is there")))
		require.Empty(t, d.Take())
	})
}
