package outbox

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/godurable/dog"
)

// A State is what has become of a command.
type State string

// The states.
const (
	Waiting  State = "waiting"  // it waits for the device, or the device is at it
	Done     State = "done"     // the device has done it
	Failed   State = "failed"   // the device cannot do it
	Expired  State = "expired"  // it was not acknowledged in time
	Dead     State = "dead"     // it was delivered Policy.Deliver times and not acknowledged
	Replaced State = "replaced" // a newer command has taken its place; the device may have done it
)

var (
	// ErrFull is returned by [Queue.Put] and [Ask] if as much waits, or is
	// kept, as the [Policy] allows. The command is not queued.
	ErrFull = errors.New("outbox: the queue is full")

	// ErrExpired is returned by [Ask] if the device has not acknowledged the
	// command in time.
	ErrExpired = errors.New("outbox: the command has expired")

	// ErrDead is returned by [Ask] if the command has become a dead letter.
	ErrDead = errors.New("outbox: the device has not acknowledged the command")

	// ErrReplaced is returned by [Ask] if a newer command has taken the place
	// of the command.
	ErrReplaced = errors.New("outbox: the command has been replaced")

	// ErrDeleted is returned by [Ask] if the command was deleted with all that
	// its object stores, by [dog.Storage.DeleteAll]. It is returned when the
	// queue is next at work.
	ErrDeleted = errors.New("outbox: the command has been deleted with all that its object stores")
)

// A FailedError is returned by [Ask] if the device cannot do the command.
type FailedError struct {
	Reason string // what the device says
}

// Error describes the failure.
func (e *FailedError) Error() string {
	return fmt.Sprintf("outbox: the device could not do the command: %s", e.Reason)
}

// An Outcome is what has become of a command.
type Outcome struct {
	Number uint64
	State  State
	Reply  dog.Message // what the device has replied; if it has failed, why

	// ReplyLost says that the reply was too big for [dog.Storage] and is not
	// kept. Only an Ask that waited at that time has returned it.
	ReplyLost bool
}

// Err returns nil for a command that is done or waits, and otherwise the error
// that Ask returns. That is [dog.ErrTooBig] if it is done and the reply is
// lost.
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
	}
	return nil
}

// Outcome returns what has become of the command with a [Key]. found is false
// if there is none, or its outcome is no longer kept.
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

// decode decodes a reply, as [dog.Encode] encodes: a string, a []byte and a
// [dog.Message] as they are, and anything else by its JSON. A device that
// replies nothing means the zero value.
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
