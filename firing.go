package dog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// firing is a run of the earliest alarm of an object. It is owned by the
// goroutine that runs it.
type firing struct {
	// fixed
	schedule *schedule
	due      store.DueAlarm
	slowly   *time.Timer // calls slowDown

	obj   *object     // nil until it is found
	alarm store.Alarm // the alarm passed to OnAlarm; Serial 0: OnAlarm was not called
	group uint32      // the number of the namespace for errUnregistered
	// when the object's earliest alarm is due, if that is not yet; 0: unknown
	later int64

	slow bool // no longer counts towards maxRunning; guarded by schedule.mu
	over bool // guarded by schedule.mu
}

var errUnregistered = errors.New("dog: the namespace of the replica's group is not registered")

// run runs the alarm if it is still due, and handles the result.
func (f *firing) run() {
	var err error
	returned := false
	defer func() {
		if !returned { // OnAlarm exits the goroutine: another goroutine does the rest
			f.schedule.ns.rt.work.Spawn(func() {
				f.end(&PanicError{})
				f.schedule.look()
			})
		}
	}()
	err = f.call()
	returned = true
	f.end(err)
}

// call calls OnAlarm. Before that, it checks that the alarm is still set, since
// the queue may lag behind the index.
func (f *firing) call() error {
	set, err := f.due.Set(f.schedule.ns.rt.engine)
	if err != nil || !set {
		return err
	}
	return f.on(func(o *object) error {
		return o.event(f.schedule.ns.rt.ctx, turn.Origin{}, EventAlarm, f.handle)
	})
}

func (f *firing) handle(ctx context.Context, v any) error {
	s := &turn.From(ctx).Owner().(*instance).storage
	alarm, due, err := s.firstAlarm()
	if err != nil || !due {
		f.later = alarm.At // the clock has been set back
		return err
	}
	f.alarm = alarm
	f.obj.alarm.Store(alarm.Serial)
	f.schedule.count(func(stats *AlarmStats) { stats.Runs++ })
	if err := v.(AlarmHandler).OnAlarm(ctx, runningAlarm(alarm)); err != nil {
		return err
	}
	return s.endAlarm(alarm)
}

// end finishes a run that has ended with err.
func (f *firing) end(err error) {
	again := false
	switch rt := f.schedule.ns.rt; {
	case err == nil, rt.ctx.Err() != nil: // if it was cut short, it runs again after a restart
	case errors.Is(err, errUnregistered):
		f.schedule.orphan()
		again = rt.numbered(f.group) != nil // it may have been registered since the lookup
	case f.obj == nil:
		rt.opts.Logger.Error("alarm cannot run", "namespace", f.schedule.ns.name, "object", f.id().String(), "error", err)
		again = !errors.Is(err, ErrStoreCorrupt)
	default:
		f.obj.report(EventAlarm, err)
		if failed := f.on(func(o *object) error { return f.note(o, err) }); failed != nil && rt.ctx.Err() == nil {
			f.obj.log().Error("cannot note that an alarm has failed", "error", failed)
			again = !errors.Is(failed, ErrStoreCorrupt)
		}
	}
	if f.obj != nil {
		f.obj.alarm.Store(0)
	}
	f.schedule.done(f, again)
}

// note stores that the run has failed. It uses a transaction of its own, since
// that of OnAlarm may have been rolled back. It does not start the object,
// since the start may be what has failed.
func (f *firing) note(o *object, cause error) error {
	var alarm store.Alarm
	noted := false
	err := o.admin(f.schedule.ns.rt.ctx, turn.Origin{}, func(s *Storage) (err error) {
		if f.alarm.Serial == 0 { // the start has failed
			due := false
			if alarm, due, err = s.firstAlarm(); err != nil || !due {
				f.later = alarm.At
				return err
			}
			f.alarm = alarm
		}
		alarm, noted, err = s.retryAlarm(f.alarm, cause)
		o.alarm.Store(0)
		return err
	})
	if err != nil || !noted {
		return err
	}
	f.schedule.count(func(stats *AlarmStats) {
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

func (f *firing) id() ID { return idOf(f.schedule.ns.origin, f.due.Base) }

// on brings the object into memory and calls do with it. If the object turns
// out to be retired, on tries again.
func (f *firing) on(do func(o *object) error) error {
	for {
		o, err := f.object()
		if err == nil {
			f.obj = o
			err = do(o)
		}
		if !errors.Is(err, errRetired) {
			return err
		}
	}
}

// object returns the object. It brings the object into memory if necessary, a
// replica as a member of its group.
func (f *firing) object() (*object, error) {
	id := f.id()
	if o := f.schedule.ns.find(id); o != nil {
		return o, nil
	}
	stored, found, err := store.Find(f.schedule.ns.rt.engine, f.due.Base)
	if err != nil {
		return nil, err
	}
	owner := stored.Group
	if !found || (owner != nil) != (f.schedule.ns.kind == KindReplica) {
		return nil, fmt.Errorf("%w: the index of alarms has an object that does not exist", ErrStoreCorrupt)
	}
	if owner == nil {
		if f.schedule.ns.kind == KindObject {
			if err := f.schedule.ns.rt.sweeper.room(f.schedule.ns.rt.ctx); err != nil {
				return nil, err
			}
		}
		return f.schedule.ns.object(id, stored.Name), nil
	}
	groups := f.schedule.ns.rt.numbered(owner.Namespace)
	if groups == nil {
		f.group = owner.Namespace
		return nil, errUnregistered
	}
	if groups.kind != KindGroup {
		return nil, fmt.Errorf("%w: a replica of what is no group", ErrStoreCorrupt)
	}
	group := groups.object(idOf(groups.origin, owner.Base), owner.Name)
	return group.books.revive(f.schedule.ns.rt.ctx, f.schedule.ns, id, stored.Name)
}
