package roster

import "github.com/godurable/dog/internal/list"

// manyLinks is the number of links up to which an entry examines each of them.
// With more links it keeps buckets, which must be updated with every change of
// load on its replicas. That is only worth it for the few ids that are on
// nearly all replicas (a name that all anonymous users share).
const manyLinks = 8

// entry is the record of a uid that has places. It is reused for another id
// when it has none, so only its places may refer to it, while they are held.
type entry[R, S any] struct {
	hash    uint64       // of rid
	rid     []byte       // a copy: the id outlives the request that it may be a part of
	next    *entry[R, S] // with the same hash, or the next free entry
	claimed int32        // places that are claimed or attached
	nlinks  int32
	links   list.List[link[R, S]]  // one for each replica on which the id has places
	hot     *hotLinks[R, S]        // set once there are more than manyLinks links, until there are none
	first   link[R, S]             // spares most ids a second allocation; free while its replica is nil
	sockets list.List[Place[R, S]] // attached places
}

// link joins an entry to a replica on which the id has places.
type link[R, S any] struct {
	entry   *entry[R, S] // fixed
	replica *Replica[R, S]
	places  int
	hook    list.Node[link[R, S]] // in entry.links
	hot     *hotLink[R, S]        // set while entry.hot is
}

// hotLinks has the links of an entry with many links.
type hotLinks[R, S any] struct {
	buckets loadBuckets // links whose replica is open
	numbers slots[link[R, S]]
}

// hotLink puts a link into the list of those whose load its replica must
// update.
type hotLink[R, S any] struct {
	link    *link[R, S]              // fixed
	buckets *loadBuckets             // of its entry; fixed
	number  uint32                   // in buckets; fixed
	hook    list.Node[hotLink[R, S]] // in Replica.hot
}

// least returns the least-loaded open replica on which the id has places, or
// nil if there is none.
func (e *entry[R, S]) least(limit int) *Replica[R, S] {
	if e.hot != nil {
		if n := e.hot.buckets.least(); n != 0 {
			return e.hot.numbers.get(n).replica
		}
		return nil
	}
	var best *Replica[R, S]
	for n := e.links.Head(); n != nil; n = n.Next() {
		r := n.Owner.replica
		if r.open(limit) && (best == nil || r.load < best.load) {
			best = r
		}
	}
	return best
}

// linkOn returns the link to r, or nil if the id has no place there.
func (e *entry[R, S]) linkOn(r *Replica[R, S]) *link[R, S] {
	if e.hot != nil {
		for n := r.hot.Head(); n != nil; n = n.Next() {
			if n.Owner.link.entry == e {
				return n.Owner.link
			}
		}
		return nil
	}
	for n := e.links.Head(); n != nil; n = n.Next() {
		if n.Owner.replica == r {
			return n.Owner
		}
	}
	return nil
}

// linkTo returns the link to r. It creates one if there is none.
func (e *entry[R, S]) linkTo(r *Replica[R, S], limit int) *link[R, S] {
	l := e.linkOn(r)
	if l != nil {
		return l
	}
	l = &e.first
	if l.replica != nil {
		l = &link[R, S]{entry: e}
		l.hook.Owner = l
	}
	l.replica = r
	e.links.Push(&l.hook)
	e.nlinks++
	switch {
	case e.hot != nil:
		l.heat(limit)
	case e.nlinks > manyLinks:
		e.hot = new(hotLinks[R, S])
		for n := e.links.Head(); n != nil; n = n.Next() {
			n.Owner.heat(limit)
		}
	}
	return l
}

// heat makes l one of the hot links of its entry.
func (l *link[R, S]) heat(limit int) {
	all := l.entry.hot
	h := &hotLink[R, S]{link: l, buckets: &all.buckets, number: all.numbers.add(l)}
	h.hook.Owner = h
	l.hot = h
	l.replica.hot.Push(&h.hook)
	if l.replica.open(limit) {
		h.buckets.set(h.number, l.replica.load)
	}
}

// unlink removes a link without places.
func (e *entry[R, S]) unlink(l *link[R, S]) {
	if h := l.hot; h != nil {
		h.buckets.remove(h.number)
		e.hot.numbers.remove(h.number)
		l.replica.hot.Remove(&h.hook)
		l.hot = nil
	}
	e.links.Remove(&l.hook)
	l.replica = nil
	if e.nlinks--; e.nlinks == 0 {
		e.hot = nil
	}
}
