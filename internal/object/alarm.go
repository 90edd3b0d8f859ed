package object

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/schedule"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// alarmRun is a run of the earliest alarm of an object. It is owned by the
// goroutine that runs it.
type alarmRun struct {
	*schedule.Run        // fixed
	class         *Class // of the object. fixed

	obj    *Object     // nil until it is found
	alarm  store.Alarm // the alarm passed to OnAlarm; Serial 0: OnAlarm was not called
	owners uint32      // the number of the class of the object's owner
}

// run runs the alarm if it is still due, and handles the result.
func (r *alarmRun) run() {
	var err error
	returned := false
	defer func() {
		if !returned { // OnAlarm exits the goroutine: another goroutine does the rest
			h := r.class.host
			h.Work.Spawn(func() {
				r.end(h.Errors.Panic(nil, nil))
				r.class.schedule.Look()
			})
		}
	}()
	err = r.call()
	returned = true
	r.end(err)
}

// call calls OnAlarm. Before that, it checks that the alarm is still set, since
// the queue may lag behind the index.
func (r *alarmRun) call() error {
	set, err := r.Due.Set(r.class.host.Engine)
	if err != nil || !set {
		return err
	}
	return r.on(func(o *Object) error {
		return o.Deliver(r.class.host.Ctx, &turn.Origin{}, EventAlarm, r.handle)
	})
}

func (r *alarmRun) handle(ctx context.Context, v any) error {
	t := &LifeOf(turn.From(ctx)).Tx
	alarm, due, err := t.FirstAlarm(r.class.host.WallClock())
	if err != nil || !due {
		r.Later = alarm.At // the clock has been set back
		return err
	}
	r.alarm = alarm
	r.obj.alarm.Store(alarm.Serial)
	r.class.schedule.Count(func(stats *schedule.Stats) { stats.Runs++ })
	r.class.counts.late.Add(r.class.host.WallClock().Sub(time.Unix(0, alarm.At)))
	if err := r.class.OnAlarm(ctx, v, alarm); err != nil {
		return err
	}
	return t.EndAlarm(alarm)
}

// end finishes a run that has ended with err.
func (r *alarmRun) end(err error) {
	again := false
	switch h := r.class.host; {
	case err == nil, h.Ctx.Err() != nil: // if it was cut short, it runs again after a restart
	case errors.Is(err, ErrUnregistered):
		r.class.schedule.Orphan()
		again = h.numbered(r.owners) != nil // it may have been registered since the lookup
	case r.obj == nil:
		h.Logger.Error("alarm cannot run", "namespace", r.class.Name, "object", r.id().String(), "error", err)
		again = !errors.Is(err, store.ErrCorrupt)
	default:
		r.obj.Report(EventAlarm, err)
		if failed := r.on(func(o *Object) error { return r.note(o, err) }); failed != nil && h.Ctx.Err() == nil {
			r.obj.Log().Error("cannot record that an alarm has failed", "error", failed)
			again = !errors.Is(failed, store.ErrCorrupt)
		}
	}
	if r.obj != nil {
		r.obj.alarm.Store(0)
	}
	r.class.schedule.Done(r.Run, again)
}

// note stores that the run has failed. It uses a transaction of its own, since
// that of OnAlarm may have been rolled back. It does not start the object,
// since the start may be what has failed.
func (r *alarmRun) note(o *Object, cause error) error {
	var alarm store.Alarm
	noted := false
	err := o.Admin(r.class.host.Ctx, turn.Origin{}, func(life *Life) (err error) {
		if r.alarm.Serial == 0 { // the start has failed
			due := false
			if alarm, due, err = life.Tx.FirstAlarm(r.class.host.WallClock()); err != nil || !due {
				r.Later = alarm.At
				return err
			}
			r.alarm = alarm
		}
		alarm, noted, err = life.Tx.RetryAlarm(r.alarm, cause, r.class.host.WallClock())
		o.alarm.Store(0)
		return err
	})
	if err != nil || !noted {
		return err
	}
	r.class.schedule.Count(func(stats *schedule.Stats) {
		if alarm.Failed {
			stats.Failed++
		} else {
			stats.Retries++
		}
	})
	if alarm.Failed {
		o.Log().Error("alarm has failed for good", "alarm", alarm.Name, "runs", alarm.Runs, "error", cause)
	}
	return nil
}

func (r *alarmRun) id() ID { return IDOf(r.class.Origin, r.Due.Base) }

// on brings the object into memory and calls do with it. If the object turns
// out to be retired, on tries again.
func (r *alarmRun) on(do func(o *Object) error) error {
	for {
		o, err := r.object()
		if err == nil {
			r.obj = o
			err = do(o)
		}
		if !errors.Is(err, ErrRetired) {
			return err
		}
	}
}

// object returns the object. It brings the object into memory if necessary,
// together with its owner if it has one.
func (r *alarmRun) object() (*Object, error) {
	c, id := r.class, r.id()
	if o := c.Holder(id); o != nil {
		return o, nil
	}
	stored, found, err := store.Find(c.host.Engine, r.Due.Base)
	if err != nil {
		return nil, err
	}
	if !found || (stored.Group != nil) != (c.Role == Owned) {
		return nil, fmt.Errorf("%w: the index of alarms has an object that does not exist", store.ErrCorrupt)
	}
	if c.Role == Owned {
		r.owners = stored.Group.Namespace
		return c.Revive(c.host.Ctx, id, stored)
	}
	if c.Role == Plain {
		if err := c.Room(c.host.Ctx); err != nil {
			return nil, err
		}
	}
	return c.Object(id, stored.Name), nil
}

// startAlarms begins to run the alarms of the class. Further calls do nothing.
func (c *Class) startAlarms() {
	// Shutdown waits for entered goroutines before it waits for services.
	if c.host.enterQuietly() != nil {
		return
	}
	defer c.host.Work.Leave()
	c.scheduled.Do(func() {
		if c.OnAlarm != nil {
			c.host.Services.Go(func() { c.schedule.Run(c.host.Ctx) })
		} else {
			c.host.Services.Go(c.warnOfAlarms)
		}
	})
}

// warnOfAlarms logs a warning if there are alarms that cannot run.
func (c *Class) warnOfAlarms() {
	if any, err := c.schedule.Any(); any && err == nil {
		c.host.Logger.Warn("objects have alarms that cannot run: their type has no OnAlarm", "namespace", c.Name)
	}
}

// newSchedule returns the schedule of the alarms of the class.
func (c *Class) newSchedule() *schedule.Schedule {
	h := c.host
	return schedule.New(schedule.Config{
		Engine: h.Engine, Namespace: c.Number, Now: h.WallClock, Work: h.Work, Log: h.Logger,
		Start: func(r *schedule.Run) { (&alarmRun{Run: r, class: c}).run() },
	})
}
