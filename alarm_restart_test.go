package dog_test

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
)

// copyOf returns an engine with what another has now, as if the process had been killed.
func copyOf(t *testing.T, engine store.Engine) *storetest.Engine {
	t.Helper()
	copied := promptStore()
	b := copied.Begin()
	for pair, err := range engine.Scan(nil, nil, false) {
		require.NoError(t, err)
		b.Set(pair.Key, pair.Value)
	}
	_, err := b.Commit()
	require.NoError(t, err)
	return copied
}

func TestAlarmsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := promptStore()
		clock := newClockwork(func(_ context.Context, s *sleeper, a dog.Alarm) error {
			if s.Name() == "bob" {
				return errDropped
			}
			return nil
		})
		d := newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		for i, name := range []string{"eve", "cid", "ada", "dan"} {
			d.after(name, time.Duration(i+1)*time.Hour)
		}
		d.after("bob", 0)
		d.after("fay", 9*time.Hour)
		time.Sleep(10 * time.Second)
		d.stop()
		require.Equal(t, 2, slices.Max(retriesOf(clock.heard())))

		time.Sleep(6 * time.Hour)
		d = newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		time.Sleep(time.Second)
		rings := clock.heard()
		require.ElementsMatch(t, []string{"bob/ 3@21610", "eve/ 0@21610", "cid/ 0@21610", "ada/ 0@21610", "dan/ 0@21610"}, times(rings),
			"all that was due, with the number of its retries, at once")
		time.Sleep(9 * time.Hour)
		require.Contains(t, times(clock.heard()), "fay/ 0@32400", "the rest in its time")
		require.Equal(t, []string{"!"}, d.all("bob"))
		d.stop()

		d = newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		time.Sleep(9 * time.Hour)
		require.Empty(t, clock.heard(), "what has failed stays so")
		d.after("bob", time.Hour)
		time.Sleep(time.Hour)
		require.Equal(t, 0, clock.heard()[0].retry)
	})
}

func retriesOf(rings []ring) (list []int) {
	for _, r := range rings {
		list = append(list, r.retry)
	}
	return list
}

func TestWhatIsOverdueRunsInTheOrderOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, atOnce = 2000, 256
		engine := promptStore()
		clock := newClockwork(func(ctx context.Context, _ *sleeper, _ dog.Alarm) error {
			return dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
		})
		d := newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		for i := range n {
			d.after(strconv.Itoa(i), time.Hour-time.Duration(i)*time.Millisecond)
		}
		d.stop()
		time.Sleep(time.Hour)
		newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		time.Sleep(n/atOnce*time.Second + time.Second)
		rings := clock.heard()
		require.Equal(t, n, len(rings))
		for i, r := range rings {
			number, err := strconv.Atoi(r.object)
			require.NoError(t, err)
			require.Equal(t, i/atOnce, (n-1-number)/atOnce)
		}
	})
}

func TestAnAlarmThatRanWhenTheProcessDiedRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := promptStore()
		clock := newClockwork(func(ctx context.Context, s *sleeper, a dog.Alarm) error {
			if a.Retries == 0 {
				return errDropped
			}
			require.NoError(t, s.Storage().Put("half", nil))
			return dog.Await(ctx, func() error { time.Sleep(time.Minute); return nil })
		})
		d := newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		d.after("ada", time.Hour)
		time.Sleep(time.Hour + 10*time.Second)
		require.Equal(t, []int{0, 1}, retriesOf(clock.heard()))
		died := copyOf(t, engine)
		d.stop()
		require.Empty(t, clock.heard())

		d = newDormitory(t, dog.Options{Store: asStore(died)}, clock)
		require.Equal(t, []int{1}, retriesOf(clock.heard()), "at least once, and what has failed before counts")
		time.Sleep(time.Hour)
		require.Empty(t, d.all("ada"))
	})
}

func TestAlarmsWaitUntilTheirTypeIsRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := promptStore()
		clock := newClockwork(nil)
		d := newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		d.after("ada", time.Hour)
		d.after("bob", 3*time.Hour)
		d.stop()
		time.Sleep(time.Hour)

		rt := dogtest.New(t, dog.Options{Store: asStore(engine)})
		_, err := dog.RegisterObject[numb](rt, "numb", nil)
		require.NoError(t, err)
		rt.Start()
		time.Sleep(time.Hour)
		require.Empty(t, clock.heard())
		_, err = dog.RegisterObject(rt, "sleeper", &dog.ObjectOptions[sleeper]{New: func() *sleeper { return &sleeper{clock: clock} }})
		require.NoError(t, err)
		require.Equal(t, []string{"ada/ 0@7200"}, times(clock.heard()))
		time.Sleep(2 * time.Hour)
		require.Equal(t, []string{"bob/ 0@10800"}, times(clock.heard()))
	})
}

func TestAlarmsOfATypeThatLostItsOnAlarmWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := promptStore()
		clock := newClockwork(nil)
		d := newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		d.after("ada", time.Hour)
		d.stop()
		rt := dogtest.New(t, dog.Options{Store: asStore(engine)})
		_, err := dog.RegisterObject[numb](rt, "sleeper", nil)
		require.NoError(t, err)
		rt.Start()
		time.Sleep(3 * time.Hour)
		require.NoError(t, rt.Shutdown(context.Background()))

		newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		require.Len(t, clock.heard(), 1)
	})
}

func TestARuntimeThatIsCutOffCountsNoRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := promptStore()
		cut := true
		clock := newClockwork(func(ctx context.Context, _ *sleeper, _ dog.Alarm) error {
			if cut {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		d := newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		d.after("ada", time.Hour)
		time.Sleep(time.Hour)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, d.rt.Shutdown(ctx), context.DeadlineExceeded)
		require.NoError(t, d.rt.Shutdown(context.Background()))
		cut = false
		newDormitory(t, dog.Options{Store: asStore(engine)}, clock)
		require.Equal(t, []int{0, 0}, retriesOf(clock.heard()))
	})
}
