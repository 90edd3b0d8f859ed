package outbox

// Cancel ends a waiting command with the outcome [Canceled], for which its Ask
// returns [ErrCanceled], and reports whether the command waited. [Queue.Put],
// [Queue.Outcome] and [Queue.Waiting] return the number. A command that was
// already sent is not sent again, but the device may have done it or be
// carrying it out: its reply is ignored. Cancel keeps the turn and is part of
// the handler's transaction, as Put is.
func (q *Queue) Cancel(number uint64) (found bool, err error) {
	if err := q.usable("Queue.Cancel"); err != nil {
		return false, err
	}
	if found, err = q.drop(number, Canceled); err != nil || !found {
		return false, err
	}
	q.changed()
	return true, nil
}

// Requeue queues a dead letter again, and reports whether there was a dead
// letter with this number. The command gets a new number and goes to the end of
// the queue, where it waits for Policy.TTL. It keeps its [Key], which then has
// the new outcome instead of [Dead], unless a newer command has that key. It
// also keeps its [Replace]. To change anything, put
// the Body of the [Command] and discard the dead letter.
//
// The errors are those of [Queue.Put], and [ErrReplaced] if a newer command
// with the same Replace waits. In each case the dead letter stays.
func (q *Queue) Requeue(number uint64) (o Outcome, found bool, err error) {
	if err := q.usable("Queue.Requeue"); err != nil {
		return Outcome{}, false, err
	}
	err = q.object.Storage().Transaction(func() error {
		var c command
		if c, found, err = q.discard(number); err != nil || !found {
			return err
		}
		if c.Replace != "" {
			if _, newer, err := q.replaces().Get(c.Replace); err != nil {
				return err
			} else if newer {
				return ErrReplaced
			}
		}
		if c.Key != "" {
			e, taken, err := q.endings().Get(c.Key)
			if err != nil {
				return err
			}
			if taken && e.Number != number { // the time of the letter's outcome has passed
				c.Key = ""
			}
		}
		c.Expires, c.Count, c.Until = millis(q.now().Add(q.policy.TTL)), 0, 0
		o, err = q.add(c)
		return err
	})
	if err != nil || !found {
		return Outcome{}, false, err
	}
	q.changed()
	return o, true, nil
}

// Discard deletes a dead letter, and reports whether there was one with this
// number. The outcome of its [Key] is kept.
func (q *Queue) Discard(number uint64) (found bool, err error) {
	if err := q.usable("Queue.Discard"); err != nil {
		return false, err
	}
	err = q.object.Storage().Transaction(func() error {
		_, found, err = q.discard(number)
		return err
	})
	return found && err == nil, err
}

// discard deletes a dead letter and returns it.
func (q *Queue) discard(number uint64) (c command, found bool, err error) {
	key := numberKey(number)
	if c, found, err = q.letters().Get(key); err != nil || !found {
		return command{}, false, err
	}
	t, err := q.totals()
	if err != nil {
		return command{}, false, err
	}
	if _, err := q.letters().Delete(key); err != nil {
		return command{}, false, err
	}
	t.Kept -= c.keptSize()
	t.Dead--
	if err := q.noAlarm(&t); err != nil {
		return command{}, false, err
	}
	return c, true, q.putTotals(t)
}
