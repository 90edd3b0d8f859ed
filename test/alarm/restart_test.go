package alarm_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// copyOf returns an engine with what another has now, as if the process had
// been killed.
func copyOf(t *testing.T, engine store.Engine) *storetest.Engine {
	t.Helper()
	copied := fixture.PromptEngine()
	b := copied.Begin()
	for pair, err := range engine.Scan(nil, nil, false) {
		require.NoError(t, err)
		b.Set(pair.Key, pair.Value)
	}
	_, err := b.Commit()
	require.NoError(t, err)
	return copied
}

func TestAlarms_SurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(func(_ context.Context, s *fixture.AlarmObject, a dog.Alarm) error {
			if s.Name() == "bob" {
				return errDropped
			}
			return nil
		})
		d := fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		for i, name := range []string{"eve", "cid", "ada", "dan"} {
			d.SetAfter(name, time.Duration(i+1)*time.Hour)
		}
		d.SetAfter("bob", 0)
		d.SetAfter("fay", 9*time.Hour)
		time.Sleep(10 * time.Second)
		d.Shutdown()
		require.Equal(t, 2, slices.Max(retriesOf(clock.TakeRuns())))

		time.Sleep(6 * time.Hour)
		d = fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		time.Sleep(time.Second)
		rings := clock.TakeRuns()
		require.ElementsMatch(
			t, []string{"bob/ 3@21610", "eve/ 0@21610", "cid/ 0@21610", "ada/ 0@21610", "dan/ 0@21610"},
			fixture.RunTimes(rings), "all that was due, with the number of its retries, at once",
		)
		time.Sleep(9 * time.Hour)
		require.Contains(t, fixture.RunTimes(clock.TakeRuns()), "fay/ 0@32400", "the rest in its time")
		require.Equal(t, []string{"!"}, d.Names("bob"))
		d.Shutdown()

		d = fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		time.Sleep(9 * time.Hour)
		require.Empty(t, clock.TakeRuns(), "what has failed stays so")
		d.SetAfter("bob", time.Hour)
		time.Sleep(time.Hour)
		require.Equal(t, 0, clock.TakeRuns()[0].Retry)
	})
}

func retriesOf(rings []fixture.AlarmRun) (list []int) {
	for _, r := range rings {
		list = append(list, r.Retry)
	}
	return list
}

func TestAlarms_OverdueRunInOrderOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, atOnce = 2000, 256
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(func(ctx context.Context, _ *fixture.AlarmObject, _ dog.Alarm) error {
			return dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
		})
		d := fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		for i := range n {
			d.SetAfter(strconv.Itoa(i), time.Hour-time.Duration(i)*time.Millisecond)
		}
		d.Shutdown()
		time.Sleep(time.Hour)
		fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		time.Sleep(n/atOnce*time.Second + time.Second)
		rings := clock.TakeRuns()
		require.Equal(t, n, len(rings))
		for i, r := range rings {
			number, err := strconv.Atoi(r.Object)
			require.NoError(t, err)
			require.Equal(t, i/atOnce, (n-1-number)/atOnce)
		}
	})
}

func TestAlarm_RunsAgainAfterACrashInItsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(func(ctx context.Context, s *fixture.AlarmObject, a dog.Alarm) error {
			if a.Retries == 0 {
				return errDropped
			}
			require.NoError(t, s.Storage().Put("half", nil))
			return dog.Await(ctx, func() error { time.Sleep(time.Minute); return nil })
		})
		d := fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		d.SetAfter("ada", time.Hour)
		time.Sleep(time.Hour + 10*time.Second)
		require.Equal(t, []int{0, 1}, retriesOf(clock.TakeRuns()))
		died := copyOf(t, engine)
		d.Shutdown()
		require.Empty(t, clock.TakeRuns())

		d = fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(died)}, clock)
		require.Equal(t, []int{1}, retriesOf(clock.TakeRuns()), "at least once, and what has failed before counts")
		time.Sleep(time.Hour)
		require.Empty(t, d.Names("ada"))
	})
}

func TestAlarms_WaitUntilTheirTypeIsRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(nil)
		d := fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		d.SetAfter("ada", time.Hour)
		d.SetAfter("bob", 3*time.Hour)
		d.Shutdown()
		time.Sleep(time.Hour)

		rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)})
		_, err := dog.RegisterObject[noAlarm](rt, "noAlarm", nil)
		require.NoError(t, err)
		rt.Start()
		time.Sleep(time.Hour)
		require.Empty(t, clock.TakeRuns())
		_, err = dog.RegisterObject(
			rt, "sleeper",
			&dog.ObjectOptions[fixture.AlarmObject]{
				New: func() *fixture.AlarmObject { return &fixture.AlarmObject{On: clock} },
			},
		)
		require.NoError(t, err)
		require.Equal(t, []string{"ada/ 0@7200"}, fixture.RunTimes(clock.TakeRuns()))
		time.Sleep(2 * time.Hour)
		require.Equal(t, []string{"bob/ 0@10800"}, fixture.RunTimes(clock.TakeRuns()))
	})
}

func TestAlarms_WaitWhileTheirTypeHasNoOnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		clock := fixture.NewAlarmHooks(nil)
		d := fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		d.SetAfter("ada", time.Hour)
		d.Shutdown()
		rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)})
		_, err := dog.RegisterObject[noAlarm](rt, "sleeper", nil)
		require.NoError(t, err)
		rt.Start()
		time.Sleep(3 * time.Hour)
		require.NoError(t, rt.Shutdown(context.Background()))

		fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		require.Len(t, clock.TakeRuns(), 1)
	})
}

func TestAlarm_CutByShutdownCountsNoRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		cut := true
		clock := fixture.NewAlarmHooks(func(ctx context.Context, _ *fixture.AlarmObject, _ dog.Alarm) error {
			if cut {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		d := fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		d.SetAfter("ada", time.Hour)
		time.Sleep(time.Hour)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, d.Runtime.Shutdown(ctx), context.DeadlineExceeded)
		require.NoError(t, d.Runtime.Shutdown(context.Background()))
		cut = false
		fixture.NewAlarmObjects(t, dog.Options{Store: fixture.StoreOf(engine)}, clock)
		require.Equal(t, []int{0, 0}, retriesOf(clock.TakeRuns()))
	})
}
