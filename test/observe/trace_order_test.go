package observe_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

// The order is that of the turns also when something keeps the goroutine of the
// earlier event between its turn and the hook.
func TestTrace_LoggedEventIsReportedBeforeTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fixture.TraceLog
		const message = "a handler returned while another goroutine used its context: use dog.Go"
		_, cells := fixture.NewObjects(
			t,
			dog.Options{
				Logger: slog.New(fixture.SlowLog{Handler: slog.DiscardHandler, Message: message}),
				Trace: &dog.Trace{
					EventDone: func(_ context.Context, e dog.EventInfo) { d.Note("%v", e.Err) },
				},
			},
		)
		a := cells.Named("a")
		require.NoError(t, dog.CallErr0(t.Context(), a, (*fixture.Object).Nothing)) // it is there
		synctest.Wait()
		d.Take()
		go func() {
			_ = dog.CallErr(context.Background(), a, (*fixture.Object).Do, func(ctx context.Context) error {
				err := dog.Await(ctx, func() error {
					go func() { _ = dog.Await(ctx, func() error { time.Sleep(time.Minute); return nil }) }()
					time.Sleep(time.Second) // until that waits too
					return errors.New("first")
				})
				return err // with its context in use, which is logged after the turn
			})
		}()
		time.Sleep(1500 * time.Millisecond) // it is being logged
		require.Error(
			t,
			dog.CallErr(
				t.Context(), a, (*fixture.Object).Do, func(context.Context) error { return errors.New("second") },
			),
		)
		time.Sleep(time.Hour)
		require.Equal(t, []string{"first", "second"}, d.Take())
	})
}

// slowest returns what a Trace of one object notes whose hooks take a while.
func slowest(note func(format string, args ...any)) *dog.Trace {
	slow := func(what string) {
		note("%s", what)
		time.Sleep(50 * time.Millisecond)
		note("end of %s", what)
	}
	return &dog.Trace{
		ObjectStarted: func(dog.ObjectInfo) { slow("start") },
		ObjectStopped: func(_ dog.ObjectInfo, cause error) { slow(fmt.Sprint("stop, reset ", cause != nil)) },
		EventDone:     func(_ context.Context, e dog.EventInfo) { slow(e.Kind.String()) },
	}
}

func TestTrace_ReportsOfAnObjectAreInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fixture.TraceLog
		_, cells := fixture.NewObjects(t, dog.Options{EvictAfter: time.Second, Trace: slowest(d.Note)})
		a := cells.Named("a")
		for range 3 {
			go func() { _ = dog.CallErr0(context.Background(), a, (*fixture.Object).Nothing) }()
		}
		time.Sleep(20 * time.Millisecond) // while the first is being reported
		require.NoError(t, a.Abort(errors.New("on purpose")))
		_ = dog.CallErr0(context.Background(), a, (*fixture.Object).Nothing)
		time.Sleep(time.Minute)
		var want []string
		for _, what := range []string{
			"start", "OnStart", "Call", "Call", "Call", "stop, reset true",
			"start", "OnStart", "Call", "stop, reset false",
		} {
			want = append(want, what, "end of "+what)
		}
		require.Equal(t, want, d.Take())
	})
}

// The turn decides the order, however long hooks take and whichever goroutine
// runs them.
func TestTrace_EventsAreReportedInTheOrderOfTheirTurns(t *testing.T) {
	const events = 300
	var mu sync.Mutex
	var reported []string
	rt := dogtest.New(t, dog.Options{Trace: &dog.Trace{EventDone: func(_ context.Context, e dog.EventInfo) {
		if e.Err != nil {
			mu.Lock()
			defer mu.Unlock()
			reported = append(reported, e.Err.Error())
		}
	}}})
	nothing := func(context.Context, *startStop) error { return nil }
	startStops, err := dog.RegisterObject(
		rt, "startStop",
		&dog.ObjectOptions[startStop]{New: func() *startStop { return &startStop{start: nothing, stop: nothing} }},
	)
	require.NoError(t, err)
	n := 0
	var all sync.WaitGroup
	for range events {
		all.Go(func() {
			_ = dog.CallErr(context.Background(), startStops.Named("a"), (*startStop).Run, func(context.Context) error {
				n++
				return errors.New(strconv.Itoa(n))
			})
		})
	}
	all.Wait()
	require.NoError(t, rt.Shutdown(context.Background()))
	want := make([]string, events)
	for i := range want {
		want[i] = strconv.Itoa(i + 1)
	}
	require.Equal(t, want, reported)
}

// The lives of an object that leaves memory and comes back are reported in
// order, too.
func TestTrace_LivesOfAnObjectAreReportedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fixture.TraceLog
		_, cells := fixture.NewObjects(t, dog.Options{EvictAfter: time.Second, Trace: &dog.Trace{
			ObjectStarted: func(dog.ObjectInfo) { time.Sleep(time.Second); d.Note("start") },
			ObjectStopped: func(dog.ObjectInfo, error) { time.Sleep(time.Minute); d.Note("stop") },
		}})
		for range 3 {
			require.NoError(t, dog.CallErr0(t.Context(), cells.Named("a"), (*fixture.Object).Nothing))
			time.Sleep(5 * time.Second) // it leaves memory
		}
		time.Sleep(time.Hour)
		require.Equal(t, []string{"start", "stop", "start", "stop", "start", "stop"}, d.Take())
	})
}

// slowClose is a store whose databases take a minute to close.
type slowClose struct{ inner dog.Store }

func (l slowClose) OpenEngine(log *slog.Logger) (store.Engine, error) {
	e, err := hook.OpenStore(l.inner, log)
	return slowCloseEngine{e}, err
}

type slowCloseEngine struct{ store.Engine }

func (e slowCloseEngine) OpenSQL(pages store.Pages, limits store.SQLLimits) (store.SQL, error) {
	db, err := e.Engine.OpenSQL(pages, limits)
	return slowCloseSQL{db}, err
}

type slowCloseSQL struct{ store.SQL }

func (s slowCloseSQL) Close() error {
	time.Sleep(time.Minute)
	return s.SQL.Close()
}

// The next life may begin while something is still busy with the end of the one
// before: the log with a reset, say, or the database.
func TestTrace_EndOfALifeIsReportedBeforeTheNext(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(a dog.Stub[fixture.Object])
		line string
	}{
		"a reset": {func(a dog.Stub[fixture.Object]) {
			go func() { _ = a.Abort(errors.New("on purpose")) }()
			synctest.Wait()
		}, "cell reset"},
		"leaving memory": {func(dog.Stub[fixture.Object]) { time.Sleep(10 * time.Second) }, "cell retired"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d fixture.TraceLog
				trace := d.Trace()
				trace.EventDone = nil
				_, cells := fixture.NewObjects(t, dog.Options{
					Store: fixture.StoreOf(slowClose{dogtest.NewDisk(t)}), EvictAfter: time.Second, Trace: trace,
					Logger: slog.New(fixture.SlowLog{Handler: slog.DiscardHandler, Message: "object reset"}),
				})
				a := cells.Named("a")
				require.NoError(t, fixture.Commit(t, a, func(s *dog.Storage) error {
					_, err := s.SQL().Exec("SELECT 1")
					require.NoError(t, err)
					return nil
				}))
				c.end(a)
				began := time.Now()
				require.NoError(t, dog.CallErr0(t.Context(), a, (*fixture.Object).Nothing))
				require.Equal(t, began, time.Now(), "it waits for nothing")
				require.Equal(t, []string{"cell started", c.line, "cell started"}, d.Take())
				time.Sleep(time.Hour)
			})
		})
	}
}
