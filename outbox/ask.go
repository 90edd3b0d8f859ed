package outbox

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/godurable/dog"
)

// An asker waits for the outcome of a command.
type asker struct {
	told chan Outcome // has room for one
}

// Ask queues a command, which is v as [dog.Encode] encodes it, waits until the
// device has done it, and returns what the device has replied. It gives up the
// turn. The device may be away, and break off and come back any number of
// times.
//
// The end of ctx ends the wait, and its deadline is the command's TTL, if that
// is not shorter: when nobody waits for a command any more it is not sent any
// more, unless it has a [Key].
//
// An asker is lost when the object is reset or the process ends, and gets
// [dog.ErrReset] or [dog.ErrShutdown]. The command is not: Ask with the same
// Key returns its outcome, or waits for it. Without a Key it waits until its
// TTL has passed.
//
// A reply is what the device's handler has returned. A string, a []byte or a
// [dog.Message] is the reply as it is. Any other type is decoded from JSON, and
// is zero if the device has replied nothing.
//
// Ask returns the errors of [Queue.Put], a [FailedError], [ErrExpired],
// [ErrDead], [ErrReplaced], the cause of ctx's end, and the errors of
// [dog.Await].
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
	if q == nil {
		return Outcome{}, misuse("Ask", "the queue is nil")
	}
	all, err := merge("Ask", options)
	if err != nil {
		return Outcome{}, err
	}
	if ctx.Err() != nil {
		return Outcome{}, context.Cause(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok && q.object != nil {
		left := min(max(time.Until(deadline), time.Millisecond), MaxTTL)
		all.ttl = min(left, or(all.ttl, left))
	}
	o, queued, err := q.put("Ask", v, all)
	if err != nil {
		return Outcome{}, err
	}
	if o.State == Waiting {
		if o, err = q.await(ctx, o.Number); err != nil {
			if queued && all.key == "" {
				q.withdraw(o.Number)
			}
			return Outcome{}, err
		}
	}
	return o, o.Err()
}

// await waits for the outcome of a command. If it fails, it returns the number
// alone.
func (q *Queue) await(ctx context.Context, number uint64) (Outcome, error) {
	a := &asker{told: make(chan Outcome, 1)}
	q.askers[number] = append(q.askers[number], a)
	o := Outcome{Number: number}
	err := dog.Await(ctx, func() error {
		select {
		case o = <-a.told:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if _, reset := q.totals(); reset != nil { // others use the queue now
		return o, cmp.Or(err, reset)
	}
	left := slices.DeleteFunc(q.askers[number], func(other *asker) bool { return other == a })
	if q.askers[number] = left; len(left) == 0 {
		delete(q.askers, number)
	}
	return o, err
}

// withdraw removes a command whose asker has gone. It does so in an event of
// its own, since the asker's handler returns an error, which may undo what it
// has stored.
func (q *Queue) withdraw(number uint64) {
	q.object.After(0, func(context.Context) error {
		err := q.drop(number)
		q.pump()
		return err
	})
}

// announce arranges for the askers of a command to be told its outcome, in an
// event of its own: the present one may still be undone.
func (q *Queue) announce(o Outcome) {
	if len(q.askers[o.Number]) > 0 {
		q.ended = append(q.ended, o)
		q.wake(0)
	}
}

// tellEnded tells askers the outcomes that have been announced, except those
// that were undone.
func (q *Queue) tellEnded() {
	for _, o := range q.ended {
		_, waits, err := q.commands().Get(numberKey(o.Number))
		switch {
		case err != nil:
			q.object.Log().Error("the outcome of a command is not known", "command", o.Number, "error", err)
		case waits:
			continue
		}
		for _, a := range q.askers[o.Number] {
			a.told <- o
		}
		delete(q.askers, o.Number)
	}
	q.ended = nil
}
