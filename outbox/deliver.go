package outbox

import (
	"errors"
	"iter"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/wire"
)

const (
	minPause = time.Second     // after the first failure, doubled after each further one
	maxPause = 5 * time.Minute // maximum
	busyWait = time.Second     // until the next attempt to send
)

// pauseAfter returns the pause after a number of deliveries.
func pauseAfter(deliveries int) time.Duration {
	return min(maxPause, minPause<<min(max(deliveries-1, 0), 16))
}

// pump sends what is due, and sets the timer for the rest. It is called in the
// turn, at the end of an event of the library. Each of its steps has a
// transaction of its own, so an error does not undo the others.
func (q *Queue) pump() {
	if q.device == nil && !q.adopt(nil) {
		return
	}
	now := time.Now()
	if rest := q.pause.Sub(now); rest > 0 {
		q.wake(rest)
		return
	}
	q.pause = time.Time{}
	if q.sent > 0 && now.Sub(q.sign) >= q.policy.AckWait {
		q.sent = 0
	}
	waits, err := q.send(now)
	if err == nil {
		q.told = nil
	}
	switch {
	case errors.Is(err, dog.ErrSocketClosed) || errors.Is(err, dog.ErrSlowConsumer):
		failed := q.device
		q.detach()
		if q.adopt(failed) {
			q.wake(0)
		}
	case errors.Is(err, dog.ErrHeldBack):
		q.wake(busyWait)
	case err != nil:
		if q.told == nil || q.told.Error() != err.Error() { // otherwise it would be each second
			q.object.Log().Error("commands wait", "error", err)
		}
		q.told = err
		q.wake(busyWait)
	case waits:
		q.wake(q.sign.Add(q.policy.AckWait).Sub(now))
	case len(q.ended) == 0:
		q.rest()
	}
}

// send sends the commands in the window that have not been sent, and reports
// whether the window has any commands.
func (q *Queue) send(now time.Time) (waits bool, err error) {
	window, err := q.window()
	if err != nil || len(window) == 0 {
		return false, err
	}
	epoch, err := q.epoch()
	if err != nil {
		return false, err
	}
	if epoch != q.epochSent { // the program has deleted everything
		q.sent, q.head, q.epochSent = 0, head{}, epoch
	}
	before := uint64(0)
	for i, c := range window {
		if i == 0 {
			if dead, err := q.lead(c, now); err != nil {
				return false, err
			} else if dead {
				return q.send(now)
			}
		}
		previous := before
		before = c.number
		if c.number <= q.sent {
			continue
		}
		left := time.UnixMilli(c.Expires).Sub(q.now())
		frame := wire.AppendCommand(nil, c.number, epoch, left, previous)
		frame = append(frame, c.Message.Data...)
		if err := hook.SendFrame(q.device, c.Message.Type == dog.Binary, frame); err != nil {
			return true, err
		}
		q.sent = c.number
		if i > 0 {
			continue
		}
		q.sign = now
		if err := q.delivered(c, now); err != nil {
			return true, err
		}
	}
	return true, nil
}

// window returns the first waiting commands, after ending those that have
// expired.
func (q *Queue) window() (all []queued, err error) {
	k, err := q.know()
	if err != nil || k.totals.Waiting == 0 {
		return nil, err
	}
	var expired []queued
	bytes, ended := 0, true
	now := millis(q.now())
	for c, err := range q.inOrder(k) {
		if errors.Is(err, errDamaged) && len(all) > 0 {
			ended = false // it is an error once it is the first
			break
		}
		if err != nil {
			return nil, err
		}
		bytes += c.size()
		if c.Expires <= now {
			expired = append(expired, c)
			continue
		}
		if all = append(all, c); len(all) == q.policy.Window {
			ended = false
			break
		}
	}
	if ended {
		if err := q.correct(len(all)+len(expired), bytes); err != nil {
			return nil, err
		}
	}
	if err := q.expire(expired); err != nil {
		return nil, err
	}
	if len(all) > 0 {
		k.first = all[0].number
	}
	return all, nil
}

// inOrder returns the waiting commands. The first ones usually have consecutive
// numbers, and a Get costs much less than starting a List.
func (q *Queue) inOrder(k *known) iter.Seq2[queued, error] {
	return func(yield func(queued, error) bool) {
		n := k.first
		for left := k.totals.Waiting; ; left-- {
			if left == 0 {
				return
			}
			c, found, err := q.commands().Get(numberKey(n))
			if err == nil && !found {
				break
			}
			if !yield(queued{n, c}, err) || err != nil {
				return
			}
			n++
		}
		for c, err := range stored(q.commands(), n) {
			if !yield(c, err) {
				return
			}
		}
	}
}

