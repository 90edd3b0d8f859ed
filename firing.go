package dog

import (
	"context"
	"errors"
	"fmt"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// firing is a run of the earliest alarm of an object. The goroutine that runs it owns it.
type firing struct {
	// fixed
	alarms *alarms
	ns     *namespace
	due    store.DueAlarm
	known  int // how many namespaces were registered

	obj   *object     // nil until there is one
	alarm store.Alarm // for which OnAlarm was called; Serial 0: it was not
}

var errUnregistered = errors.New("dog: the namespace of the replica's group is not registered")

// run runs the alarm if it is still due, and sees to what comes of it.
func (f *firing) run() {
	var err error
	returned := false
	defer func() {
		if !returned { // OnAlarm ends the goroutine: another one does the rest
			f.alarms.rt.spawn(func() {
				f.end(&PanicError{})
				f.alarms.look()
			})
		}
	}()
	err = f.call()
	returned = true
	f.end(err)
}

// call calls OnAlarm. Before, it makes sure that there is something to do: the queue may be behind the index.
func (f *firing) call() error {
	set, err := f.due.Set(f.alarms.rt.engine)
	if err != nil || !set {
		return err
	}
	return f.on(func(o *object) error {
		return o.event(f.alarms.rt.ctx, turn.Origin{}, EventAlarm, f.handle)
	})
}

func (f *firing) handle(ctx context.Context, v any) error {
	s := &turn.From(ctx).Owner().(*instance).storage
	alarm, due, err := s.firstAlarm()
	if err != nil || !due {
		return err
	}
	f.alarm = alarm
	f.obj.alarm.Store(alarm.Serial)
	f.alarms.count(func(stats *AlarmStats) { stats.Runs++ })
	if err := v.(AlarmHandler).OnAlarm(ctx, infoOf(alarm)); err != nil {
		return err
	}
	return s.endAlarm(alarm)
}

// end does what is left to do when the run has ended with err.
func (f *firing) end(err error) {
	again := false
	switch rt := f.alarms.rt; {
	case err == nil, rt.ctx.Err() != nil: // cut short, it runs again after a restart
	case errors.Is(err, errUnregistered):
		again = f.alarms.registeredSince(f.known)
	case f.obj == nil:
		rt.opts.Logger.Error("alarm cannot run", "namespace", f.ns.name, "object", f.id().String(), "error", err)
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
	f.alarms.done(f, again)
}

// note stores that the run has failed, in a transaction of its own: that of OnAlarm may have been undone. The object need not be
// started for it, as that may be what has failed.
func (f *firing) note(o *object, cause error) error {
	var alarm store.Alarm
	noted := false
	err := o.admin(f.alarms.rt.ctx, turn.Origin{}, func(s *Storage) (err error) {
		if f.alarm.Serial == 0 { // the start has failed
			due := false
			if f.alarm, due, err = s.firstAlarm(); err != nil || !due {
				return err
			}
		}
		alarm, noted, err = s.retryAlarm(f.alarm, cause)
		o.alarm.Store(0)
		return err
	})
	if err != nil || !noted {
		return err
	}
	f.alarms.count(func(stats *AlarmStats) {
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

func (f *firing) id() ID { return idOf(f.ns.origin, f.due.Base) }

// on calls do with the object, which it brings into memory; again when that turns out to be retired.
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

// object returns the object, which it brings into memory, a replica as a member of its group.
func (f *firing) object() (*object, error) {
	id := f.id()
	if o := f.ns.find(id); o != nil {
		return o, nil
	}
	stored, found, err := store.Find(f.alarms.rt.engine, f.due.Base)
	if err != nil {
		return nil, err
	}
	owner := stored.Group
	if !found || (owner != nil) != (f.ns.kind == KindReplica) {
		return nil, fmt.Errorf("%w: the index of alarms has an object that does not exist", ErrStoreCorrupt)
	}
	if owner == nil {
		if f.ns.kind == KindObject {
			if err := f.alarms.rt.sweeper.room(f.alarms.rt.ctx); err != nil {
				return nil, err
			}
		}
		return f.ns.object(id, stored.Name), nil
	}
	groups := f.alarms.namespace(owner.Namespace)
	if groups == nil {
		return nil, errUnregistered
	}
	if groups.kind != KindGroup {
		return nil, fmt.Errorf("%w: a replica of what is no group", ErrStoreCorrupt)
	}
	group := groups.object(idOf(groups.origin, owner.Base), owner.Name)
	return group.books.revive(f.alarms.rt.ctx, f.ns, id, stored.Name)
}
