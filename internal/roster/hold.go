package roster

import "github.com/godurable/dog/internal/list"

// hold is the right of an id without connections to one place on the replica of
// its last connection. It begins when that connection ends. It lasts for
// [Config.Linger], until the id is connected again, on any replica, or until
// the replica is drained.
//
// It counts as load while the id has no place on the replica. A reservation
// there uses the held place. If the reservation is given up, the place is held
// again for the rest of the time.
type hold[R, S any] struct {
	rid     string                // fixed
	replica *Replica[R, S]        // fixed
	since   Time                  // fixed
	counts  bool                  // one of the replica's places is held
	hook    list.Node[hold[R, S]] // in holds.order
	on      list.Node[hold[R, S]] // in Replica.holds
}

// holds has the holds of a book. There is at most one for each id and at most
// Config.Limit on a replica, because a place of the same id has ended whenever
// a hold begins or counts again.
type holds[R, S any] struct {
	table[string, *hold[R, S]] // by id
	// all last for the same time, so they are in order of beginning and of end
	order list.List[hold[R, S]]
}

// add creates the hold of an id, which must have none, on a replica where it
// has a place.
func (t *holds[R, S]) add(rid string, r *Replica[R, S], now Time) {
	h := &hold[R, S]{rid: rid, replica: r, since: now}
	h.hook.Owner, h.on.Owner = h, h
	t.put(rid, h)
	t.order.Push(&h.hook)
	r.holds.Push(&h.on)
}

// counted returns the hold of an id if it counts, or nil.
func (t *holds[R, S]) counted(rid string) *hold[R, S] {
	if h := t.m[rid]; h != nil && h.counts {
		return h
	}
	return nil
}

// uncover makes the hold of an id on r count, if there is one, and reports
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

// covered makes a hold that counts no longer count, because of a place of its
// id.
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
	b.holds.order.Remove(&h.hook)
	h.replica.holds.Remove(&h.on)
	if h.counts {
		h.covered()
		b.unload(h.replica, now)
	}
}
