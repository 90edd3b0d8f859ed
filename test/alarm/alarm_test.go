package alarm_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestAlarm_RunsOnceAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var info dog.Alarm
		d := fixture.NewAlarmObjects(
			t, dog.Options{},
			fixture.NewAlarmHooks(func(_ context.Context, _ *fixture.AlarmObject, a dog.Alarm) error {
				info = a
				return nil
			}),
		)
		due := time.Now().Add(time.Hour)
		d.With("ada", func(a *dog.Alarms) error { return a.SetNamed("tea", due, []byte("earl grey")) })
		alarm, set := d.Alarm("ada", "tea")
		require.True(t, set)
		require.True(t, due.Equal(alarm.At))
		require.Equal(t, "earl grey", string(alarm.Payload))

		time.Sleep(time.Hour - time.Nanosecond)
		require.Empty(t, d.Hooks.TakeRuns())
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{"ada/tea 0@3600"}, fixture.RunTimes(d.Hooks.TakeRuns()))
		require.True(t, due.Equal(info.At))
		require.Equal(t, dog.Alarm{Name: "tea", At: info.At, Payload: []byte("earl grey")}, info)
		_, set = d.Alarm("ada", "tea")
		require.False(t, set)
		time.Sleep(9 * time.Hour)
		require.Empty(t, d.Hooks.TakeRuns())
		require.Equal(t, dog.AlarmStats{Runs: 1}, d.Runtime.Stats().Alarms)
	})
}

func TestAlarm_WakesAnObjectThatIsNotInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(t, dog.Options{EvictAfter: time.Second}, fixture.NewAlarmHooks(nil))
		d.SetAfter("ada", time.Hour)
		time.Sleep(time.Minute)
		require.Zero(t, count(d.Runtime))
		time.Sleep(time.Hour)
		require.Equal(t, []string{"ada/ 0@3600"}, fixture.RunTimes(d.Hooks.TakeRuns()), "it knows its name")
	})
}

// count returns how many objects are in memory.
func count(rt *dog.Runtime) (n int) {
	for range rt.Objects() {
		n++
	}
	return n
}

func TestAlarm_SettingAnAlarmReplacesItsEarlierTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(t, dog.Options{}, fixture.NewAlarmHooks(nil))
		for _, hours := range []time.Duration{3, 5, 2, 4} {
			d.SetAfter("ada", hours*time.Hour)
		}
		d.With("ada", func(a *dog.Alarms) error { return a.SetNamed("b", time.Now().Add(time.Hour), nil) })
		d.With("ada", func(a *dog.Alarms) error { return a.SetNamed("b", time.Now().Add(6*time.Hour), nil) })
		time.Sleep(9 * time.Hour)
		require.Equal(t, []string{"ada/ 0@14400", "ada/b 0@21600"}, fixture.RunTimes(d.Hooks.TakeRuns()))
	})
}

func TestAlarm_PastTimeMeansNowAndZeroTimeIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(t, dog.Options{}, fixture.NewAlarmHooks(nil))
		now := time.Now()
		d.With("ada", func(a *dog.Alarms) error {
			fixture.RequireUsage(t, a.Set(time.Time{}), "zero time")
			require.NoError(t, a.Set(now.Add(-time.Hour)))
			alarm, _, err := a.Get("")
			require.True(t, now.Equal(alarm.At))
			return err
		})
		require.Equal(t, []string{"ada/ 0@0"}, fixture.RunTimes(d.Hooks.TakeRuns()))
		d.With("ada", func(a *dog.Alarms) error { return a.Set(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)) })
		alarm, _ := d.Alarm("ada", "")
		require.Equal(t, 2262, alarm.At.UTC().Year())
	})
}

func TestAlarm_ObjectMayHaveManyAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(t, dog.Options{}, fixture.NewAlarmHooks(nil))
		d.With("ada", func(a *dog.Alarms) error {
			for i, name := range []string{"d", "b", "", "c", "a"} {
				if err := a.SetNamed(name, time.Now().Add(time.Duration(i)*time.Hour+time.Hour), nil); err != nil {
					return err
				}
			}
			existed, err := a.Delete("c")
			require.True(t, existed)
			require.NoError(t, err)
			existed, err = a.Delete("c")
			require.False(t, existed)
			return err
		})
		require.Equal(t, []string{"d", "b", "", "a"}, d.Names("ada"))
		time.Sleep(9 * time.Hour)
		require.Equal(
			t, []string{"ada/d 0@3600", "ada/b 0@7200", "ada/ 0@10800", "ada/a 0@18000"},
			fixture.RunTimes(d.Hooks.TakeRuns()),
		)
	})
}

func TestAlarms_MayChangeWhileTheyAreListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(t, dog.Options{}, fixture.NewAlarmHooks(nil))
		hours := func(n int) time.Time { return time.Now().Add(time.Duration(n) * time.Hour) }
		d.With("ada", func(a *dog.Alarms) error {
			for i, name := range []string{"a", "b", "c", "d"} {
				require.NoError(t, a.SetNamed(name, hours(i+1), nil))
			}
			var seen []string
			for alarm, err := range a.All() {
				require.NoError(t, err)
				if seen = append(seen, alarm.Name); alarm.Name == "a" {
					_, err := a.Delete("b")
					require.NoError(t, err)
					require.NoError(t, a.SetNamed("c", hours(9), nil))
					require.NoError(t, a.SetNamed("e", hours(8), nil))
				}
			}
			require.Equal(t, []string{"a", "d"}, seen)
			return nil
		})
		require.Equal(t, []string{"a", "d", "e", "c"}, d.Names("ada"))
	})
}

func TestAlarms_AreUndoneWithTheTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(t, dog.Options{}, fixture.NewAlarmHooks(nil))
		wrong := errors.New("wrong")
		hour := time.Now().Add(time.Hour)
		d.With("ada", func(a *dog.Alarms) error { return a.SetNamed("kept", hour.Add(time.Hour), nil) })
		err := d.Try("ada", func(_ context.Context, s *fixture.AlarmObject) error {
			a := s.Storage().Alarms()
			require.ErrorIs(t, s.Storage().Transaction(func() error {
				require.NoError(t, a.SetNamed("undone", hour, nil))
				_, err := a.Delete("kept")
				require.NoError(t, err)
				return wrong
			}), wrong)
			require.NoError(t, a.SetNamed("own", hour, nil))
			panic("gone")
		})
		require.ErrorIs(t, err, dog.ErrReset)
		require.Equal(t, []string{"kept"}, d.Names("ada"))
		time.Sleep(9 * time.Hour)
		require.Equal(t, []string{"ada/kept 0@7200"}, fixture.RunTimes(d.Hooks.TakeRuns()))
	})
}

func TestAlarm_DeleteAllDeletesTheAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(t, dog.Options{}, fixture.NewAlarmHooks(nil))
		d.SetAfter("ada", time.Hour)
		require.NoError(
			t,
			d.Try("ada", func(_ context.Context, s *fixture.AlarmObject) error { return s.Storage().DeleteAll() }),
		)
		require.Empty(t, d.Names("ada"))
		time.Sleep(9 * time.Hour)
		require.Empty(t, d.Hooks.TakeRuns())
	})
}

func TestAlarms_HaveLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(t, dog.Options{}, fixture.NewAlarmHooks(nil))
		hour := time.Now().Add(time.Hour)
		d.With("ada", func(a *dog.Alarms) error {
			require.ErrorIs(t, a.SetNamed(strings.Repeat("x", 2049), hour, nil), dog.ErrTooBig)
			require.ErrorIs(t, a.SetNamed("x", hour, make([]byte, 64<<10+1)), dog.ErrTooBig)
			require.NoError(t, a.SetNamed(strings.Repeat("x", 2048), hour, make([]byte, 64<<10)))
			return nil
		})
		alarm, set := d.Alarm("ada", strings.Repeat("x", 2048))
		require.True(t, set)
		require.Len(t, alarm.Payload, 64<<10)
	})
}

// noAlarm is an object without OnAlarm.
type noAlarm struct{ dog.Object }

func (n *noAlarm) Set(_ context.Context, at time.Time) error { return n.Storage().Alarms().Set(at) }

func TestAlarm_CannotBeSetWithoutOnAlarm(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	noAlarms, err := dog.RegisterObject[noAlarm](rt, "noAlarm", nil)
	require.NoError(t, err)
	err = dog.CallErr(t.Context(), noAlarms.Named("x"), (*noAlarm).Set, time.Now())
	fixture.RequireUsage(t, err, "has no OnAlarm")
	require.ErrorContains(t, err, "alarm_test.noAlarm")
}

