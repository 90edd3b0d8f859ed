package observe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// A depot is an object that does everything that is counted.
type depot struct{ dog.Object }

// Receive refuses whoever has no name, and connects everybody else.
func (d *depot) Receive(w http.ResponseWriter, r *http.Request) error {
	if r.FormValue("u") == "" {
		return &dog.StatusError{Status: http.StatusUnauthorized, Text: "who are you?"}
	}
	_, err := d.Connect(w, r, &dog.SocketOptions{UID: r.FormValue("u")})
	return err
}

func (d *depot) OnAlarm(context.Context, dog.Alarm) error {
	return dog.Put(d.Storage(), "rang", true)
}

// Work takes a second, and stores n keys after it has read as many.
func (d *depot) Work(_ context.Context, n int) error {
	time.Sleep(time.Second)
	for range n {
		if _, _, err := dog.Get[int](d.Storage(), "n"); err != nil {
			return err
		}
		if err := dog.Put(d.Storage(), "n", n); err != nil {
			return err
		}
	}
	return nil
}

func (d *depot) SetAlarm(_ context.Context, after time.Duration) error {
	return d.Storage().Alarms().Set(time.Now().Add(after))
}

func (d *depot) Fail(context.Context) error { return errors.New("on purpose") }

func (d *depot) Panic(context.Context) error { panic("on purpose") }

// deaf is an object without handlers.
type deaf struct{ dog.Object }

// totalsOf returns the totals of a type.
func totalsOf(t *testing.T, rt *dog.Runtime, name string) dog.TypeTotals {
	t.Helper()
	for _, all := range rt.Totals().Types {
		if all.Name == name {
			return all
		}
	}
	require.Fail(t, "no such type", name)
	return dog.TypeTotals{}
}

// newDepots registers depots in a runtime that times every event.
func newDepots(t *testing.T) (*dog.Runtime, *dog.Namespace[depot]) {
	t.Helper()
	rt := dogtest.New(t, dog.Options{
		Store: dogtest.NewDisk(t), EvictAfter: time.Minute,
		Trace: &dog.Trace{EventDone: func(context.Context, dog.EventInfo) {}},
	})
	depots, err := dog.RegisterObject[depot](rt, "depot", nil)
	require.NoError(t, err)
	rt.Totals() // counts from now on
	return rt, depots
}

func TestTotals_CountTheLivesOfObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, depots := newDepots(t)
		lives := func() [5]int {
			n := totalsOf(t, rt, "depot")
			return [5]int{n.Objects, n.Awake, int(n.Starts), int(n.Stops), int(n.Resets)}
		}
		require.Zero(t, lives())
		for _, name := range []string{"a", "b"} {
			require.Error(t, dog.CallErr0(t.Context(), depots.Named(name), (*depot).Fail))
		}
		require.Equal(t, [5]int{2, 2, 2, 0, 0}, lives())
		require.Error(t, dog.CallErr0(t.Context(), depots.Named("a"), (*depot).Panic))
		require.Equal(t, [5]int{2, 1, 2, 0, 1}, lives(), "a has no life before its next event")
		require.Error(t, dog.CallErr0(t.Context(), depots.Named("a"), (*depot).Fail))
		require.Equal(t, [5]int{2, 2, 3, 0, 1}, lives())
		time.Sleep(3 * time.Minute)
		require.Equal(t, [5]int{0, 0, 3, 2, 1}, lives(), "they are evicted")
		require.NoError(t, dog.CallErr(t.Context(), depots.Named("a"), (*depot).Work, 1))
		require.NoError(t, depots.Named("a").Delete(t.Context()))
		require.Equal(t, 0, lives()[1], "a deleted object is not awake")
		require.Equal(t, 1, lives()[4], "a deletion is no failure")
		depots.Named("b").Abort(fmt.Errorf("a call of another object: %w", dog.ErrDeleted))
		require.NoError(t, dog.CallErr(t.Context(), depots.Named("b"), (*depot).Work, 0))
		depots.Named("b").Abort(fmt.Errorf("a call of another object: %w", dog.ErrDeleted))
		require.Equal(t, 2, lives()[4], "what its error says is")
	})
}

func TestTotals_CountAStartThatFailsAsAReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := fixture.NewOwners(t, "an object", dog.Options{}, &fixture.OwnerHooks{
			Start: func(context.Context, fixture.Owner) error { return errors.New("on purpose") },
		})
		v.Runtime.Totals()
		v.Server.TryDial("/?u=ada", dogtest.DialOptions{})
		synctest.Wait() // the handler ends after those who wait for it have heard
		n := totalsOf(t, v.Runtime, "owners")
		require.Zero(t, n.Starts)
		require.Zero(t, n.Awake)
		require.EqualValues(t, 1, n.Resets)
		require.Equal(t, dog.EventTotals{Done: 1, Failed: 1}, n.Events[dog.EventStart])
	})
}

func TestTotals_CountEventsByKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, depots := newDepots(t)
		ctx, stub := t.Context(), depots.Named("a")
		require.NoError(t, dog.CallErr(ctx, stub, (*depot).Work, 0))
		require.Error(t, dog.CallErr0(ctx, stub, (*depot).Fail))
		require.Error(t, dog.CallErr0(ctx, stub, (*depot).Panic))
		require.NoError(t, dog.CallErr(ctx, stub, (*depot).SetAlarm, time.Second))
		time.Sleep(2 * time.Second)
		require.Equal(t, map[dog.EventKind]dog.EventTotals{
			dog.EventStart: {Done: 2},
			dog.EventCall:  {Done: 4, Failed: 2},
			dog.EventAlarm: {Done: 1},
		}, totalsOf(t, rt, "depot").Events)
	})
}

