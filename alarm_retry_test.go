package dog_test

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
)

var errDropped = errors.New("dropped the cup")

// fails has every run fail in one of the ways there are.
var fails = map[string]func(ctx context.Context, s *sleeper, a dog.Alarm) error{
	"an error": func(context.Context, *sleeper, dog.Alarm) error { return errDropped },
	"a panic":  func(context.Context, *sleeper, dog.Alarm) error { panic(errDropped) },
	"an abort": func(_ context.Context, s *sleeper, _ dog.Alarm) error { s.Abort(errDropped); return nil },
	"the end of its goroutine": func(context.Context, *sleeper, dog.Alarm) error {
		runtime.Goexit()
		return nil
	},
	"an error after a rollback": func(_ context.Context, s *sleeper, _ dog.Alarm) error {
		return errors.Join(errDropped, s.Storage().Put("undone", nil))
	},
	"a reset while it waits": func(ctx context.Context, s *sleeper, _ dog.Alarm) error {
		return dog.Await(ctx, func() error { s.Abort(errDropped); <-ctx.Done(); return nil })
	},
}

func TestAFailedAlarmIsRetriedSixTimesAndKept(t *testing.T) {
	for how, fail := range fails {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := newClockwork(fail)
				clock.rollback = strings.HasSuffix(how, "rollback")
				d := newDormitory(t, dog.Options{}, clock)
				hour := time.Now().Add(time.Hour)
				d.with("ada", func(a *dog.Alarms) error { return a.SetNamed("tea", hour, []byte("green")) })
				time.Sleep(time.Hour)
				rings := d.clock.heard()
				for retry := 1; retry < 7; retry++ {
					wait := time.Second << retry
					alarm, set := d.alarm("ada", "tea")
					require.True(t, set)
					require.Equal(t, retry, alarm.Retries)
					require.NotEmpty(t, alarm.Err)
					require.False(t, alarm.Failed)
					time.Sleep(wait - 1 - time.Since(d.clock.began.Add(rings[0].at)))
					require.Empty(t, d.clock.heard(), "too early")
					time.Sleep(wait/4 + 1)
					rings = d.clock.heard()
					require.Len(t, rings, 1, "too late")
					require.Equal(t, retry, rings[0].retry)
				}
				time.Sleep(3 * time.Hour)
				require.Empty(t, d.clock.heard())
				alarm, set := d.alarm("ada", "tea")
				require.True(t, set)
				require.True(t, hour.Equal(alarm.At))
				require.Equal(t, dog.Alarm{
					Name: "tea", At: alarm.At, Payload: []byte("green"), Retries: 7, Failed: true, Err: alarm.Err,
				}, alarm)
				require.Equal(t, dog.AlarmStats{Runs: 7, Retries: 6, Failed: 1}, d.rt.Stats().Alarms)
				require.Empty(t, d.clock.twice)

				d.with("ada", func(a *dog.Alarms) error { return a.SetNamed("coffee", hour.Add(9*time.Hour), nil) })
				require.Equal(t, []string{"coffee", "tea!"}, d.all("ada"))
				d.with("ada", func(a *dog.Alarms) error { return a.SetNamed("tea", time.Now(), nil) })
				require.Equal(t, 0, d.clock.heard()[0].retry, "set anew it begins anew")
			})
		})
	}
}

func TestAnAlarmIsDoneWhenARetrySucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var scheduled []time.Time
		d := newDormitory(t, dog.Options{}, newClockwork(func(_ context.Context, _ *sleeper, a dog.Alarm) error {
			scheduled = append(scheduled, a.At)
			if a.Retries < 2 {
				return errDropped
			}
			return nil
		}))
		d.after("ada", time.Hour)
		time.Sleep(3 * time.Hour)
		require.Len(t, d.clock.heard(), 3)
		require.Empty(t, d.all("ada"))
		require.Equal(t, scheduled[0], scheduled[2])
		require.Equal(t, dog.AlarmStats{Runs: 3, Retries: 2}, d.rt.Stats().Alarms)
	})
}

func TestRetriesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDormitory(t, dog.Options{}, newClockwork(func(_ context.Context, _ *sleeper, a dog.Alarm) error {
			if a.Retries == 0 {
				return errDropped
			}
			return nil
		}))
		const n = 200
		for i := range n {
			d.after(strconv.Itoa(i), time.Hour)
		}
		time.Sleep(2 * time.Hour)
		early, late := 0, 0
		for _, r := range d.clock.heard()[n:] {
			switch after := r.at - time.Hour; {
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

func TestAHandlerThatSettlesWhatComesNextIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := false
		var settle func(a *dog.Alarms) error // owned by the turn of ada
		d := newDormitory(t, dog.Options{}, newClockwork(func(ctx context.Context, s *sleeper, a dog.Alarm) error {
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
		}))
		for _, w := range []bool{false, true} {
			d.with("ada", func(a *dog.Alarms) error {
				waits = w
				settle = func(a *dog.Alarms) error { return a.Set(time.Now().Add(time.Hour)) }
				return a.Set(time.Now().Add(time.Hour))
			})
			time.Sleep(time.Hour + 30*time.Minute)
			rings := d.clock.heard()
			require.Len(t, rings, 1)
			alarm, set := d.alarm("ada", "")
			require.True(t, set, "the new one is kept")
			require.Zero(t, alarm.Retries)

			d.with("ada", func(*dog.Alarms) error {
				settle = func(a *dog.Alarms) error {
					existed, err := a.Delete("")
					require.False(t, existed, "it reads as not set")
					return err
				}
				return nil
			})
			time.Sleep(30 * time.Minute)
			rings = d.clock.heard()
			require.Len(t, rings, 1)
			require.Zero(t, rings[0].retry)
			time.Sleep(3 * time.Hour)
			require.Empty(t, d.clock.heard())
			require.Empty(t, d.all("ada"))
		}
	})
}

func TestWhatAPanickingHandlerSettledIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDormitory(t, dog.Options{}, newClockwork(func(_ context.Context, s *sleeper, a dog.Alarm) error {
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
		}))
		d.after("ada", time.Hour)
		time.Sleep(3 * time.Hour)
		require.Len(t, d.clock.heard(), 3)
		require.Empty(t, d.all("ada"))
	})
}

func TestAnObjectThatCannotStartFailsItsAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClockwork(nil)
		starts := 0
		clock.start = func(*sleeper) error {
			if starts++; starts > 1 && starts <= 4 {
				return errDropped
			}
			return nil
		}
		d := newDormitory(t, dog.Options{EvictAfter: time.Minute}, clock)
		d.after("ada", time.Hour)
		time.Sleep(3 * time.Hour)
		require.Equal(t, 3, d.clock.heard()[0].retry)
		require.Equal(t, dog.AlarmStats{Runs: 1, Retries: 3}, d.rt.Stats().Alarms)
		require.Empty(t, d.all("ada"))
		time.Sleep(time.Hour)
		require.Zero(t, count(d.rt), "an object that was not started leaves memory too")
	})
}

func TestAnAlarmThatIsSetInOnStartInsteadOfTheOneThatIsDueRunsInstead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClockwork(nil)
		starts := 0
		clock.start = func(s *sleeper) error {
			if starts++; starts != 2 {
				return nil
			}
			return s.Storage().Alarms().Set(time.Now().Add(time.Hour))
		}
		d := newDormitory(t, dog.Options{EvictAfter: time.Minute}, clock)
		d.after("ada", time.Hour)
		time.Sleep(3 * time.Hour)
		require.Equal(t, []string{"ada/ 0@7200"}, times(d.clock.heard()))
	})
}

func TestAStoreThatRefusesIsNotAskedAllTheTimeAndCostsNoRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := promptStore()
		d := newDormitory(t, dog.Options{Store: asStore(engine)}, newClockwork(func(_ context.Context, s *sleeper, _ dog.Alarm) error {
			return s.Storage().Put("x", nil)
		}))
		d.after("ada", time.Hour)
		engine.Refuse(dog.ErrStoreFull)
		time.Sleep(2 * time.Hour)
		rings := d.clock.heard()
		require.NotEmpty(t, rings)
		require.LessOrEqual(t, len(rings), int(time.Hour/(2*time.Second))+1)
		require.Zero(t, rings[len(rings)-1].retry, "the store is to blame")
		engine.Refuse(nil)
		time.Sleep(time.Minute)
		require.Len(t, d.clock.heard(), 1)
		require.Empty(t, d.all("ada"))
	})
}

// brimful is an engine that says itself when it takes no changes.
type brimful struct {
	*storetest.Engine
	full atomic.Bool
}

func (b *brimful) Writable() error {
	if b.full.Load() {
		return dog.ErrStoreFull
	}
	return nil
}

func TestNoAlarmRunsWhileTheStoreTakesNoChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &brimful{Engine: promptStore()}
		d := newDormitory(t, dog.Options{Store: storeOf(engine)}, newClockwork(nil))
		d.after("ada", time.Hour)
		synctest.Wait()
		engine.full.Store(true)
		time.Sleep(2 * time.Hour)
		require.Empty(t, d.clock.heard())
		engine.full.Store(false)
		time.Sleep(2 * time.Second)
		require.Len(t, d.clock.heard(), 1)
	})
}
