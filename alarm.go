package dog

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"github.com/godurable/dog/internal/store"
)

// maxPayload is the maximum number of bytes of an alarm's payload.
const maxPayload = 64 << 10

// Alarms wake an object at chosen times, whether it is in memory or not: see
// [AlarmHandler]. They are part of its [Storage]: they are set and deleted in
// the same transaction as keys and SQL, with the same errors, and undone with
// it. An object has one alarm without a name, as in Durable Objects, and any
// number of named alarms.
//
// An alarm runs at least once, after its time, even if the process was down at
// that time. The alarms of one object run one after the other, in the order of
// their times. An alarm never starts before an earlier OnAlarm of the object
// has returned, even if that OnAlarm waits. No alarm runs before the runtime
// has started ([Runtime.Start]).
//
// For each type, 256 alarms run at a time. Alarms that wait for their object's
// turn or OnStart count. Alarms that have taken longer than 10 s do not count.
// So OnAlarm handlers that hang delay alarms of their own type by at most 10 s,
// if there are 256 of them, and never delay alarms of other types.
//
// The time of an alarm is a time of the system clock. If the clock is set back,
// alarms run later by the same amount. If it is set forward, alarms that are
// then due run within a minute.
//
// While an alarm runs, it reads as not set. When OnAlarm returns nil, the alarm
// is gone for good. When OnAlarm returns an error, or the object is reset while
// it runs, the alarm runs again: after 2 s, then 4, 8, 16, 32 and 64 s, each up
// to a quarter longer. After 7 runs it is kept as failed until it is set again
// or deleted. If OnAlarm sets its own alarm again, or deletes it, that decides
// what happens next and OnAlarm's result does not matter, unless the change is
// undone.
//
// Times are stored in nanoseconds. Times after April 2262, the latest that
// fits, count as the latest.
type Alarms struct {
	storage *Storage // fixed; nil in a zero Alarms
}

// Alarms returns the object's alarms. It is never nil. If the object is not
// running, the methods return a UsageError.
func (s *Storage) Alarms() *Alarms { return &Alarms{s} }

// An Alarm describes an alarm that is set, is running, or has failed.
type Alarm struct {
	Name    string    // "" for the alarm without a name
	At      time.Time // the time it was set for, regardless of retries
	Next    time.Time // time of the next run; zero if it is running or has failed
	Payload []byte    // owned by the reader
	Retries int       // failed runs since it was set
	Failed  bool      // it does not run again
	Err     string    // why the last run failed, at most 1 KiB; "" if no run has failed
}

// Set sets the alarm without a name and replaces its earlier setting. A time in
// the past means now. The errors are those of SetNamed.
func (a *Alarms) Set(at time.Time) error { return a.SetNamed("", at, nil) }

// SetNamed sets the alarm with a name and replaces its earlier setting. A time
// in the past means now. SetNamed stores a copy of the payload, which is passed
// to OnAlarm. In addition to the errors of storage it returns a UsageError for
// the zero time or a type without OnAlarm, and ErrTooBig if the name has more
// than 2,048 bytes or the payload more than 64 KiB.
func (a *Alarms) SetNamed(name string, at time.Time, payload []byte) error {
	s := a.storage
	switch {
	case s == nil || s.life == nil:
		return notRunning("Alarms.SetNamed")
	case s.life.Object().Class.OnAlarm == nil:
		return stateOf(s.life.Object()).ns.noAlarms("Alarms.SetNamed")
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
	due := unixNano(at, stateOf(s.life.Object()).runtime().host.WallClock())
	return s.life.Tx.Data().SetAlarm(
		store.Alarm{Name: name, Scheduled: due, At: due, Payload: payload, Serial: max(rand.Uint64(), 1)},
	)
}

// unixNano returns the later of a time and now, at most the latest time that
// fits.
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

// Get returns the alarm with a name, "" for the alarm without a name. found is
// false if the alarm is neither set nor failed.
func (a *Alarms) Get(name string) (alarm Alarm, found bool, err error) {
	s := a.storage
	if err := s.read(); err != nil {
		return Alarm{}, false, err
	}
	defer s.leave()
	stored, found, err := s.life.Tx.Data().Alarm(name)
	if err != nil || !found || s.runs(stored) {
		return Alarm{}, false, err
	}
	return alarmOf(stored), true, nil
}

// Delete deletes the alarm with a name, "" for the alarm without a name, and
// reports whether it was set or had failed. An OnAlarm can delete its own
// alarm, which reads as not set. The alarm then does not run again.
func (a *Alarms) Delete(name string) (existed bool, err error) {
	s := a.storage
	if err := s.write(); err != nil {
		return false, err
	}
	defer s.leave()
	stored, found, err := s.life.Tx.Data().Alarm(name)
	if err != nil || !found {
		return false, err
	}
	if _, err := s.life.Tx.Data().DeleteAlarm(name); err != nil {
		return false, err
	}
	return !s.runs(stored), nil
}

// All returns the alarms as they are when All is called, except alarms that are
// deleted or set again before the loop reaches them. Alarms that will run come
// first, in the order of their times, then failed alarms in the order of their
// names. The loop must end before the handler waits. An error is the last item.
func (a *Alarms) All() iter.Seq2[Alarm, error] {
	fail := func(err error) iter.Seq2[Alarm, error] {
		return func(yield func(Alarm, error) bool) { yield(Alarm{}, err) }
	}
	s := a.storage
	if err := s.read(); err != nil {
		return fail(err)
	}
	defer s.leave()
	pending, failed := s.life.Tx.Data().PendingAlarms(), s.life.Tx.Data().FailedAlarms()
	return func(yield func(Alarm, error) bool) {
		for due, err := range pending {
			var stored store.Alarm
			found := false
			if err == nil {
				stored, found, err = s.life.Tx.AlarmDue(due)
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

// runs reports whether OnAlarm is running for this alarm.
func (s *Storage) runs(a store.Alarm) bool { return s.life.Object().RunningAlarm() == a.Serial }

// alarmOf describes an alarm that is not running.
func alarmOf(a store.Alarm) Alarm {
	alarm := runningAlarm(a)
	if !a.Failed {
		alarm.Next = time.Unix(0, a.At)
	}
	return alarm
}

// runningAlarm describes an alarm for OnAlarm.
func runningAlarm(a store.Alarm) Alarm {
	return Alarm{
		Name: a.Name, At: time.Unix(0, a.Scheduled), Payload: a.Payload, Retries: a.Runs, Failed: a.Failed, Err: a.Err,
	}
}

// noAlarms returns the error for an alarm of a type that does not handle
// alarms.
func (ns *namespace) noAlarms(op string) error {
	return misuse(op, "%s has no OnAlarm", ns.typ.Elem())
}
