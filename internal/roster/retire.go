package roster

// Drain permanently stops r from giving out places. It keeps its places, and
// its reservations may still be claimed. When the last place is released, the
// next [Book.Tick] retires r. It no longer holds places for lingering ids.
func (b *Book[R, S]) Drain(r *Replica[R, S], now Time) {
	if r.draining {
		return
	}
	for r.holds.Head() != nil {
		b.endHold(r.holds.Head().Owner, now)
	}
	r.draining = true
	b.settle(r)
}

// SetLocked keeps ids that are new to r from it, or admits them again. Ids that
// have places there, linger there, or have a held place there, are admitted in
// either case. The time for which r stays when it is empty starts again.
//
// It takes constant time, or, if r has room, time proportional to the number of
// different loads that replicas have.
func (b *Book[R, S]) SetLocked(r *Replica[R, S], locked bool, now Time) {
	if r.locked == locked || r.gone {
		return
	}
	b.bucketsOf(r).remove(r.ref.number)
	r.locked = locked
	if r.load == 0 {
		r.since = now // the queues for retirement are in this order
	}
	if r.open(b.c.Limit) {
		b.bucketsOf(r).set(r.ref.number, r.load)
	}
}

// Tick does the work that is due. It ends reservations, and calls retire for
// every replica that has been empty for its time. If retire returns true, the
// replica is removed, and ids no longer linger on it. If it returns false, the
// replica stays until the next Tick calls retire again. retire must not call
// the Book.
//
// Ids stop lingering without Tick, but only Tick frees their memory. It does so
// in small steps, so that a large number of ids does not make it slow, and
// within another [Config.Linger] if it is called at least four times in that
// period. Many millions of ids take longer.
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

// retire is Tick for the empty replicas in buckets.
func (b *Book[R, S]) retire(l *loadBuckets, now Time, retire func(*Replica[R, S]) bool) {
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

// remove removes an empty replica from the book.
func (b *Book[R, S]) remove(r *Replica[R, S]) {
	r.draining, r.gone = true, true
	b.order.Remove(&r.order)
	b.replicas.delete(r.id)
	n := r.ref.number
	b.bucketsOf(r).remove(n)
	b.drained.remove(n)
	b.numbers.remove(n)
	if b.Empty() {
		b.open, b.locked, b.drained = loadBuckets{}, loadBuckets{}, loadBuckets{}
	}
}

// expire ends expired reservations and holds.
func (b *Book[R, S]) expire(now Time) {
	for n := b.reserved.Head(); n != nil && passed(b.c.Reserve, n.Owner.since, now); n = b.reserved.Head() {
		b.Release(n.Owner, now)
	}
	for n := b.holds.order.Head(); n != nil && passed(b.c.Linger, n.Owner.since, now); n = b.holds.order.Head() {
		b.endHold(n.Owner, now)
	}
}
