package roster

// Drain stops r from giving out places, for good. Those it has stay,
// reservations among them may still be claimed, and when the last is released
// the next [Book.Tick] retires it. It holds no places any more.
func (b *Book[R, S]) Drain(r *Replica[R, S], now Time) {
	if r.draining {
		return
	}
	for r.holds.head != nil {
		b.endHold(r.holds.head.owner, now)
	}
	r.draining = true
	b.settle(r)
}

// SetLocked keeps ids that are new to r from it, or lets them in again. Those
// that have places there, linger there, or for which it holds one, come back
// either way. The time for which r stays when it is empty begins anew.
//
// It takes constant time, or, when r has room, as long as looking at the
// different loads that replicas have.
func (b *Book[R, S]) SetLocked(r *Replica[R, S], locked bool, now Time) {
	if r.locked == locked || r.gone {
		return
	}
	b.ladderOf(r).remove(r.ref.number)
	r.locked = locked
	if r.load == 0 {
		r.since = now // the queues for retirement are in this order
	}
	if r.open(b.c.Limit) {
		b.ladderOf(r).set(r.ref.number, r.load)
	}
}

// Tick does what is due: it ends reservations, and calls retire for every
// replica that is empty and past its time. True removes the replica, and with
// it what ids knew of it; false keeps it until the next Tick asks again. retire
// must not call the Book.
//
// Ids stop lingering without it, but it is Tick that gives their memory back:
// in small parts, so that their number does not make it slow, and within
// another [Config.Linger] when it is called at least four times in one. Many
// millions of ids take longer.
func (b *Book[R, S]) Tick(now Time, retire func(*Replica[R, S]) bool) {
	b.expire(now)
	b.lingers.sweep(now)
	if all := b.drained.bottom(); all != nil {
		for n := all.first; n != 0; {
			r := b.numbers.get(n)
			n = b.drained.next(n)
			if retire(r) {
				b.remove(r)
			}
		}
	}
	b.retire(&b.open, now, retire)
	b.retire(&b.locked, now, retire)
}

// retire is Tick for the empty replicas on a ladder.
func (b *Book[R, S]) retire(l *ladder, now Time, retire func(*Replica[R, S]) bool) {
	bottom := l.bottom()
	if bottom == nil || bottom.load > 0 {
		return
	}
	for n := bottom.first; n != 0; {
		r := b.numbers.get(n)
		if !passed(b.c.Retire, r.since, now) {
			return
		}
		n = l.next(n)
		if retire(r) {
			b.remove(r)
		}
	}
}

// remove takes an empty replica off the book.
func (b *Book[R, S]) remove(r *Replica[R, S]) {
	r.draining, r.gone = true, true
	b.order.remove(&r.order)
	b.replicas.delete(r.id)
	n := r.ref.number
	b.ladderOf(r).remove(n)
	b.drained.remove(n)
	b.numbers.remove(n)
	if b.Empty() {
		b.open, b.locked, b.drained = ladder{}, ladder{}, ladder{}
	}
}

// expire ends the reservations and the holds whose time has passed.
func (b *Book[R, S]) expire(now Time) {
	for n := b.reserved.head; n != nil && passed(b.c.Reserve, n.owner.since, now); n = b.reserved.head {
		b.Release(n.owner, now)
	}
	for n := b.holds.order.head; n != nil && passed(b.c.Linger, n.owner.since, now); n = b.holds.order.head {
		b.endHold(n.owner, now)
	}
}
