package dog

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/godurable/dog/internal/store"
)

// Limits of alarms.
const (
	maxPayload   = 64 << 10 // bytes
	maxAlarmRuns = 7        // all of them failed
	maxAlarmErr  = 1 << 10  // bytes that are kept of an error
	firstRetry   = 2 * time.Second
)

// Alarms wake an object at times of its choosing, in memory or not: see
// [AlarmHandler]. They are part of its [Storage]: set and deleted in the same
// transaction as keys and SQL, with the same errors, and undone with it. There
// is one without a name, as Durable Objects have it, and any number of named
// ones.
//
// An alarm runs at least once, after its time, also when the process was down
// then. The alarms of one object run one after the other, in the order of their
// times, and never while an earlier OnAlarm of the object has not returned,
// even where that waits. No alarm runs before the runtime has started
// ([Runtime.Start]).
//
// Of each type, 256 alarms run at a time, those included that wait for their
// object's turn or OnStart; what has taken longer than 10 s is not counted. So
// an OnAlarm that hangs delays alarms of its own type by 10 s at most, when
// there are 256 of them, and those of other types not at all.
//
// The time of an alarm is one of the system's clock. When that is set back,
// alarms run later by as much; when it is set forward, those that are then due
// run within a minute.
//
// While it runs, an alarm reads as not set, and is gone for good when OnAlarm
// returns nil. When OnAlarm returns an error, or the object is reset meanwhile,
// it runs again: after 2 s, then 4, 8, 16, 32 and 64 s, each up to a quarter
// longer. After 7 runs it is kept as failed, until it is set again or deleted.
// An OnAlarm that sets its alarm anew, or deletes it, settles by that what
// comes next, whatever it returns, unless what it stored is undone.
//
// Times are kept in nanoseconds; those after April 2262, the last that fit,
// count as that.
type Alarms struct {
	storage *Storage // fixed; nil in a zero Alarms
}

// Alarms returns the object's alarms. It is never nil; those of an object that
// is not running return a UsageError.
func (s *Storage) Alarms() *Alarms { return &Alarms{s} }

// An Alarm is an alarm that is set, runs, or has failed.
type Alarm struct {
	Name    string    // "" for the one without a name
	At      time.Time // for when it was set, whatever the retries
	Next    time.Time // when it runs next; zero for one that runs, or has failed
	Payload []byte    // the reader's own
	Retries int       // runs that have failed since it was set
	Failed  bool      // it does not run any more
	Err     string    // why the last run failed, at most 1 KiB of it; "" when none has
}

// Set sets the alarm without a name, in place of what it was set to before. A
// time that is past means now.
func (a *Alarms) Set(at time.Time) error { return a.SetNamed("", at, nil) }

// SetNamed sets the alarm of a name, in place of what it was set to before. A
// time that is past means now. The payload, of which a copy is kept, is for
// OnAlarm. Errors besides those of storage: a UsageError for the zero time or a
// type without OnAlarm, ErrTooBig when the name has more than 2,048 bytes or
// the payload more than 64 KiB.
func (a *Alarms) SetNamed(name string, at time.Time, payload []byte) error {
	s := a.storage
	switch {
	case s == nil || s.inst == nil:
		return notRunning("Alarms.SetNamed")
	case !s.inst.obj.ns.alarms:
		return s.inst.obj.ns.noAlarms("Alarms.SetNamed")
	case at.IsZero():
		return misuse("Alarms.SetNamed", "the zero time; to have no alarm, delete it")
	case len(name) > maxKey:
		return fmt.Errorf("%w: an alarm's name of %d bytes", ErrTooBig, len(name))
	case len(payload) > maxPayload:
		return fmt.Errorf("%w: an alarm's payload of %d bytes", ErrTooBig, len(payload))
	}
	if err := s.write(); err != nil {
		return err
	}
	defer s.leave()
	due := unixNano(at, s.inst.obj.runtime().wallClock())
	return s.data.SetAlarm(store.Alarm{Name: name, Scheduled: due, At: due, Payload: payload, Serial: max(rand.Uint64(), 1)})
}

// unixNano returns a time, or now if that is later.
func unixNano(at, now time.Time) int64 {
	latest := time.Unix(0, math.MaxInt64)
	if at.After(latest) {
		at = latest
	}
	if at.Before(now) {
		at = now
	}
	return at.UnixNano()
}

// Get returns the alarm of a name, "" for the one without; found is false when
// it is not set and has not failed.
func (a *Alarms) Get(name string) (alarm Alarm, found bool, err error) {
	s := a.storage
	if err := s.enter(); err != nil {
		return Alarm{}, false, err
	}
	defer s.leave()
	stored, found, err := s.data.Alarm(name)
	if err != nil || !found || s.runs(stored) {
		return Alarm{}, false, err
	}
	return alarmOf(stored), true, nil
}

