package alarm_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

// counted counts what the alarms of a benchmark have done.
type counted struct {
	dog.Object
	left *atomic.Int64
	done chan struct{}
}

func (c *counted) OnAlarm(context.Context, dog.Alarm) error {
	if err := c.Storage().Put("ran", nil); err != nil {
		return err
	}
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
	return nil
}

// SetOften sets its alarm.
func (c *counted) SetOften(ctx context.Context, times int) error {
	at := time.Now().Add(time.Hour)
	for i := range times {
		if err := c.Storage().Alarms().Set(at.Add(time.Duration(i))); err != nil {
			return err
		}
		if err := dog.Await(ctx, func() error { return nil }); err != nil { // a transaction of its own
			return err
		}
	}
	return nil
}

var alarmStores = []struct {
	name string
	open func(b *testing.B) dog.Store
}{
	{"memory", func(*testing.B) dog.Store { return nil }},
	{"disk", func(b *testing.B) dog.Store { return disk.At(b.TempDir()) }},
}

// An alarm is set again in a transaction of its own, which is durable before
// the next.
func BenchmarkSetAlarm(b *testing.B) {
	for _, s := range alarmStores {
		b.Run(s.name, func(b *testing.B) {
			rt, err := dog.New(dog.Options{Store: s.open(b)})
			require.NoError(b, err)
			defer rt.Shutdown(context.Background())
			ns, err := dog.RegisterObject[counted](rt, "counted", nil)
			require.NoError(b, err)
			b.ReportAllocs()
			b.ResetTimer()
			require.NoError(b, dog.CallErr(b.Context(), ns.Named("a"), (*counted).SetOften, b.N))
		})
	}
}

// 100,000 alarms of as many objects, none in memory, are due when the runtime
// starts. Each stores a key.
func BenchmarkAlarmsDueAfterARestart(b *testing.B) {
	const n = 100_000
	for _, s := range alarmStores {
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				engine := store.Engine(store.NewMemory())
				if opener := s.open(b); opener != nil {
					var err error
					engine, err = hook.OpenStore(opener, nil)
					require.NoError(b, err)
				}
				stock(b, engine, n, func(i int) time.Time { return time.Now().Add(time.Duration(i - n)) })
				rt, err := dog.New(dog.Options{Store: fixture.OpenedStore(engine)})
				require.NoError(b, err)
				left := new(atomic.Int64)
				left.Store(n)
				done := make(chan struct{})
				b.StartTimer()
				_, err = dog.RegisterObject(
					rt, "sleeper",
					&dog.ObjectOptions[counted]{New: func() *counted { return &counted{left: left, done: done} }},
				)
				require.NoError(b, err)
				rt.Start()
				<-done
				b.StopTimer()
				require.NoError(b, rt.Shutdown(context.Background()))
				b.StartTimer()
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "alarms/s")
		})
	}
}

// What becomes due while it is set: set and fired by objects in memory.
func BenchmarkFireAlarm(b *testing.B) {
	rt, err := dog.New(dog.Options{})
	require.NoError(b, err)
	defer rt.Shutdown(context.Background())
	left, done := new(atomic.Int64), make(chan struct{})
	left.Store(int64(b.N))
	ns, err := dog.RegisterObject(
		rt, "counted",
		&dog.ObjectOptions[counted]{New: func() *counted { return &counted{left: left, done: done} }},
	)
	require.NoError(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		require.NoError(b, dog.CallErr(b.Context(), ns.Named(strconv.Itoa(i%1000)), (*counted).SetNow, strconv.Itoa(i)))
	}
	<-done
}

// SetNow sets an alarm that is due.
func (c *counted) SetNow(_ context.Context, name string) error {
	return c.Storage().Alarms().SetNamed(name, time.Now(), nil)
}

// 64 callers set the alarms of objects of their own, each in a transaction that
// is durable before the next: of new objects, and of one over and over.
func BenchmarkSetAlarms(b *testing.B) {
	for _, s := range alarmStores {
		for _, c := range []struct {
			name string
			of   func(caller, i int) string
		}{
			{"new", func(caller, i int) string { return strconv.Itoa(caller) + "/" + strconv.Itoa(i) }},
			{"same", func(caller, _ int) string { return strconv.Itoa(caller) }},
		} {
			b.Run(s.name+"/"+c.name, func(b *testing.B) {
				const callers = 64
				rt, err := dog.New(dog.Options{Store: s.open(b)})
				require.NoError(b, err)
				defer rt.Shutdown(context.Background())
				ns, err := dog.RegisterObject[counted](rt, "counted", nil)
				require.NoError(b, err)
				at := time.Now().Add(time.Hour)
				var all sync.WaitGroup
				for caller := range callers {
					all.Go(func() {
						for i := caller; i < b.N; i += callers {
							stub := ns.Named(c.of(caller, i))
							if err := dog.CallErr(
								b.Context(), stub, (*counted).SetAt, at.Add(time.Duration(i)),
							); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alarms/s")
			})
		}
	}
}

// SetAt sets an alarm.
func (c *counted) SetAt(_ context.Context, at time.Time) error {
	return c.Storage().Alarms().SetNamed("wake", at, []byte("payload"))
}
