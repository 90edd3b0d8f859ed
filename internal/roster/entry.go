package roster

// manyLinks is the number of links up to which an entry looks at each of them.
// With more it keeps a ladder, which every change of load on its replicas must
// then update: a price worth paying only for the few ids that are nearly
// everywhere (a name all anonymous users share).
const manyLinks = 8

// entry is what the books know of a request id that has places. It is used
// again for another id when it has none, so nothing but its places, while they
// are held, may refer to it.
type entry[R, S any] struct {
	hash    uint64       // of rid
	rid     []byte       // a copy: the id outlives the request of which it may be a part
	next    *entry[R, S] // of the same hash; or the next free one
	claimed int32        // places that are claimed or attached
	nlinks  int32
	links   list[link[R, S]]  // one for each replica with places of the id
	hot     *hotLinks[R, S]   // set when there were more than manyLinks links, as long as there is one
	first   link[R, S]        // spares nearly every id a second object; free while its replica is nil
	sockets list[Place[R, S]] // attached places
}

// link joins an entry to a replica on which the id has places.
type link[R, S any] struct {
	entry   *entry[R, S] // fixed
	replica *Replica[R, S]
	places  int
	hook    node[link[R, S]] // in entry.links
	hot     *hotLink[R, S]   // set while entry.hot is
}

// hotLinks are the links of an entry that has many.
type hotLinks[R, S any] struct {
	ladder  ladder // those whose replica is open
	numbers slots[link[R, S]]
}

// hotLink hangs a link in the list of those whose load its replica must set.
type hotLink[R, S any] struct {
	link   *link[R, S]         // fixed
	ladder *ladder             // of its entry; fixed
	number uint32              // there; fixed
	hook   node[hotLink[R, S]] // in Replica.hot
}

// least returns the least-loaded open replica on which the id has places; nil
// when there is none.
func (e *entry[R, S]) least(limit int) *Replica[R, S] {
	if e.hot != nil {
		if n := e.hot.ladder.least(); n != 0 {
			return e.hot.numbers.get(n).replica
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

// linkOn returns the link to r; nil when the id has no place there.
func (e *entry[R, S]) linkOn(r *Replica[R, S]) *link[R, S] {
	if e.hot != nil {
		for n := r.hot.head; n != nil; n = n.next {
			if n.owner.link.entry == e {
				return n.owner.link
			}
		}
		return nil
	}
	for n := e.links.head; n != nil; n = n.next {
		if n.owner.replica == r {
			return n.owner
		}
	}
	return nil
}

// linkTo returns the link to r, a new one if need be.
func (e *entry[R, S]) linkTo(r *Replica[R, S], limit int) *link[R, S] {
	l := e.linkOn(r)
	if l != nil {
		return l
	}
	l = &e.first
	if l.replica != nil {
		l = &link[R, S]{entry: e}
		l.hook.owner = l
	}
	l.replica = r
	e.links.push(&l.hook)
	e.nlinks++
	switch {
	case e.hot != nil:
		l.heat(limit)
	case e.nlinks > manyLinks:
		e.hot = new(hotLinks[R, S])
		for n := e.links.head; n != nil; n = n.next {
			n.owner.heat(limit)
		}
	}
	return l
}

// heat makes l one of the hot links of its entry.
func (l *link[R, S]) heat(limit int) {
	all := l.entry.hot
	h := &hotLink[R, S]{link: l, ladder: &all.ladder, number: all.numbers.add(l)}
	h.hook.owner = h
	l.hot = h
	l.replica.hot.push(&h.hook)
	if l.replica.open(limit) {
		h.ladder.set(h.number, l.replica.load)
	}
}

// unlink removes a link without places.
func (e *entry[R, S]) unlink(l *link[R, S]) {
	if h := l.hot; h != nil {
		h.ladder.remove(h.number)
		e.hot.numbers.remove(h.number)
		l.replica.hot.remove(&h.hook)
		l.hot = nil
	}
	e.links.remove(&l.hook)
	l.replica = nil
	if e.nlinks--; e.nlinks == 0 {
		e.hot = nil
	}
}