// Delete deletes the alarm of a name, "" for the one without, and reports
// whether it was set or had failed. An OnAlarm that deletes its own alarm,
// which it does not see, is not run again for it.
func (a *Alarms) Delete(name string) (existed bool, err error) {
	s := a.storage
	if err := s.write(); err != nil {
		return false, err
	}
	defer s.leave()
	stored, found, err := s.data.Alarm(name)
	if err != nil || !found {
		return false, err
	}
	if _, err := s.data.DeleteAlarm(name); err != nil {
		return false, err
	}
	return !s.runs(stored), nil
}

// All returns the alarms as they are when All is called, less those that are
// deleted or set anew before their turn in the loop: first those that are to
// run, in the order of their times, then those that have failed, in that of
// their names. The loop must be over when the handler waits. An error is the
// last item.
func (a *Alarms) All() iter.Seq2[Alarm, error] {
	fail := func(err error) iter.Seq2[Alarm, error] {
		return func(yield func(Alarm, error) bool) { yield(Alarm{}, err) }
	}
	s := a.storage
	if err := s.enter(); err != nil {
		return fail(err)
	}
	defer s.leave()
	pending, failed := s.data.PendingAlarms(), s.data.FailedAlarms()
	return func(yield func(Alarm, error) bool) {
		for due, err := range pending {
			var stored store.Alarm
			found := false
			if err == nil {
				stored, found, err = s.alarmDue(due)
			}
			if err != nil {
				yield(Alarm{}, err)
				return
			}
			if found && !s.runs(stored) && !yield(alarmOf(stored), nil) {
				return
			}
		}
		for stored, err := range failed {
			if !yield(alarmOf(stored), err) || err != nil {
				return
			}
		}
	}
}

// alarmDue returns the alarm of a name if it is still the one that is due then.
func (s *Storage) alarmDue(due store.NameAt) (a store.Alarm, found bool, err error) {
	if err := s.enter(); err != nil {
		return store.Alarm{}, false, err
	}
	defer s.leave()
	a, found, err = s.data.Alarm(due.Name)
	return a, found && !a.Failed && a.At == due.At, err
}

// runs reports whether it is this alarm for which OnAlarm runs.
func (s *Storage) runs(a store.Alarm) bool { return s.inst.obj.alarm.Load() == a.Serial }

// alarmOf describes an alarm that does not run now.
func alarmOf(a store.Alarm) Alarm {
	alarm := runningAlarm(a)
	if !a.Failed {
		alarm.Next = time.Unix(0, a.At)
	}
	return alarm
}

// runningAlarm describes an alarm to OnAlarm.
func runningAlarm(a store.Alarm) Alarm {
	return Alarm{
		Name: a.Name, At: time.Unix(0, a.Scheduled), Payload: a.Payload, Retries: a.Runs, Failed: a.Failed, Err: a.Err,
	}
}

// firstAlarm returns the object's earliest alarm if it is due.
func (s *Storage) firstAlarm() (a store.Alarm, due bool, err error) {
	if err := s.enter(); err != nil {
		return store.Alarm{}, false, err
	}
	defer s.leave()
	a, found, err := s.data.FirstAlarm()
	return a, found && a.At <= s.inst.obj.runtime().wallClock().UnixNano(), err
}

// endAlarm deletes an alarm that has run, unless it has been deleted or set
// anew meanwhile.
func (s *Storage) endAlarm(a store.Alarm) error {
	if err := s.write(); err != nil {
		return err
	}
	defer s.leave()
	stored, found, err := s.data.Alarm(a.Name)
	if err != nil || !found || stored.Serial != a.Serial {
		return err
	}
	_, err = s.data.DeleteAlarm(a.Name)
	return err
}

// retryAlarm notes that a run has failed, unless the alarm has been deleted or
// set anew meanwhile, and returns what it is now.
func (s *Storage) retryAlarm(a store.Alarm, cause error) (now store.Alarm, still bool, err error) {
	if err := s.write(); err != nil {
		return store.Alarm{}, false, err
	}
	defer s.leave()
	stored, found, err := s.data.Alarm(a.Name)
	if err != nil || !found || stored.Serial != a.Serial {
		return store.Alarm{}, false, err
	}
	stored.At = s.inst.obj.runtime().wallClock().Add(retryDelay(stored.Runs)).UnixNano()
	stored.Runs++
	stored.Failed = stored.Runs >= maxAlarmRuns
	stored.Err = cause.Error()
	stored.Err = strings.ToValidUTF8(stored.Err[:min(len(stored.Err), maxAlarmErr)], "") // the cut may be within a character
	return stored, true, s.data.SetAlarm(stored)
}

// retryDelay returns how long to wait after a run that was preceded by others
// that failed. The jitter keeps alarms apart that failed for the same reason.
func retryDelay(failed int) time.Duration {
	delay := firstRetry << failed
	return delay + rand.N(delay/4+1)
}