func TestAlarms_BelongToTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(t, dog.Options{}, fixture.NewAlarmHooks(nil))
		var stray *dog.Alarms
		d.With("ada", func(a *dog.Alarms) error {
			stray = a
			return a.Set(time.Now().Add(time.Hour))
		})
		require.ErrorIs(t, stray.Set(time.Now()), dog.ErrOutsideTurn)
		_, _, err := stray.Get("")
		require.ErrorIs(t, err, dog.ErrOutsideTurn)
		_, err = stray.Delete("")
		require.ErrorIs(t, err, dog.ErrOutsideTurn)
		for _, err := range stray.All() {
			require.ErrorIs(t, err, dog.ErrOutsideTurn)
		}
	})
}

func TestAlarms_OfOneObjectRunOneAtATimeEvenIfTheyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(
			t, dog.Options{},
			fixture.NewAlarmHooks(func(ctx context.Context, _ *fixture.AlarmObject, _ dog.Alarm) error {
				return dog.Await(ctx, func() error { time.Sleep(time.Minute); return nil })
			}),
		)
		hour := time.Now().Add(time.Hour)
		d.With("ada", func(a *dog.Alarms) error {
			for i, name := range []string{"a", "b", "c"} {
				require.NoError(t, a.SetNamed(name, hour.Add(time.Duration(i)), nil))
			}
			require.NoError(t, a.SetNamed("d", hour.Add(2), nil))
			return nil
		})
		d.SetAfter("bob", time.Hour)
		time.Sleep(time.Hour + time.Second)
		require.Len(t, d.Hooks.TakeRuns(), 2, "those of others run at the same time")
		require.Equal(t, []string{"b", "c", "d"}, d.Names("ada"), "other events run, and do not see the one that runs")
		time.Sleep(time.Hour)
		require.Equal(t, []string{"ada/b 0@3660", "ada/c 0@3720", "ada/d 0@3780"}, fixture.RunTimes(d.Hooks.TakeRuns()))
		require.Empty(t, d.Hooks.Overlapped)
	})
}

func TestAlarm_ReadsAsNotSetInItsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(
			t, dog.Options{},
			fixture.NewAlarmHooks(func(_ context.Context, s *fixture.AlarmObject, _ dog.Alarm) error {
				a := s.Storage().Alarms()
				_, set, err := a.Get("")
				require.False(t, set)
				for range a.All() {
					t.Error("there are alarms")
				}
				return err
			}),
		)
		d.SetAfter("ada", time.Hour)
		time.Sleep(time.Hour)
		require.Len(t, d.Hooks.TakeRuns(), 1)
	})
}

func TestAlarm_MayBeSetAgainInItsHandlerForTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := 4
		d := fixture.NewAlarmObjects(
			t, dog.Options{},
			fixture.NewAlarmHooks(func(_ context.Context, s *fixture.AlarmObject, a dog.Alarm) error {
				if left--; left > 0 {
					return s.Storage().Alarms().Set(a.At)
				}
				return s.Storage().Alarms().Set(time.Now().Add(time.Minute))
			}),
		)
		d.SetAfter("ada", time.Hour)
		time.Sleep(time.Hour)
		require.Equal(
			t, []string{"ada/ 0@3600", "ada/ 0@3600", "ada/ 0@3600", "ada/ 0@3600"},
			fixture.RunTimes(d.Hooks.TakeRuns()),
		)
		_, set := d.Alarm("ada", "")
		require.True(t, set)
		time.Sleep(time.Minute)
		require.Len(t, d.Hooks.TakeRuns(), 1)
	})
}

func TestAlarm_ShutdownBeginsNoneAndWaitsForRunningAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		d := fixture.NewAlarmObjects(
			t, dog.Options{},
			fixture.NewAlarmHooks(func(ctx context.Context, _ *fixture.AlarmObject, _ dog.Alarm) error {
				err := dog.Await(ctx, func() error { time.Sleep(time.Minute); return nil })
				ended = true
				return err
			}),
		)
		d.SetAfter("ada", time.Hour)
		d.SetAfter("bob", time.Hour+time.Second)
		time.Sleep(time.Hour)
		synctest.Wait()
		d.Shutdown()
		require.True(t, ended)
		require.Equal(t, []string{"ada/ 0@3600"}, fixture.RunTimes(d.Hooks.TakeRuns()))
	})
}
