package tx

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/godurable/dog/internal/store"
)

const (
	maxAlarmRuns = 7       // all of which have failed
	maxAlarmErr  = 1 << 10 // bytes kept of an error
	firstRetry   = 2 * time.Second
)

// AlarmDue returns the alarm with a name if it is still due at the same time.
func (t *Tx) AlarmDue(due store.NameAt) (a store.Alarm, found bool, err error) {
	if err := t.Enter(); err != nil {
		return store.Alarm{}, false, err
	}
	defer t.Leave()
	a, found, err = t.data.Alarm(due.Name)
	return a, found && !a.Failed && a.At == due.At, err
}

// FirstAlarm returns the object's earliest alarm if it is due.
func (t *Tx) FirstAlarm(now time.Time) (a store.Alarm, due bool, err error) {
	if err := t.Enter(); err != nil {
		return store.Alarm{}, false, err
	}
	defer t.Leave()
	a, found, err := t.data.FirstAlarm()
	return a, found && a.At <= now.UnixNano(), err
}

// EndAlarm deletes an alarm that has run, unless it has been deleted or set
// again since.
func (t *Tx) EndAlarm(a store.Alarm) error {
	if err := t.Write(); err != nil {
		return err
	}
	defer t.Leave()
	stored, found, err := t.data.Alarm(a.Name)
	if err != nil || !found || stored.Serial != a.Serial {
		return err
	}
	_, err = t.data.DeleteAlarm(a.Name)
	return err
}

// RetryAlarm records that a run has failed, unless the alarm has been deleted
// or set again since. It returns the alarm's new state.
func (t *Tx) RetryAlarm(a store.Alarm, cause error, now time.Time) (noted store.Alarm, still bool, err error) {
	if err := t.Write(); err != nil {
		return store.Alarm{}, false, err
	}
	defer t.Leave()
	stored, found, err := t.data.Alarm(a.Name)
	if err != nil || !found || stored.Serial != a.Serial {
		return store.Alarm{}, false, err
	}
	stored.At = now.Add(retryDelay(stored.Runs)).UnixNano()
	stored.Runs++
	stored.Failed = stored.Runs >= maxAlarmRuns
	stored.Err = cause.Error()
	// The cut may be within a character.
	stored.Err = strings.ToValidUTF8(stored.Err[:min(len(stored.Err), maxAlarmErr)], "")
	return stored, true, t.data.SetAlarm(stored)
}

// retryDelay returns how long to wait after a run that was preceded by a number
// of failed runs. The jitter spreads alarms that failed for the same reason.
func retryDelay(failed int) time.Duration {
	delay := firstRetry << failed
	return delay + rand.N(delay/4+1)
}
