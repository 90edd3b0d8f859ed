package outbox

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
)

// An Option changes how a command is queued. The zero Option changes nothing.
type Option struct {
	key     string
	replace string
	ttl     time.Duration
	bad     string // what is wrong with it; "": nothing
}

const maxName = 1000 // bytes of a key

// Key makes a command unique: while a command with this key waits, and for
// Policy.Keep after its end, [Queue.Put] and [Ask] with the key queue nothing
// and return the outcome of that command. The key has at most 1,000 bytes.
func Key(key string) Option {
	if key == "" || len(key) > maxName {
		return Option{bad: fmt.Sprintf("a key of %d bytes", len(key))}
	}
	return Option{key: key}
}

// Replace makes the command the newest state of something with this name, such
// as "brightness". It replaces the waiting command with the same name, if there
// is one, even if that was already sent and is not acknowledged. The new
// command goes to the end of the queue. The name has at most 1,000 bytes.
func Replace(name string) Option {
	if name == "" || len(name) > maxName {
		return Option{bad: fmt.Sprintf("a name to replace of %d bytes", len(name))}
	}
	return Option{replace: name}
}

// TTL sets how long the command waits for the device, between a millisecond and
// [MaxTTL].
func TTL(ttl time.Duration) Option {
	if ttl < time.Millisecond || ttl > MaxTTL {
		return Option{bad: fmt.Sprintf("a TTL of %v", ttl)}
	}
	return Option{ttl: ttl}
}

// merge returns all options as one. The last of a kind counts.
func merge(op string, options []Option) (all Option, err error) {
	for _, o := range options {
		if o.bad != "" {
			return all, misuse(op, "%s", o.bad)
		}
		if o.key != "" {
			all.key = o.key
		}
		if o.replace != "" {
			all.replace = o.replace
		}
		if o.ttl != 0 {
			all.ttl = o.ttl
		}
	}
	return all, nil
}

// Put queues v, encoded as by [dog.Encode], as a command, and keeps the turn.
// The command is part of the handler's transaction, so the handler's output
// leaves when the command is durable. The outcome is usually [Waiting]. With a
// [Key] that was used before, it is the outcome of the earlier command.
//
// Put returns [ErrFull] if the policy does not allow more, [dog.ErrTooBig] for
// a command of more than Policy.Bytes or 2 MiB less 128 bytes, a
// [dog.UsageError], and the errors of [dog.Storage]. In each case nothing is
// queued.
func (q *Queue) Put(v any, options ...Option) (Outcome, error) {
	o, err := merge("Queue.Put", options)
	if err != nil {
		return Outcome{}, err
	}
	outcome, _, err := q.put("Queue.Put", v, o)
	return outcome, err
}

// put implements Put. It also reports whether it has queued the command.
func (q *Queue) put(op string, v any, o Option) (outcome Outcome, queued bool, err error) {
	if err := q.usable(op); err != nil {
		return Outcome{}, false, err
	}
	m, err := dog.Encode(v)
	if err != nil {
		return Outcome{}, false, err
	}
	c := command{Key: o.key, Replace: o.replace, Message: m}
	if size := c.size(); size > min(q.policy.Bytes, maxSize) {
		return Outcome{}, false, fmt.Errorf("%w: a command of %d bytes", dog.ErrTooBig, size)
	}
	ttl := cmp.Or(o.ttl, q.policy.TTL)
	c.Expires = millis(q.now().Add(ttl))
	_, unknown := q.know()
	before := q.known
	err = q.object.Storage().Transaction(func() error {
		if o.key != "" {
			var found bool
			if outcome, found, err = q.Outcome(o.key); err != nil || found {
				return err
			}
		}
		queued = true
		if o.replace != "" {
			if err := q.replace(o.replace); err != nil {
				return err
			}
		}
		outcome, err = q.add(c)
		return err
	})
	if err != nil {
		if reverts, over := hook.Reverts(q.object); unknown == nil && over == nil && reverts == before.reverts+1 {
			before.reverts = reverts // only what Put did was undone
			q.known = before
		}
		return Outcome{}, false, err
	}
	if queued {
		q.changed()
	}
	return outcome, queued, nil
}

// changed arranges for an event that acts on commands that a handler has put
// or ended.
func (q *Queue) changed() {
	if q.device != nil || len(q.askers) > 0 { // askers of another epoch do not know of it yet
		q.wake(0)
	}
}

// replace ends the command that a newer one with the same name replaces, if
// there is one.
func (q *Queue) replace(name string) error {
	number, found, err := q.replaces().Get(name)
	if err != nil || !found {
		return err
	}
	_, err = q.drop(number, Replaced)
	return err
}

