package observe_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// Also if each object has only one event.
func TestTotals_TimeSomeEventsOfManyObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, cells := fixture.NewObjects(t, dog.Options{})
		rt.Totals()
		for i := range 10_000 {
			require.NoError(t, dog.CallErr0(t.Context(), cells.Named(strconv.Itoa(i)), (*fixture.Object).Nothing))
		}
		require.InDelta(t, 2*10_000/128, totalsOf(t, rt, "cell").Run.Count, 40, "calls and starts")
	})
}

func TestTotals_SayHowLateAlarmsRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, depots := newDepots(t)
		ctx, stub := t.Context(), depots.Named("a")
		require.NoError(t, dog.CallErr(ctx, stub, (*depot).SetAlarm, 500*time.Millisecond))
		require.NoError(t, dog.CallErr(ctx, stub, (*depot).Work, 0), "keeps the turn for a second")
		time.Sleep(time.Second)
		n := totalsOf(t, rt, "depot")
		require.Equal(t, 500*time.Millisecond, n.Late.Sum)
		require.EqualValues(t, 1, n.Late.Count)
		require.Equal(t, dog.AlarmStats{Runs: 1}, n.Alarms)
	})
}

func TestTotals_SayForHowLongAlarmsHaveWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		rt := dogtest.New(t, dog.Options{Store: disk})
		depots, err := dog.RegisterObject[depot](rt, "depot", nil)
		require.NoError(t, err)
		overdue := func() time.Duration { return totalsOf(t, rt, "depot").Alarms.Overdue }
		require.NoError(t, dog.CallErr(t.Context(), depots.Named("a"), (*depot).SetAlarm, time.Minute))
		require.Zero(t, overdue(), "it is not due")
		disk.Fill()
		time.Sleep(2 * time.Minute)
		require.Equal(t, time.Minute, overdue())
		require.Equal(t, time.Minute, rt.Stats().Alarms.Overdue)
		disk.Free()
		time.Sleep(10 * time.Second)
		require.Zero(t, overdue())
		require.EqualValues(t, 1, totalsOf(t, rt, "depot").Alarms.Runs)
	})
}

func TestTotals_CountSocketsByTheirEnd(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{})
		ada, bob := v.Enter("ada"), v.Enter("bob")
		v.Enter("eve")
		ada.Close(1000, "")
		bob.Vanish()
		synctest.Wait()
		n := totalsOf(t, v.Runtime, "owners")
		require.Equal(t, 1, n.Sockets)
		require.EqualValues(t, 3, n.Opened)
		require.Equal(t, map[int]uint64{1000: 1, 1006: 1}, n.Closed)
	})
}

func TestTotals_CountRefusalsByStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, depots := newDepots(t)
		srv := dogtest.Serve(t, depots.Named("a"))
		_, _, err := srv.TryDial("/", dogtest.DialOptions{})
		require.Error(t, err, "Receive refuses it")
		depots.Named("a").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/?u=ada", nil))
		depots.Named("").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		srv.Dial("/?u=ada")
		refused := map[int]uint64{
			http.StatusUnauthorized:    1,
			http.StatusUpgradeRequired: 1, // an ordinary request
			http.StatusBadRequest:      1, // no name
		}
		require.Equal(t, refused, totalsOf(t, rt, "depot").Refused)

		deafs, err := dog.RegisterObject[deaf](rt, "deaf", nil)
		require.NoError(t, err)
		deafs.Named("a").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/nothing", nil))
		require.Equal(t, map[int]uint64{http.StatusNotFound: 1}, totalsOf(t, rt, "deaf").Refused)
		require.NoError(t, rt.Shutdown(t.Context()))
		depots.Named("a").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/?u=ada", nil))
		refused[http.StatusServiceUnavailable]++
		require.Equal(t, refused, totalsOf(t, rt, "depot").Refused)
	})
}

func TestTotals_SayWhereIdentifySentClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		replicas, err := dog.RegisterReplica[fullReplica](rt, "replica", nil)
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[dog.Group]{Limit: 2, MaxReplicas: 1})
		require.NoError(t, err)
		srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			stub, err := groups.Named("main").Identify(r.Context(), r.FormValue("u"))
			if err != nil {
				dog.WriteError(w, err)
				return
			}
			stub.ServeHTTP(w, r)
		}))
		ada := srv.Dial("/?u=ada")
		srv.Dial("/?u=ada")
		_, _, err = srv.TryDial("/?u=bob", dogtest.DialOptions{})
		require.Error(t, err)
		n := totalsOf(t, rt, "group")
		require.Equal(t, dog.KindGroup, n.Kind)
		require.Equal(t, dog.IdentifyTotals{New: 1, Known: 1, Full: 1}, n.Identified)

		ada.Close(1000, "")
		synctest.Wait()
		srv.Dial("/?u=bob")
		require.Equal(t, dog.IdentifyTotals{New: 2, Known: 1, Full: 1}, totalsOf(t, rt, "group").Identified)
	})
}

