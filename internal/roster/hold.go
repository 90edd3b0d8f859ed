package roster

// hold is the right of an id without connections to one place on the replica of
// its last one. It begins when that ends, and lasts for [Config.Linger], until
// the id is connected again, on whichever replica, or until the replica is
// drained.
//
// It counts as load while the id has no place on the replica. A reservation
// there uses the held place; when it is given up, that is held again, for what
// is left of the time.
type hold[R, S any] struct {
	rid     string           // fixed
	replica *Replica[R, S]   // fixed
	since   Time             // fixed
	counts  bool             // one of the replica's places is held
	hook    node[hold[R, S]] // in holds.order
	on      node[hold[R, S]] // in Replica.holds
}

// holds are the holds of a book, at most one of an id and at most Config.Limit
// on a replica: when one begins or counts again, a place of the same id has
// ended.
type holds[R, S any] struct {
	table[string, *hold[R, S]]                  // by id
	order                      list[hold[R, S]] // all last as long, so the order in which they began is that of their end
}

// add makes the hold of an id, which has none, on a replica where it has a
// place.
func (t *holds[R, S]) add(rid string, r *Replica[R, S], now Time) {
	h := &hold[R, S]{rid: rid, replica: r, since: now}
	h.hook.owner, h.on.owner = h, h
	t.put(rid, h)
	t.order.push(&h.hook)
	r.holds.push(&h.on)
}

// counted returns the hold of an id if it counts, else nil.
func (t *holds[R, S]) counted(rid string) *hold[R, S] {
	if h := t.m[rid]; h != nil && h.counts {
		return h
	}
	return nil
}

// uncover has the hold of an id on r count, if there is one, and reports
// whether there is.
func (t *holds[R, S]) uncover(rid []byte, r *Replica[R, S]) bool {
	h := t.m[string(rid)]
	if h == nil || h.replica != r {
		return false
	}
	h.counts = true
	r.held++
	return true
}

// covered has a hold that counts no longer do so, for a place of its id.
func (h *hold[R, S]) covered() {
	h.counts = false
	h.replica.held--
}

// endHoldOf ends the hold of an id, if it has one.
func (b *Book[R, S]) endHoldOf(e *entry[R, S], now Time) {
	if h := b.holds.m[string(e.rid)]; h != nil {
		b.endHold(h, now)
	}
}

// endHold ends a hold.
func (b *Book[R, S]) endHold(h *hold[R, S], now Time) {
	b.holds.delete(h.rid)
	b.holds.order.remove(&h.hook)
	h.replica.holds.remove(&h.on)
	if h.counts {
		h.covered()
		b.unload(h.replica, now)
	}
}
