package roster

// manyLinks is the number of links up to which an entry looks at each of them. With more it keeps a ladder, which every
// change of load on its replicas must then update: a price worth paying only for the few ids that are nearly everywhere
// (a name all anonymous users share).
const manyLinks = 8

// entry is what the books know of one request id. It exists while the id has places or lingers.
type entry[R, S any] struct {
	claimed int32 // places that are claimed or attached
	nlinks  int32
	links   list[link[R, S]]    // one for each replica with places of the id
	ladder  *ladder[link[R, S]] // the links whose replica is open, once there were more than manyLinks; else nil
	first   link[R, S]          // spares nearly every id a second object; free while its replica is nil

	linger *Replica[R, S]    // where its last connection was; nil when it does not linger
	since  Time              // when that connection ended
	queue  node[entry[R, S]] // in Book.lingers while linger is set

	rid     string            // fixed
	sockets list[Place[R, S]] // attached places
}

// link joins an entry to a replica on which the id has places.
type link[R, S any] struct {
	entry   *entry[R, S] // fixed
	replica *Replica[R, S]
	places  int
	hook    node[link[R, S]] // in entry.links
	hot     *hotLink[R, S]   // set while entry.ladder is
}

// hotLink hangs a link in the ladder of its entry, and in the list of those that its replica must move there.
type hotLink[R, S any] struct {
	link *link[R, S]
	step step[link[R, S]]
	hook node[hotLink[R, S]] // in Replica.hot
}

func newEntry[R, S any](rid string) *entry[R, S] {
	e := &entry[R, S]{rid: rid}
	e.queue.owner = e
	e.first.entry = e
	e.first.hook.owner = &e.first
	return e
}

// least returns the least-loaded open replica on which the id has places; nil when there is none.
func (e *entry[R, S]) least(limit int) *Replica[R, S] {
	if e.ladder != nil {
		if l := e.ladder.least(); l != nil {
			return l.replica
		}
		return nil
	}
	var best *Replica[R, S]
	for n := e.links.head; n != nil; n = n.next {
		r := n.owner.replica
		if r.open(limit) && (best == nil || r.load < best.load) {
			best = r
		}
	}
	return best
}

// linkTo returns the link to r, a new one if need be.
func (e *entry[R, S]) linkTo(r *Replica[R, S], limit int) *link[R, S] {
	if e.ladder != nil {
		for n := r.hot.head; n != nil; n = n.next {
			if n.owner.link.entry == e {
				return n.owner.link
			}
		}
	} else {
		for n := e.links.head; n != nil; n = n.next {
			if n.owner.replica == r {
				return n.owner
			}
		}
	}

	l := &e.first
	if l.replica != nil {
		l = &link[R, S]{entry: e}
		l.hook.owner = l
	}
	l.replica = r
	e.links.push(&l.hook)
	e.nlinks++
	switch {
	case e.ladder != nil:
		l.heat(limit)
	case e.nlinks > manyLinks:
		e.ladder = new(ladder[link[R, S]])
		for n := e.links.head; n != nil; n = n.next {
			n.owner.heat(limit)
		}
	}
	return l
}

// heat puts l into the ladder of its entry.
func (l *link[R, S]) heat(limit int) {
	h := &hotLink[R, S]{link: l}
	h.step.owner = l
	h.hook.owner = h
	l.hot = h
	l.replica.hot.push(&h.hook)
	if l.replica.open(limit) {
		l.entry.ladder.set(&h.step, l.replica.load)
	}
}

// unlink removes a link without places.
func (e *entry[R, S]) unlink(l *link[R, S]) {
	if h := l.hot; h != nil {
		e.ladder.remove(&h.step)
		l.replica.hot.remove(&h.hook)
		l.hot = nil
	}
	e.links.remove(&l.hook)
	l.replica = nil
	if e.nlinks--; e.nlinks == 0 {
		e.ladder = nil
	}
}
