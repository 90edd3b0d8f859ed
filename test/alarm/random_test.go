package alarm_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// dueAlarm is what the model knows of an alarm: the life of one call of Set.
type dueAlarm struct {
	due time.Time
	// plan is what its runs do, one after the other: 's'ucceed, 'f'ail,
	// 'p'anic, set it again and fail ('a'), delete it and fail ('d')
	plan  []byte
	runs  int
	since time.Time // of the last run
	doing bool      // it runs, and will succeed
}

// world is the model of the alarms of a few objects, and what it checks.
type world struct {
	t *testing.T

	mu     sync.Mutex              // guards all that follows
	alarms map[[2]string]*dueAlarm // by object and name; failed ones too
	life   int                     // of the process
	slack  time.Duration           // by which runs may be late: while the process is down, nothing runs
	wrong  []string
}

func (w *world) complain(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// next returns when an alarm should run next at the earliest and at the latest;
// false when it runs no more.
func (d *dueAlarm) next() (from, to time.Time, pending bool) {
	switch {
	case d.runs >= 7:
		return from, to, false
	case d.runs == 0:
		return d.due, d.due, true
	}
	wait := time.Second << d.runs
	return d.since.Add(wait), d.since.Add(wait + wait/4), true
}

// run is a run of OnAlarm: it checks that it should be, and does as planned.
func (w *world) run(ctx context.Context, s *fixture.AlarmObject, a dog.Alarm) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	object := s.Name()
	key := [2]string{object, a.Name}
	d := w.alarms[key]
	now := time.Now()
	if d == nil {
		w.complain("%s/%s runs and is not set", object, a.Name)
		return nil
	}
	from, to, pending := d.next()
	if !pending || now.Before(from) || now.After(to.Add(w.slack)) {
		w.complain("%s/%s runs at %v, due from %v to %v, pending: %v", object, a.Name, now, from, to, pending)
	}
	for other, o := range w.alarms {
		if other[0] != object || other == key {
			continue
		}
		if o.doing {
			w.complain("%s runs twice at once", object)
		}
		if _, last, pending := o.next(); pending && last.Before(from) {
			w.complain("%s/%s runs before %s, which was due before", object, a.Name, other[1])
		}
	}
	if a.Retries != d.runs || !a.At.Equal(d.due) {
		w.complain("%s/%s: retry %d of %v, want %d of %v", object, a.Name, a.Retries, a.At, d.runs, d.due)
	}
	alarmStep := byte('s')
	if len(d.plan) > d.runs {
		alarmStep = d.plan[d.runs]
	}
	switch alarmStep {
	case 's':
		d.doing = true
		life := w.life
		w.mu.Unlock()
		err := dog.Await(ctx, func() error { time.Sleep(10 * time.Millisecond); return nil })
		w.mu.Lock()
		if life == w.life && w.alarms[key] == d {
			delete(w.alarms, key)
		}
		return err
	case 'a':
		again := &dueAlarm{due: now.Add(3 * time.Second)}
		if err := s.Storage().Alarms().SetNamed(a.Name, again.due, nil); err != nil {
			w.complain("set: %v", err)
		}
		w.alarms[key] = again
		return errDropped
	case 'd':
		if _, err := s.Storage().Alarms().Delete(a.Name); err != nil {
			w.complain("delete: %v", err)
		}
		delete(w.alarms, key)
		return errDropped
	}
	d.runs++
	d.since = now
	if alarmStep == 'p' {
		panic("as planned")
	}
	return errDropped
}

// check compares the state of the objects with the model.
func (w *world) check(d *fixture.AlarmObjects, objects []string) {
	w.mu.Lock()
	wrong := w.wrong
	w.mu.Unlock()
	require.Empty(w.t, wrong)
	for _, object := range objects {
		var want []string
		w.mu.Lock()
		for key, a := range w.alarms {
			if key[0] != object || a.doing {
				continue
			}
			name := key[1]
			if a.runs >= 7 {
				name += "!"
			}
			want = append(want, name)
		}
		w.mu.Unlock()
		require.ElementsMatch(w.t, want, d.Names(object), object)
	}
}

func TestAlarms_BehaveLikeTheirModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 40).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) { play(t, steps) })
	})
}

// alarmStep is something that happens.
type alarmStep struct {
	what         string
	object, name string
	wait         time.Duration
	plan         []byte
}

func drawStep(t *rapid.T) alarmStep {
	return alarmStep{
		what: rapid.SampledFrom([]string{"set", "set", "set", "delete", "wait", "wait", "evict", "stop", "crash"}).
			Draw(t, "what"),
		object: rapid.SampledFrom([]string{"ada", "bob", "cid"}).Draw(t, "object"),
		name:   rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "name"),
		wait:   time.Duration(rapid.IntRange(-2, 40).Draw(t, "wait")) * time.Second,
		plan:   rapid.SliceOfN(rapid.SampledFrom([]byte("sffffpppad")), 0, 8).Draw(t, "plan"),
	}
}

func play(t *testing.T, steps []alarmStep) {
	w := &world{t: t, alarms: make(map[[2]string]*dueAlarm), slack: 100 * time.Millisecond}
	engine := fixture.PromptEngine()
	open := func() *fixture.AlarmObjects {
		return fixture.NewAlarmObjects(
			t, dog.Options{Store: fixture.StoreOf(engine), EvictAfter: 5 * time.Second},
			fixture.NewAlarmHooks(w.run),
		)
	}
	d := open()
	objects := []string{"ada", "bob", "cid"}
	for _, s := range append(steps, alarmStep{what: "wait", wait: 10 * time.Minute}) {
		key := [2]string{s.object, s.name}
		switch s.what {
		case "set":
			at := time.Now().Add(s.wait)
			d.With(s.object, func(a *dog.Alarms) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.alarms[key] = &dueAlarm{
					due:  slices.MaxFunc([]time.Time{at, time.Now()}, time.Time.Compare),
					plan: s.plan,
				}
				return a.SetNamed(s.name, at, nil)
			})
		case "delete":
			d.With(s.object, func(a *dog.Alarms) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				existed, err := a.Delete(s.name)
				require.Equal(t, w.alarms[key] != nil && !w.alarms[key].doing, existed)
				delete(w.alarms, key)
				return err
			})
		case "wait":
			time.Sleep(max(s.wait, 0))
		case "evict":
			time.Sleep(7 * time.Second)
		case "stop", "crash":
			began := time.Now()
			if s.what == "crash" {
				engine = copyOf(t, engine) // of which the old runtime knows nothing
				w.crash()
			}
			d.Shutdown()
			time.Sleep(max(s.wait, 0))
			w.mu.Lock()
			w.slack += time.Since(began)
			w.mu.Unlock()
			d = open()
		}
		synctest.Wait()
		w.check(d, objects)
	}
	for key, a := range w.alarms {
		_, _, pending := a.next()
		require.False(t, pending, "%v did not run", key)
	}
}

// crash forgets what ran.
func (w *world) crash() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.life++
	for _, a := range w.alarms {
		a.doing = false
	}
}