func TestTotals_CountClientsThatReturnToTheirReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		h.Join("ada").Close(1000, "")
		synctest.Wait()
		h.Join("ada")
		for _, n := range h.Runtime.Totals().Types {
			if n.Kind == dog.KindGroup {
				require.Equal(t, dog.IdentifyTotals{New: 1, Returned: 1}, n.Identified)
			}
		}
	})
}

func TestTotals_CountClientsThatCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := fixture.NewOwners(t, "an object", dog.Options{}, &fixture.OwnerHooks{
			History: dog.HistoryOptions{Count: 10},
		})
		v1 := dogtest.DialOptions{Subprotocols: []string{"dog.v1"}}
		var hello struct{ Pos string }
		first := v.Server.DialWith("/?u=ada", v1).Receive()
		require.NoError(t, json.Unmarshal(first.Data[1:], &hello))
		v.Server.DialWith("/?u=ada&after="+hello.Pos, v1)
		v.Server.DialWith("/?u=ada&after=k3f7q2ab7c2d-a1", v1)
		n := totalsOf(t, v.Runtime, "owners")
		require.EqualValues(t, 1, n.Resumed)
		require.EqualValues(t, 1, n.Gaps)
	})
}

// expvar and programs of others read them.
func TestTotals_HaveAJSONForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		rt := dogtest.New(t, dog.Options{
			Store: disk, Trace: &dog.Trace{EventDone: func(context.Context, dog.EventInfo) {}},
		})
		depots, err := dog.RegisterObject[depot](rt, "depot", nil)
		require.NoError(t, err)
		rt.Totals()
		require.NoError(t, dog.CallErr(t.Context(), depots.Named("a"), (*depot).Work, 0))
		disk.Fill()
		require.ErrorIs(t, dog.CallErr(t.Context(), depots.Named("a"), (*depot).Work, 1), dog.ErrStoreFull)
		text, err := json.Marshal(rt.Totals())
		require.NoError(t, err)
		var read struct {
			Types []struct {
				Name   string
				Kind   dog.Kind
				Events map[dog.EventKind]dog.EventTotals
				Run    struct {
					Count         int
					Sum, P50, P95 time.Duration
				}
			}
			Store struct{ Err string }
		}
		require.NoError(t, json.Unmarshal(text, &read))
		require.Equal(t, "depot", read.Types[0].Name)
		require.Equal(t, dog.KindObject, read.Types[0].Kind)
		require.EqualValues(t, 2, read.Types[0].Events[dog.EventCall].Done)
		require.Equal(t, 3, read.Types[0].Run.Count)
		require.Equal(t, 2*time.Second, read.Types[0].Run.Sum)
		require.InEpsilon(t, time.Second, read.Types[0].Run.P95, 0.25)
		require.Contains(t, read.Store.Err, "full")
	})
}

func TestTotals_OfARuntimeThatIsNoneAreEmpty(t *testing.T) {
	var none *dog.Runtime
	require.Zero(t, none.Totals())
	require.Zero(t, new(dog.Runtime).Totals())
}

func TestDurations(t *testing.T) {
	var none dog.Durations
	require.Zero(t, none.Quantile(0.5))
	synctest.Test(t, func(t *testing.T) {
		rt, depots := newDepots(t)
		work := func() dog.Durations {
			require.NoError(t, dog.CallErr(t.Context(), depots.Named("a"), (*depot).Work, 0))
			return totalsOf(t, rt, "depot").Run
		}
		before := work()
		since := work().Sub(before)
		require.EqualValues(t, 1, since.Count)
		require.Equal(t, time.Second, since.Sum)
		last, count := time.Duration(0), uint64(0)
		for bound, below := range since.Buckets() {
			require.Greater(t, bound, last)
			require.GreaterOrEqual(t, below, count)
			if count == 0 && below == 1 {
				require.Less(t, last, bound)
				require.LessOrEqual(t, last, time.Second)
				require.Greater(t, bound, time.Second)
			}
			last, count = bound, below
		}
		require.EqualValues(t, 1, count)
	})
}

// A client that closes with many codes hides no end of others.
func TestTotals_CountCodesOfTheProtocolWhateverClientsChoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := fixture.NewOwners(t, "an object", dog.Options{}, &fixture.OwnerHooks{})
		for code := 3000; code < 3060; code++ {
			v.Enter("eve").Close(code, "")
		}
		v.Enter("ada").Vanish()
		synctest.Wait()
		closed := totalsOf(t, v.Runtime, "owners").Closed
		require.EqualValues(t, 1, closed[1006])
		require.EqualValues(t, 10, closed[0])
		require.EqualValues(t, 1, closed[3049])
	})
}
