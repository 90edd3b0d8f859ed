package outbox

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/godurable/dog"
)

// A State is the state of a command.
type State string

// The states.
const (
	Waiting  State = "waiting"  // it waits for the device, or the device is carrying it out
	Done     State = "done"     // the device has done it
	Failed   State = "failed"   // the device cannot do it
	Expired  State = "expired"  // it was not acknowledged in time
	Dead     State = "dead"     // it was delivered Policy.Deliver times and not acknowledged
	Replaced State = "replaced" // a newer command has replaced it; the device may have done it
	Canceled State = "canceled" // Cancel has ended it; the device may have done it
)

var (
	// ErrFull is returned by [Queue.Put] and [Ask] if the [Policy] does not
	// allow more waiting commands, or more kept outcomes and dead letters. The
	// command is not queued.
	ErrFull = errors.New("outbox: the queue is full")

	// ErrExpired is returned by [Ask] if the device has not acknowledged the
	// command in time.
	ErrExpired = errors.New("outbox: the command has expired")

	// ErrDead is returned by [Ask] if the command has become a dead letter.
	ErrDead = errors.New("outbox: the device has not acknowledged the command")

	// ErrReplaced is returned by [Ask] if a newer command has replaced the
	// command, and by [Queue.Requeue] if a newer one waits in its place.
	ErrReplaced = errors.New("outbox: the command has been replaced")

	// ErrCanceled is returned by [Ask] if [Queue.Cancel] has ended the command.
	ErrCanceled = errors.New("outbox: the command has been canceled")

	// ErrDeleted is returned by [Ask] if [dog.Storage.DeleteAll] has deleted
	// the command. Ask returns it when the queue next runs.
	ErrDeleted = errors.New("outbox: the command has been deleted with all that its object stores")
)

// A FailedError is returned by [Ask] if the device cannot do the command.
type FailedError struct {
	Reason string // from the device
}

// Error describes the failure.
func (e *FailedError) Error() string {
	return fmt.Sprintf("outbox: the device could not do the command: %s", e.Reason)
}

// An Outcome is the state of a command, with the device's reply.
type Outcome struct {
	Number uint64
	State  State
	Reply  dog.Message // of the device; the reason if it has failed

	// ReplyLost is set if the reply was too big for [dog.Storage] and is not
	// kept. Only an Ask that was waiting then has returned it.
	ReplyLost bool
}

// Err returns nil for a command that is done or waits, and otherwise the error
// of Ask. For a command that is done and whose reply is lost, it is
// [dog.ErrTooBig].
func (o Outcome) Err() error {
	switch o.State {
	case Done:
		if o.ReplyLost {
			return fmt.Errorf("%w: the command is done, and its reply is not kept", dog.ErrTooBig)
		}
	case Failed:
		return &FailedError{Reason: o.Reply.String()}
	case Expired:
		return ErrExpired
	case Dead:
		return ErrDead
	case Replaced:
		return ErrReplaced
	case Canceled:
		return ErrCanceled
	}
	return nil
}

// Outcome returns the outcome of the command with a [Key]. found is false if
// there is no such command, or its outcome is no longer kept.
func (q *Queue) Outcome(key string) (o Outcome, found bool, err error) {
	if err := q.usable("Queue.Outcome"); err != nil {
		return Outcome{}, false, err
	}
	e, found, err := q.endings().Get(key)
	if err != nil || !found || e.State != Waiting && e.Until <= millis(q.now()) {
		return Outcome{}, false, err
	}
	return outcomeOf(e), true, nil
}

func outcomeOf(e ending) Outcome {
	o := Outcome{Number: e.Number, State: e.State, ReplyLost: e.NoReply}
	if len(e.Reply.Data) > 0 {
		o.Reply = e.Reply
	}
	return o
}

// decode is the reverse of [dog.Encode]: a string, a []byte and a [dog.Message]
// are the reply as it is, and other types are decoded from JSON. An empty reply
// is the zero value.
func decode[R any](o Outcome) (reply R, err error) {
	switch r := any(&reply).(type) {
	case *string:
		*r = o.Reply.String()
		return reply, nil
	case *[]byte:
		*r = o.Reply.Data
		return reply, nil
	case *dog.Message:
		*r = o.Reply
		return reply, nil
	}
	if len(o.Reply.Data) == 0 {
		return reply, nil
	}
	if err := json.Unmarshal(o.Reply.Data, &reply); err != nil {
		var none R
		return none, fmt.Errorf("outbox: the reply %.80q: %w", o.Reply.Data, err)
	}
	return reply, nil
}
