package dog_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/stretchr/testify/require"
)

// ring is a run of an alarm as a test sees it.
type ring struct {
	object, alarm string
	retry         int
	at            time.Duration // since the bubble began
}

// clockwork is what the sleepers of a test do, and what their alarms have done.
type clockwork struct {
	start   func(s *sleeper) error
	onAlarm func(ctx context.Context, s *sleeper, a dog.Alarm) error

	rollback bool // of the type

	began time.Time
	mu    sync.Mutex
	rings []ring         // guarded by mu
	awake map[string]int // guarded by mu: running alarms by object
	twice []string       // guarded by mu: objects of which two ran at once
}

func newClockwork(onAlarm func(ctx context.Context, s *sleeper, a dog.Alarm) error) *clockwork {
	return &clockwork{onAlarm: onAlarm, began: time.Now(), awake: make(map[string]int)}
}

func (c *clockwork) ring(name string, a dog.Alarm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rings = append(c.rings, ring{name, a.Name, a.Retries, time.Since(c.began)})
	if c.awake[name]++; c.awake[name] > 1 {
		c.twice = append(c.twice, name)
	}
}

func (c *clockwork) rest(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awake[name]--
}

// heard returns the runs since the last call, when everything has come to rest.
func (c *clockwork) heard() []ring {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	rings := c.rings
	c.rings = nil
	return rings
}

// sleeper is an object with alarms.
type sleeper struct {
	dog.Object
	clock *clockwork
}

func (s *sleeper) OnStart(context.Context) error {
	if s.clock.start == nil {
		return nil
	}
	return s.clock.start(s)
}

func (s *sleeper) OnAlarm(ctx context.Context, a dog.Alarm) error {
	s.clock.ring(s.Name(), a)
	defer s.clock.rest(s.Name())
	if s.clock.onAlarm == nil {
		return nil
	}
	return s.clock.onAlarm(ctx, s, a)
}

// With runs a test's function in a turn.
func (s *sleeper) With(ctx context.Context, f func(ctx context.Context, s *sleeper) error) error {
	return f(ctx, s)
}

// dormitory is a runtime with sleepers.
type dormitory struct {
	t        testing.TB
	rt       *dog.Runtime
	sleepers *dog.Namespace[sleeper]
	clock    *clockwork
}

func newDormitory(t testing.TB, options dog.Options, clock *clockwork) *dormitory {
	t.Helper()
	d := &dormitory{t: t, rt: dogtest.New(t, options), clock: clock}
	var err error
	d.sleepers, err = dog.RegisterObject(d.rt, "sleeper", &dog.ObjectOptions[sleeper]{
		New: func() *sleeper { return &sleeper{clock: clock} }, RollbackOnError: clock.rollback,
	})
	require.NoError(t, err)
	d.rt.Start()
	return d
}

// try runs f in a turn of a sleeper.
func (d *dormitory) try(name string, f func(ctx context.Context, s *sleeper) error) error {
	return dog.CallErr(context.Background(), d.sleepers.Named(name), (*sleeper).With, f)
}

// with is try for what must succeed.
func (d *dormitory) with(name string, f func(a *dog.Alarms) error) {
	d.t.Helper()
	require.NoError(d.t, d.try(name, func(_ context.Context, s *sleeper) error { return f(s.Storage().Alarms()) }))
}

// after sets the alarm without a name of a sleeper.
func (d *dormitory) after(name string, wait time.Duration) {
	d.t.Helper()
	d.with(name, func(a *dog.Alarms) error { return a.Set(time.Now().Add(wait)) })
}

// alarm returns an alarm of a sleeper.
func (d *dormitory) alarm(name, alarm string) (found dog.Alarm, set bool) {
	d.t.Helper()
	d.with(name, func(a *dog.Alarms) (err error) {
		found, set, err = a.Get(alarm)
		return err
	})
	return found, set
}

// all returns the alarms of a sleeper as "name" or "name!" for a failed one.
func (d *dormitory) all(name string) (names []string) {
	d.t.Helper()
	d.with(name, func(a *dog.Alarms) error {
		for alarm, err := range a.All() {
			if err != nil {
				return err
			}
			if alarm.Failed {
				alarm.Name += "!"
			}
			names = append(names, alarm.Name)
		}
		return nil
	})
	return names
}

// stop shuts the runtime down.
func (d *dormitory) stop() {
	d.t.Helper()
	require.NoError(d.t, d.rt.Shutdown(context.Background()))
}

// times returns when the runs began, in whole seconds, as "object/alarm retry@second".
func times(rings []ring) (list []string) {
	for _, r := range rings {
		list = append(list, fmt.Sprintf("%s/%s %d@%d", r.object, r.alarm, r.retry, r.at/time.Second))
	}
	return list
}
