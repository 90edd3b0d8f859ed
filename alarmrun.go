package dog

import (
	"context"
	"errors"
	"fmt"

	"github.com/godurable/dog/internal/schedule"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// alarmRun is a run of the earliest alarm of an object. It is owned by the
// goroutine that runs it.
type alarmRun struct {
	*schedule.Run            // fixed
	ns            *namespace // of the object. fixed

	obj   *object     // nil until it is found
	alarm store.Alarm // the alarm passed to OnAlarm; Serial 0: OnAlarm was not called
	group uint32      // the number of the namespace for errUnregistered
}

var errUnregistered = errors.New("dog: the namespace of the replica's group is not registered")

// run runs the alarm if it is still due, and handles the result.
func (r *alarmRun) run() {
	var err error
	returned := false
	defer func() {
		if !returned { // OnAlarm exits the goroutine: another goroutine does the rest
			r.ns.rt.work.Spawn(func() {
				r.end(&PanicError{})
				r.ns.schedule.Look()
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
	set, err := r.Due.Set(r.ns.rt.engine)
	if err != nil || !set {
		return err
	}
	return r.on(func(o *object) error {
		return o.deliver(r.ns.rt.ctx, &turn.Origin{}, EventAlarm, "", r.handle)
	})
}

func (r *alarmRun) handle(ctx context.Context, v any) error {
	s := &turn.From(ctx).Owner().(*instance).storage
	alarm, due, err := s.tx.FirstAlarm(r.ns.rt.wallClock())
	if err != nil || !due {
		r.Later = alarm.At // the clock has been set back
		return err
	}
	r.alarm = alarm
	r.obj.alarm.Store(alarm.Serial)
	r.ns.schedule.Count(func(stats *schedule.Stats) { stats.Runs++ })
	if err := v.(AlarmHandler).OnAlarm(ctx, runningAlarm(alarm)); err != nil {
		return err
	}
	return s.tx.EndAlarm(alarm)
}

// end finishes a run that has ended with err.
func (r *alarmRun) end(err error) {
	again := false
	switch rt := r.ns.rt; {
	case err == nil, rt.ctx.Err() != nil: // if it was cut short, it runs again after a restart
	case errors.Is(err, errUnregistered):
		r.ns.schedule.Orphan()
		again = rt.numbered(r.group) != nil // it may have been registered since the lookup
	case r.obj == nil:
		rt.opts.Logger.Error("alarm cannot run", "namespace", r.ns.name, "object", r.id().String(), "error", err)
		again = !errors.Is(err, ErrStoreCorrupt)
	default:
		r.obj.report(EventAlarm, err)
		if failed := r.on(func(o *object) error { return r.note(o, err) }); failed != nil && rt.ctx.Err() == nil {
			r.obj.log().Error("cannot record that an alarm has failed", "error", failed)
			again = !errors.Is(failed, ErrStoreCorrupt)
		}
	}
	if r.obj != nil {
		r.obj.alarm.Store(0)
	}
	r.ns.schedule.Done(r.Run, again)
}

// note stores that the run has failed. It uses a transaction of its own, since
// that of OnAlarm may have been rolled back. It does not start the object,
// since the start may be what has failed.
func (r *alarmRun) note(o *object, cause error) error {
	var alarm store.Alarm
	noted := false
	err := o.admin(r.ns.rt.ctx, turn.Origin{}, func(s *Storage) (err error) {
		if r.alarm.Serial == 0 { // the start has failed
			due := false
			if alarm, due, err = s.tx.FirstAlarm(r.ns.rt.wallClock()); err != nil || !due {
				r.Later = alarm.At
				return err
			}
			r.alarm = alarm
		}
		alarm, noted, err = s.tx.RetryAlarm(r.alarm, cause, r.ns.rt.wallClock())
		o.alarm.Store(0)
		return err
	})
	if err != nil || !noted {
		return err
	}
	r.ns.schedule.Count(func(stats *schedule.Stats) {
		if alarm.Failed {
			stats.Failed++
		} else {
			stats.Retries++
		}
	})
	if alarm.Failed {
		o.log().Error("alarm has failed for good", "alarm", alarm.Name, "runs", alarm.Runs, "error", cause)
	}
	return nil
}

func (r *alarmRun) id() ID { return idOf(r.ns.origin, r.Due.Base) }

// on brings the object into memory and calls do with it. If the object turns
// out to be retired, on tries again.
func (r *alarmRun) on(do func(o *object) error) error {
	for {
		o, err := r.object()
		if err == nil {
			r.obj = o
			err = do(o)
		}
		if !errors.Is(err, errRetired) {
			return err
		}
	}
}

// object returns the object. It brings the object into memory if necessary, a
// replica as a member of its group.
func (r *alarmRun) object() (*object, error) {
	id := r.id()
	if o := r.ns.holder(id); o != nil {
		return o, nil
	}
	stored, found, err := store.Find(r.ns.rt.engine, r.Due.Base)
	if err != nil {
		return nil, err
	}
	owner := stored.Group
	if !found || (owner != nil) != (r.ns.kind == KindReplica) {
		return nil, fmt.Errorf("%w: the index of alarms has an object that does not exist", ErrStoreCorrupt)
	}
	if owner == nil {
		if r.ns.kind == KindObject {
			if err := r.ns.rt.sweeper.room(r.ns.rt.ctx); err != nil {
				return nil, err
			}
		}
		return r.ns.object(id, stored.Name), nil
	}
	groups := r.ns.rt.numbered(owner.Namespace)
	if groups == nil {
		r.group = owner.Namespace
		return nil, errUnregistered
	}
	if groups.kind != KindGroup {
		return nil, fmt.Errorf("%w: the group of a replica is not a group", ErrStoreCorrupt)
	}
	group := groups.object(idOf(groups.origin, owner.Base), owner.Name)
	return group.group.revive(r.ns.rt.ctx, r.ns, id, stored.Name)
}

// startAlarms begins to run the alarms of a namespace. Further calls do
// nothing.
func (ns *namespace) startAlarms() {
	// Shutdown waits for entered goroutines before it waits for services.
	if ns.rt.enterQuietly() != nil {
		return
	}
	defer ns.rt.work.Leave()
	ns.starting.Do(func() {
		if ns.alarms {
			ns.rt.services.Go(func() { ns.schedule.Run(ns.rt.ctx) })
		} else {
			ns.rt.services.Go(ns.warnOfAlarms)
		}
	})
}

// warnOfAlarms logs a warning if there are alarms that cannot run.
func (ns *namespace) warnOfAlarms() {
	if any, err := ns.schedule.Any(); any && err == nil {
		ns.rt.opts.Logger.Warn("objects have alarms that cannot run: their type has no OnAlarm", "namespace", ns.name)
	}
}

// newSchedule returns the schedule of the namespace's alarms.
func (ns *namespace) newSchedule() *schedule.Schedule {
	return schedule.New(schedule.Config{
		Engine: ns.rt.engine, Namespace: ns.number, Now: ns.rt.wallClock, Work: ns.rt.work, Log: ns.rt.opts.Logger,
		Start: func(r *schedule.Run) { (&alarmRun{Run: r, ns: ns}).run() },
	})
}
