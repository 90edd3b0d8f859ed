package outbox

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
)

// A name is the number of a command in the epoch of that number.
type name struct {
	epoch  string
	number uint64
}

// An asker waits for the outcome of a command.
type asker struct {
	told chan told // has room for one
}

// told is what an asker gets: an outcome or an error.
type told struct {
	outcome Outcome
	err     error
}

// An ended command is one whose askers still have to get its outcome.
type ended struct {
	epoch string
	Outcome
}

// Ask queues v, encoded as by [dog.Encode], as a command, waits until the
// device has done it, and returns the device's reply. It gives up the turn.
// Meanwhile the device may be away, and may disconnect and reconnect any number
// of times.
//
// The end of ctx ends the wait. Without a [Key] it also ends the command, and
// the deadline of ctx limits the command's TTL, so that a command is not sent
// after its caller has gone. A command with a Key waits until its own TTL has
// passed, and a later Ask with that Key returns its outcome.
//
// When the object is reset or Shutdown begins, Ask fails at once with
// [dog.ErrReset] or [dog.ErrShutdown]. The command remains: Ask with the same
// Key returns its outcome, or waits for it. A command without a Key remains
// until its TTL has passed.
//
// The reply is the result of the device's handler. A string, a []byte or a
// [dog.Message] is the reply as it is. Any other type is decoded from JSON, and
// is zero if the reply is empty. A reply over the limit of [dog.Storage] is not
// kept: asking again with the Key returns [dog.ErrTooBig].
//
// Other errors are those of [Queue.Put], a [FailedError], [ErrExpired],
// [ErrDead], [ErrReplaced], [ErrCanceled], [ErrDeleted], the cause of ctx's
// end, and those of [dog.Await]. ctx must be the context of the running
// handler, or made of it, otherwise Ask returns [dog.ErrOutsideTurn].
func Ask[R any](ctx context.Context, q *Queue, v any, options ...Option) (R, error) {
	o, err := q.ask(ctx, v, options)
	if err != nil {
		var none R
		return none, err
	}
	return decode[R](o)
}

// ask is Ask without its type.
func (q *Queue) ask(ctx context.Context, v any, options []Option) (Outcome, error) {
	if err := q.usable("Ask"); err != nil {
		return Outcome{}, err
	}
	all, err := merge("Ask", options)
	if err != nil {
		return Outcome{}, err
	}
	if err := hook.MayWait(ctx, q.object); err != nil { // what is queued may be undone, and its number given again
		return Outcome{}, err
	}
	stopping := dog.Stopping(ctx)
	if all.key == "" && isClosed(stopping) { // nothing could withdraw it, and its sender would send it again
		return Outcome{}, dog.ErrShutdown
	}
	if deadline, ok := ctx.Deadline(); ok && all.key == "" {
		left := min(max(time.Until(deadline), time.Millisecond), MaxTTL)
		all.ttl = min(left, cmp.Or(all.ttl, left))
	}
	o, queued, err := q.put("Ask", v, all)
	if err != nil {
		return Outcome{}, err
	}
	if o.State == Waiting {
		n := name{number: o.Number}
		if n.epoch, err = q.epoch(); err != nil {
			return Outcome{}, err
		}
		if o, err = q.await(ctx, n, stopping); err != nil {
			if queued && all.key == "" {
				q.withdraw(n)
			}
			return Outcome{}, err
		}
	}
	return o, o.Err()
}

// await waits for the outcome of a command.
func (q *Queue) await(ctx context.Context, n name, stopping <-chan struct{}) (o Outcome, err error) {
	a := &asker{told: make(chan told, 1)}
	q.askers[n] = append(q.askers[n], a)
	err = dog.Await(ctx, func() (failed error) {
		select {
		case t := <-a.told:
			o = t.outcome
			return t.err
		case <-stopping: // no reply can come any more
			failed = dog.ErrShutdown
		case <-ctx.Done():
			failed = context.Cause(ctx)
		}
		select { // it came in time
		case t := <-a.told:
			o = t.outcome
			return t.err
		default:
			return failed
		}
	})
	if _, lost := q.totals(); errors.Is(lost, dog.ErrReset) || errors.Is(lost, dog.ErrOutsideTurn) {
		return o, cmp.Or(err, lost) // others use the queue now
	}
	left := slices.DeleteFunc(q.askers[n], func(other *asker) bool { return other == a })
	if q.askers[n] = left; len(left) == 0 {
		delete(q.askers, n)
	}
	return o, err
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// withdraw removes a command whose asker has gone. It does so in an event of
// its own, since the asker's handler returns an error, which may undo its
// writes.
func (q *Queue) withdraw(n name) {
	q.object.After(0, func(context.Context) error {
		epoch, err := q.knownEpoch()
		if err != nil || epoch != n.epoch {
			return err
		}
		_, err = q.drop(n.number, Expired)
		q.pump()
		return err
	})
}

// announce arranges for the askers of a command to get its outcome, in an event
// of its own: the present one may still be undone.
func (q *Queue) announce(o Outcome) error {
	if len(q.askers) == 0 {
		return nil
	}
	epoch, err := q.knownEpoch()
	if err != nil {
		return err
	}
	if len(q.askers[name{epoch, o.Number}]) > 0 {
		q.ended = append(q.ended, ended{epoch, o})
		q.wake(0)
	}
	return nil
}

// tellEnded passes the announced outcomes to their askers, except those that
// were undone. Askers of another epoch get ErrDeleted.
func (q *Queue) tellEnded() {
	if len(q.askers) == 0 {
		q.ended = nil
		return
	}
	epoch, err := q.knownEpoch()
	if err != nil {
		q.object.Log().Error("the outcomes of commands are not known", "error", err)
		q.wake(busyWait)
		return
	}
	for n := range q.askers {
		if n.epoch != epoch {
			q.tell(n, told{err: ErrDeleted})
		}
	}
	var unknown []ended
	for _, e := range slices.Backward(q.ended) { // of a number, only the last was not undone
		n := name{epoch, e.Number}
		if e.epoch != epoch || len(q.askers[n]) == 0 {
			continue
		}
		switch _, waits, err := q.commands().Get(numberKey(e.Number)); {
		case err != nil:
			q.object.Log().Error("the outcome of a command is not known", "command", e.Number, "error", err)
			unknown = append(unknown, e)
		case !waits:
			q.tell(n, told{outcome: e.Outcome})
		}
	}
	if q.ended = nil; len(unknown) > 0 {
		slices.Reverse(unknown)
		q.ended = unknown
		q.wake(busyWait)
	}
}

// tell passes an outcome or an error to the askers of a command.
func (q *Queue) tell(n name, t told) {
	for _, a := range q.askers[n] {
		a.told <- t
	}
	delete(q.askers, n)
}