// lead notes which command is the first, and reports whether it has become a
// dead letter instead of being sent again.
func (q *Queue) lead(c queued, now time.Time) (dead bool, err error) {
	if q.head.number != c.number {
		q.head = head{number: c.number, count: c.Count}
		if c.number <= q.sent { // it was sent after others
			q.head.count, q.head.counted = max(q.head.count, 1), now
		}
	}
	if c.number <= q.sent || q.head.count < q.policy.Deliver || !q.counts(now) {
		return false, nil
	}
	if err := q.finish(c, Outcome{Number: c.number, State: Dead}); err != nil {
		return false, err
	}
	q.object.Log().Warn("command is a dead letter", "command", c.number, "deliveries", q.head.count)
	return true, nil
}

// counts reports whether a delivery of the first command now counts.
func (q *Queue) counts(now time.Time) bool {
	return !q.again || q.head.counted.IsZero() || now.Sub(q.head.counted) >= pauseAfter(q.head.count)
}

// delivered counts a delivery of the first command.
func (q *Queue) delivered(c queued, now time.Time) error {
	counts := q.counts(now)
	q.again = false
	if !counts {
		return nil
	}
	q.head.count++
	q.head.counted = now
	if q.head.count == 1 {
		return nil
	}
	c.Count = q.head.count
	return q.commands().Put(numberKey(c.number), c.command)
}

// reply handles a reply of the device to a command.
func (q *Queue) reply(r wire.CommandReply, payload dog.Message) error {
	epoch, err := q.knownEpoch()
	if err != nil || r.Epoch != epoch {
		return err // the reply is for another epoch
	}
	c, found, err := q.commands().Get(numberKey(r.Number))
	if err != nil {
		return err
	}
	if !found { // a second or late reply
		if r.Verdict == wire.Retry { // the device expects the later commands again
			q.sent = 0
			q.pump()
		}
		return nil
	}
	q.sign = time.Now()
	switch r.Verdict {
	case wire.Done:
		err = q.finish(queued{r.Number, c}, Outcome{Number: r.Number, State: Done, Reply: payload})
	case wire.Failed:
		err = q.finish(queued{r.Number, c}, Outcome{Number: r.Number, State: Failed, Reply: payload})
	case wire.Retry:
		q.pause = q.sign.Add(pauseAfter(q.head.count))
		q.sent = 0
	}
	if err == nil {
		q.pump()
	}
	return err
}

// finish ends a command, and arranges for its askers to get the outcome.
func (q *Queue) finish(c queued, o Outcome) error {
	if err := q.end(c.number, c.command, o); err != nil {
		return err
	}
	return q.announce(o)
}

// expire ends commands whose time has passed.
func (q *Queue) expire(all []queued) error {
	for _, c := range all {
		if err := q.finish(c, Outcome{Number: c.number, State: Expired}); err != nil {
			return err
		}
		q.object.Log().Info("command has expired", "command", c.number)
	}
	return nil
}

// sweep ends all commands whose time has passed, deletes outcomes and dead
// letters whose time has passed, and sets the alarm for the next of these
// times.
func (q *Queue) sweep() error {
	now := q.now()
	next := time.Time{}
	sooner := func(ms int64) {
		if at := time.UnixMilli(ms); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	var expired []queued
	waiting, bytes := 0, 0
	for c, err := range stored(q.commands(), 0) {
		if err != nil {
			return err
		}
		waiting++
		bytes += c.size()
		if c.Expires <= millis(now) {
			expired = append(expired, c)
			continue
		}
		sooner(c.Expires)
	}
	if err := q.correct(waiting, bytes); err != nil {
		return err
	}
	if err := q.expire(expired); err != nil {
		return err
	}
	t, err := q.totals()
	if err != nil {
		return err
	}
	if t.Kept > 0 {
		// Not at the exact time of each, since each run reads all of them.
		until, err := q.forget(&t, millis(now))
		if err != nil {
			return err
		}
		if until > 0 {
			sooner(max(until, millis(now.Add(q.policy.Keep/24))))
		}
	}
	t.Alarm = 0
	if !next.IsZero() {
		t.Alarm = millis(next)
		if err := q.object.Storage().Alarms().SetNamed(Alarm, next, nil); err != nil {
			return err
		}
	}
	return q.putTotals(t)
}

// forget deletes outcomes and dead letters that are kept until now, and returns
// when the next has to be deleted, 0 if none remain.
func (q *Queue) forget(t *totals, now int64) (next int64, err error) {
	var keys, letters []string
	kept, dead := 0, 0
	look := func(until int64, size int, key string, over *[]string) {
		if until <= now {
			*over = append(*over, key)
			return
		}
		kept += size
		if next == 0 || until < next {
			next = until
		}
	}
	for e, err := range q.endings().List(dog.ListOptions{}) {
		if err != nil {
			return 0, err
		}
		if e.Value.State != Waiting {
			look(e.Value.Until, e.Value.size(e.Key), e.Key, &keys)
		}
	}
	for e, err := range q.letters().List(dog.ListOptions{}) {
		if err != nil {
			return 0, err
		}
		dead++
		look(e.Value.Until, e.Value.keptSize(), e.Key, &letters)
	}
	t.Kept, t.Dead = kept, dead-len(letters)
	if _, err := q.endings().Delete(keys...); err != nil {
		return 0, err
	}
	_, err = q.letters().Delete(letters...)
	return next, err
}
