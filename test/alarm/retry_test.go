package alarm_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

var errDropped = errors.New("dropped the cup")

// fails has every run fail in one of the ways there are.
var fails = map[string]func(ctx context.Context, s *fixture.AlarmObject, a dog.Alarm) error{
	"an error": func(context.Context, *fixture.AlarmObject, dog.Alarm) error { return errDropped },
	"a panic":  func(context.Context, *fixture.AlarmObject, dog.Alarm) error { panic(errDropped) },
	"an abort": func(_ context.Context, s *fixture.AlarmObject, _ dog.Alarm) error { s.Abort(errDropped); return nil },
	"the end of its goroutine": func(context.Context, *fixture.AlarmObject, dog.Alarm) error {
		runtime.Goexit()
		return nil
	},
	"an error after a rollback": func(_ context.Context, s *fixture.AlarmObject, _ dog.Alarm) error {
		return errors.Join(errDropped, s.Storage().Put("undone", nil))
	},
	"a reset while it waits": func(ctx context.Context, s *fixture.AlarmObject, _ dog.Alarm) error {
		return dog.Await(ctx, func() error { s.Abort(errDropped); <-ctx.Done(); return nil })
	},
}

func TestAlarm_IsRetriedSixTimesAndThenKept(t *testing.T) {
	for how, fail := range fails {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := fixture.NewAlarmHooks(fail)
				clock.Rollback = strings.HasSuffix(how, "rollback")
				d := fixture.NewAlarmObjects(t, dog.Options{}, clock)
				hour := time.Now().Add(time.Hour)
				d.With("ada", func(a *dog.Alarms) error { return a.SetNamed("tea", hour, []byte("green")) })
				alarm, set := d.Alarm("ada", "tea")
				require.True(t, set)
				require.True(t, hour.Equal(alarm.Next))
				time.Sleep(time.Hour)
				rings := d.Hooks.TakeRuns()
				for retry := 1; retry < 7; retry++ {
					wait := time.Second << retry
					alarm, set = d.Alarm("ada", "tea")
					require.True(t, set)
					require.Equal(t, retry, alarm.Retries)
					require.NotEmpty(t, alarm.Err)
					require.False(t, alarm.Failed)
					time.Sleep(wait - 1 - time.Since(d.Hooks.Began.Add(rings[0].At)))
					require.Empty(t, d.Hooks.TakeRuns(), "too early")
					time.Sleep(wait/4 + 1)
					rings = d.Hooks.TakeRuns()
					require.Len(t, rings, 1, "too late")
					require.Equal(t, alarm.Next.Sub(d.Hooks.Began), rings[0].At)
					require.Equal(t, retry, rings[0].Retry)
				}
				time.Sleep(3 * time.Hour)
				require.Empty(t, d.Hooks.TakeRuns())
				alarm, set = d.Alarm("ada", "tea")
				require.True(t, set)
				require.True(t, hour.Equal(alarm.At))
				require.Equal(t, dog.Alarm{
					Name: "tea", At: alarm.At, Payload: []byte("green"), Retries: 7, Failed: true, Err: alarm.Err,
				}, alarm)
				require.Equal(t, dog.AlarmStats{Runs: 7, Retries: 6, Failed: 1}, d.Runtime.Stats().Alarms)
				require.Empty(t, d.Hooks.Overlapped)

				d.With("ada", func(a *dog.Alarms) error { return a.SetNamed("coffee", hour.Add(9*time.Hour), nil) })
				require.Equal(t, []string{"coffee", "tea!"}, d.Names("ada"))
				d.With("ada", func(a *dog.Alarms) error { return a.SetNamed("tea", time.Now(), nil) })
				require.Equal(t, 0, d.Hooks.TakeRuns()[0].Retry, "set again it begins again")
			})
		})
	}
}

func TestAlarm_EndsWhenARetrySucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var scheduled []time.Time
		d := fixture.NewAlarmObjects(
			t, dog.Options{},
			fixture.NewAlarmHooks(func(_ context.Context, _ *fixture.AlarmObject, a dog.Alarm) error {
				scheduled = append(scheduled, a.At)
				if a.Retries < 2 {
					return errDropped
				}
				return nil
			}),
		)
		d.SetAfter("ada", time.Hour)
		time.Sleep(3 * time.Hour)
		require.Len(t, d.Hooks.TakeRuns(), 3)
		require.Empty(t, d.Names("ada"))
		require.Equal(t, scheduled[0], scheduled[2])
		require.Equal(t, dog.AlarmStats{Runs: 3, Retries: 2}, d.Runtime.Stats().Alarms)
	})
}

func TestAlarm_RetriesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(
			t, dog.Options{},
			fixture.NewAlarmHooks(func(_ context.Context, _ *fixture.AlarmObject, a dog.Alarm) error {
				if a.Retries == 0 {
					return errDropped
				}
				return nil
			}),
		)
		const n = 200
		for i := range n {
			d.SetAfter(strconv.Itoa(i), time.Hour)
		}
		time.Sleep(2 * time.Hour)
		early, late := 0, 0
		for _, r := range d.Hooks.TakeRuns()[n:] {
			switch after := r.At - time.Hour; {
			case after < 2*time.Second+125*time.Millisecond:
				early++
			case after > 2*time.Second+375*time.Millisecond:
				late++
			}
		}
		require.NotZero(t, early)
		require.NotZero(t, late)
	})
}