// What the program reads and writes counts once for each call and statement,
// whatever the library does for it.
func TestTotals_CountUsesOfStorage(t *testing.T) {
	for name, test := range map[string]struct {
		do            func(s *dog.Storage) error
		reads, writes uint64
	}{
		"keys": {func(s *dog.Storage) error {
			if _, _, err := s.Get("a"); err != nil {
				return err
			}
			return errors.Join(s.Put("a", nil), s.Put("b", nil))
		}, 1, 2},
		"a list": {func(s *dog.Storage) error {
			for range s.List(dog.ListOptions{}) {
			}
			return nil
		}, 1, 0},
		"a transaction": {func(s *dog.Storage) error {
			return s.Transaction(func() error { return s.Put("a", nil) })
		}, 0, 1},
		"rows that are inserted": {func(s *dog.Storage) error {
			_, err := s.SQL().Exec("INSERT INTO t VALUES (1), (2), (3)")
			return err
		}, 0, 1},
		"rows that are read": {func(s *dog.Storage) error {
			for _, err := range s.SQL().Query("SELECT * FROM (VALUES (1), (2), (3))") {
				if err != nil {
					return err
				}
			}
			return nil
		}, 1, 0},
		"alarms": {func(s *dog.Storage) error {
			if err := s.Alarms().Set(time.Now().Add(time.Hour)); err != nil {
				return err
			}
			for range s.Alarms().All() {
			}
			return nil
		}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := fixture.NewOwners(t, "an object", dog.Options{Store: dogtest.NewDisk(t)}, &fixture.OwnerHooks{
					Schema: dog.Schema{"CREATE TABLE t (n)"},
					Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, _ dog.Message) error {
						return test.do(o.Storage())
					},
				})
				v.Runtime.Totals()
				v.Server.DialWith("/?u=ada&session=0123456789", dogtest.DialOptions{
					Subprotocols: []string{"dog.v1"},
				}).Send("m1\ngo on") // its number is stored, too
				time.Sleep(time.Second)
				n := totalsOf(t, v.Runtime, "owners")
				require.Equal(t, dog.EventTotals{Done: 1}, n.Events[dog.EventMessage])
				require.Equal(t, test.reads, n.Reads)
				require.Equal(t, test.writes, n.Writes)
				require.Equal(t, v.Runtime.Stats().Store.Commits, v.Runtime.Totals().Store.Commits)
				require.Zero(t, v.Runtime.Totals().HeldBytes)
			})
		})
	}
}

// A program that does not ask for totals does not pay for them.
func TestTotals_CountEventsFromTheFirstCallOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{Store: dogtest.NewDisk(t)})
		depots, err := dog.RegisterObject[depot](rt, "depot", nil)
		require.NoError(t, err)
		work := func(name string, times int) dog.TypeTotals {
			require.NoError(t, dog.CallErr(t.Context(), depots.Named(name), (*depot).Work, times))
			return totalsOf(t, rt, "depot")
		}
		first := work("a", 3)
		require.Empty(t, first.Events)
		require.Zero(t, first.Reads)
		require.EqualValues(t, 1, first.Starts, "starts are counted all the time")
		require.Zero(t, work("a", 2).Writes, "uses of the first event may be from before")
		n := work("a", 5)
		require.EqualValues(t, 5, n.Reads)
		require.EqualValues(t, 5, n.Writes)
		require.EqualValues(t, 2, n.Events[dog.EventCall].Done)
		require.EqualValues(t, 6, work("b", 1).Writes, "a new object counts at once")
	})
}

func TestTotals_TimeEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, depots := newDepots(t)
		ctx, stub := t.Context(), depots.Named("a")
		for range 3 { // they wait 0, 1 and 2 seconds
			go func() { _ = dog.CallErr(ctx, stub, (*depot).Work, 1) }()
		}
		time.Sleep(time.Minute)
		n := totalsOf(t, rt, "depot")
		require.EqualValues(t, 4, n.Wait.Count, "with the start")
		require.Equal(t, 3*time.Second, n.Wait.Sum)
		require.Equal(t, 3*time.Second, n.Run.Sum)
		require.EqualValues(t, 3, n.Durable.Count)
		require.InEpsilon(t, 2*time.Second, n.Wait.Quantile(1), 0.25)
		require.InEpsilon(t, time.Second, n.Run.Quantile(0.5), 0.25)
		require.Less(t, n.Run.Quantile(0.25), time.Microsecond, "the start")
	})
}

// Without a hook, one event in 128 or so is timed.
func TestTotals_TimeSomeEventsWithoutATrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, cells := fixture.NewObjects(t, dog.Options{})
		rt.Totals()
		for range 10_000 {
			require.NoError(t, dog.CallErr0(t.Context(), cells.Named("a"), (*fixture.Object).Nothing))
		}
		n := totalsOf(t, rt, "cell")
		require.EqualValues(t, 10_000, n.Events[dog.EventCall].Done)
		require.EqualValues(t, 10_000/128, n.Run.Count)
	})
}