// add stores a new command.
func (q *Queue) add(c command) (Outcome, error) {
	k, err := q.know()
	if err != nil {
		return Outcome{}, err
	}
	t := k.totals
	if c.Key != "" { // an outcome whose time has passed may not be swept yet
		old, found, err := q.endings().Get(c.Key)
		if err != nil {
			return Outcome{}, err
		}
		if found {
			t.Kept -= old.size(c.Key)
		}
	}
	switch {
	case t.Waiting >= q.policy.Waiting:
		return Outcome{}, fmt.Errorf("%w: %d commands wait", ErrFull, t.Waiting)
	case t.Bytes+c.size() > q.policy.Bytes:
		return Outcome{}, fmt.Errorf("%w: commands of %d bytes wait", ErrFull, t.Bytes)
	case t.Kept > q.policy.KeepBytes:
		return Outcome{}, fmt.Errorf("%w: outcomes and dead letters of %d bytes are kept", ErrFull, t.Kept)
	}
	if t.Last == 0 {
		if err := q.makeEpoch(); err != nil {
			return Outcome{}, err
		}
	}
	if err := q.alarmBy(&t, c.Expires); err != nil {
		return Outcome{}, err
	}
	t.add(c)
	if err := q.commands().Put(numberKey(t.Last), c); err != nil {
		return Outcome{}, err
	}
	if c.Key != "" {
		if err := q.endings().Put(c.Key, ending{Number: t.Last, State: Waiting}); err != nil {
			return Outcome{}, err
		}
	}
	if c.Replace != "" {
		if err := q.replaces().Put(c.Replace, t.Last); err != nil {
			return Outcome{}, err
		}
	}
	if t.Waiting == 1 {
		k.first = t.Last
	}
	o := Outcome{Number: t.Last, State: Waiting}
	counted := k.totals // by a later life, from the command alone
	counted.add(c)
	if t == counted && t.Last-k.counted <= maxUncounted {
		k.totals = t
		return o, nil
	}
	return o, q.putTotals(t)
}

// lateAlarm is how late an alarm may be that is still tried.
const lateAlarm = 5 * time.Minute

// alarmBy makes the alarm run no later than at a time.
func (q *Queue) alarmBy(t *totals, at int64) error {
	now := q.now()
	switch {
	case t.Alarm == 0 || t.Alarm > at:
		t.Alarm = at
	case t.Alarm < millis(now.Add(-lateAlarm)): // it may have failed
		t.Alarm = millis(now)
	default:
		return nil
	}
	return q.object.Storage().Alarms().SetNamed(Alarm, time.UnixMilli(t.Alarm), nil)
}

// noAlarm deletes the alarm if there is nothing to expire or to delete.
func (q *Queue) noAlarm(t *totals) error {
	if t.Waiting > 0 || t.Kept > 0 {
		return nil
	}
	t.Alarm = 0
	_, err := q.object.Storage().Alarms().Delete(Alarm)
	return err
}

// end removes a waiting command, and keeps its outcome if it has a key. A dead
// command becomes a letter.
func (q *Queue) end(number uint64, c command, o Outcome) error {
	return q.object.Storage().Transaction(func() error {
		t, err := q.totals()
		if err != nil {
			return err
		}
		if _, err := q.commands().Delete(numberKey(number)); err != nil {
			return err
		}
		t.Waiting--
		t.Bytes -= c.size()
		until := q.now().Add(q.policy.Keep)
		kept := t.Kept
		if c.Key != "" {
			e := ending{Number: number, State: o.State, Until: millis(until), Reply: o.Reply}
			err := q.endings().Put(c.Key, e)
			if errors.Is(err, dog.ErrTooBig) { // a command that is done must not be sent again
				e.NoReply, e.Reply = true, dog.Message{}
				err = q.endings().Put(c.Key, e)
			}
			if err != nil {
				return err
			}
			t.Kept += e.size(c.Key)
		}
		if o.State == Dead {
			c.Until = millis(until)
			if err := q.letters().Put(numberKey(number), c); err != nil {
				return err
			}
			t.Kept += c.keptSize()
			t.Dead++
		}
		if c.Replace != "" && o.State != Replaced { // otherwise the name is given to the newer one
			if _, err := q.replaces().Delete(c.Replace); err != nil {
				return err
			}
		}
		if t.Kept > kept {
			err = q.alarmBy(&t, millis(until))
		} else {
			err = q.noAlarm(&t)
		}
		if err != nil {
			return err
		}
		if number == q.known.first {
			q.known.first++
		}
		return q.putTotals(t)
	})
}

// drop ends a waiting command without the device, and reports whether it
// waited.
func (q *Queue) drop(number uint64, s State) (found bool, err error) {
	c, found, err := q.commands().Get(numberKey(number))
	if err != nil || !found {
		return false, err
	}
	return true, q.finish(queued{number, c}, Outcome{Number: number, State: s})
}