func TestAlarm_IsNotRetriedIfItsHandlerSetOrDeletedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := false
		var settle func(a *dog.Alarms) error // owned by the turn of ada
		d := fixture.NewAlarmObjects(
			t, dog.Options{},
			fixture.NewAlarmHooks(func(ctx context.Context, s *fixture.AlarmObject, a dog.Alarm) error {
				if a.Name == "next" {
					return nil
				}
				if err := settle(s.Storage().Alarms()); err != nil {
					return err
				}
				if waits {
					require.NoError(t, dog.Await(ctx, func() error { time.Sleep(time.Minute); return nil }))
				}
				return errDropped
			}),
		)
		for _, w := range []bool{false, true} {
			d.With("ada", func(a *dog.Alarms) error {
				waits = w
				settle = func(a *dog.Alarms) error { return a.Set(time.Now().Add(time.Hour)) }
				return a.Set(time.Now().Add(time.Hour))
			})
			time.Sleep(time.Hour + 30*time.Minute)
			rings := d.Hooks.TakeRuns()
			require.Len(t, rings, 1)
			alarm, set := d.Alarm("ada", "")
			require.True(t, set, "the new one is kept")
			require.Zero(t, alarm.Retries)

			d.With("ada", func(*dog.Alarms) error {
				settle = func(a *dog.Alarms) error {
					existed, err := a.Delete("")
					require.False(t, existed, "it reads as not set")
					return err
				}
				return nil
			})
			time.Sleep(30 * time.Minute)
			rings = d.Hooks.TakeRuns()
			require.Len(t, rings, 1)
			require.Zero(t, rings[0].Retry)
			time.Sleep(3 * time.Hour)
			require.Empty(t, d.Hooks.TakeRuns())
			require.Empty(t, d.Names("ada"))
		}
	})
}

func TestAlarm_PanicUndoesChangesOfAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fixture.NewAlarmObjects(
			t, dog.Options{},
			fixture.NewAlarmHooks(func(_ context.Context, s *fixture.AlarmObject, a dog.Alarm) error {
				switch a.Retries {
				case 0:
					require.NoError(t, s.Storage().Alarms().Set(time.Now().Add(time.Hour)))
					panic("after setting")
				case 1:
					_, err := s.Storage().Alarms().Delete("")
					require.NoError(t, err)
					panic("after deleting")
				}
				return nil
			}),
		)
		d.SetAfter("ada", time.Hour)
		time.Sleep(3 * time.Hour)
		require.Len(t, d.Hooks.TakeRuns(), 3)
		require.Empty(t, d.Names("ada"))
	})
}

func TestAlarm_FailsIfItsObjectCannotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := fixture.NewAlarmHooks(nil)
		starts := 0
		clock.Start = func(*fixture.AlarmObject) error {
			if starts++; starts > 1 && starts <= 4 {
				return errDropped
			}
			return nil
		}
		d := fixture.NewAlarmObjects(t, dog.Options{EvictAfter: time.Minute}, clock)
		d.SetAfter("ada", time.Hour)
		time.Sleep(3 * time.Hour)
		require.Equal(t, 3, d.Hooks.TakeRuns()[0].Retry)
		require.Equal(t, dog.AlarmStats{Runs: 1, Retries: 3}, d.Runtime.Stats().Alarms)
		require.Empty(t, d.Names("ada"))
		time.Sleep(time.Hour)
		require.Zero(t, count(d.Runtime), "an object that was not started leaves memory too")
	})
}

func TestAlarm_SetInOnStartReplacesTheDueAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := fixture.NewAlarmHooks(nil)
		starts := 0
		clock.Start = func(s *fixture.AlarmObject) error {
			if starts++; starts != 2 {
				return nil
			}
			return s.Storage().Alarms().Set(time.Now().Add(time.Hour))
		}
		d := fixture.NewAlarmObjects(t, dog.Options{EvictAfter: time.Minute}, clock)
		d.SetAfter("ada", time.Hour)
		time.Sleep(3 * time.Hour)
		require.Equal(t, []string{"ada/ 0@7200"}, fixture.RunTimes(d.Hooks.TakeRuns()))
	})
}

func TestAlarm_RefusedWritesCostNoRetryAndBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		d := fixture.NewAlarmObjects(
			t, dog.Options{Store: fixture.StoreOf(engine)},
			fixture.NewAlarmHooks(func(_ context.Context, s *fixture.AlarmObject, _ dog.Alarm) error {
				return s.Storage().Put("x", nil)
			}),
		)
		d.SetAfter("ada", time.Hour)
		engine.Refuse(dog.ErrStoreFull)
		time.Sleep(2 * time.Hour)
		rings := d.Hooks.TakeRuns()
		require.NotEmpty(t, rings)
		require.LessOrEqual(t, len(rings), int(time.Hour/(2*time.Second))+1)
		require.Zero(t, rings[len(rings)-1].Retry, "the store is to blame")
		engine.Refuse(nil)
		time.Sleep(time.Minute)
		require.Len(t, d.Hooks.TakeRuns(), 1)
		require.Empty(t, d.Names("ada"))
	})
}

// fullEngine is an engine whose Writable is set by a test.
type fullEngine struct {
	*storetest.Engine
	full atomic.Bool
}

func (b *fullEngine) Writable() error {
	if b.full.Load() {
		return dog.ErrStoreFull
	}
	return nil
}

func TestAlarm_DoesNotRunWhileTheStoreRefusesWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fullEngine{Engine: fixture.PromptEngine()}
		d := fixture.NewAlarmObjects(t, dog.Options{Store: fixture.OpenedStore(engine)}, fixture.NewAlarmHooks(nil))
		d.SetAfter("ada", time.Hour)
		synctest.Wait()
		engine.full.Store(true)
		time.Sleep(2 * time.Hour)
		require.Empty(t, d.Hooks.TakeRuns())
		engine.full.Store(false)
		time.Sleep(2 * time.Second)
		require.Len(t, d.Hooks.TakeRuns(), 1)
	})
}
