// Package roster records the state of one group: its replicas, the load of
// each, and the uids that have connections on them.
//
// A connection needs a [Place] on a replica. [Book.Reserve] chooses the replica
// and reserves a place for some time, [Book.Claim] makes it a used place,
// [Book.Attach] ties it to a socket, and [Book.Release] frees it. In any order
// of calls, a replica never has more than [Config.Limit] places taken, and a
// place is freed exactly once.
//
// A Book is a pure data structure. It starts nothing, locks nothing and reads
// no clock. Its owner must serialize all calls, including those to its replicas
// and places, and passes the time. Replicas and places belong to the Book that
// made them.
//
// It does not know objects and sockets: they are values of its caller.
package roster

import (
	"errors"
	"hash/maphash"
	"iter"

	"github.com/godurable/dog/internal/list"
)

// Errors of [Book.Reserve], [Book.Add] and [Book.Take]. They are never wrapped.
var (
	ErrNoRoom      = errors.New("roster: no replica has room")
	ErrFull        = errors.New("roster: no replica has room and no more may be added")
	ErrExists      = errors.New("roster: replica exists")
	ErrReplicaFull = errors.New("roster: replica is full")
	ErrDraining    = errors.New("roster: replica is draining")
	ErrLocked      = errors.New("roster: replica is locked")
	ErrGone        = errors.New("roster: replica is gone")
)

// Book has the books of one group. R is the payload of a replica, S the value
// that its owner attaches to a place. Use [New].
type Book[R, S any] struct {
	c        Config       // fixed
	seed     maphash.Seed // fixed
	replicas table[string, *Replica[R, S]]
	order    list.List[Replica[R, S]] // all replicas, in order of addition

	// A replica's number identifies it in loadBuckets. With its serial number,
	// it identifies the replica in lingers.
	numbers slots[Replica[R, S]]
	serial  uint32 // the last serial number given out
	// replicas that are not full, draining or locked; its bucket 0 is the queue
	// for retirement
	open loadBuckets
	// replicas that are locked, and not full or draining; its bucket 0 is
	// another queue for retirement
	locked  loadBuckets
	drained loadBuckets // replicas that are draining and empty, all in one bucket

	ids     entries[R, S]
	lingers lingers     // empty if Config.Hold is set
	holds   holds[R, S] // empty if Config.Hold is not set
	// all wait for the same time, so they are in order of arrival and of expiry
	reserved list.List[Place[R, S]]
}

// New returns an empty Book.
func New[R, S any](c Config) *Book[R, S] {
	c.Limit = max(c.Limit, 1)
	if !c.Hold { // a replica with held places is not empty
		c.Retire = max(c.Retire, c.Linger)
	}
	return &Book[R, S]{c: c, seed: maphash.MakeSeed(), lingers: lingers{life: c.Linger}}
}

// hash returns the hash of a uid. It is never 0.
func (b *Book[R, S]) hash(rid string) uint64 { return max(maphash.String(b.seed, rid), 1) }

// Reserve reserves a place for rid until it is claimed or released, or
// [Config.Reserve] has passed. Of the replicas that have room and are not
// draining, it chooses the first of
//
//  1. the one that holds a place for rid, which may be full otherwise,
//  2. the least loaded on which rid has places,
//  3. the one on which rid lingers,
//  4. the least loaded or the fullest that is not locked (see
//     [Config.FullestFirst]).
//
// If there is none, Reserve returns [ErrNoRoom], or [ErrFull] if
// [Config.MaxReplicas] is reached too.
func (b *Book[R, S]) Reserve(rid string, now Time) (*Place[R, S], error) {
	b.expire(now)
	hash := b.hash(rid)
	e := b.ids.find(hash, rid)
	var r *Replica[R, S]
	way := Known
	var h *hold[R, S]
	if b.c.Hold {
		h = b.holds.counted(rid)
	}
	if h != nil {
		r = h.replica
	} else {
		r, way = b.choose(e, hash, now)
	}
	switch {
	case r != nil:
		if e == nil {
			e = b.ids.add(hash, rid)
		}
		p := b.give(r, e, h)
		p.state, p.since, p.way = reserved, now, way
		r.reserved++
		b.reserved.Push(&p.hook)
		return p, nil
	case b.mayAdd():
		return nil, ErrNoRoom
	default:
		return nil, ErrFull
	}
}

// choose returns the replica for a uid without a held place, or nil if no
// replica is open to it. e is the entry of the id, or nil.
func (b *Book[R, S]) choose(e *entry[R, S], hash uint64, now Time) (*Replica[R, S], Way) {
	next := b.newcomers()
	if next == 0 && b.locked.bottom() == nil {
		return nil, Newcomer
	}
	if e != nil {
		if r := e.least(b.c.Limit); r != nil {
			return r, Known
		}
	}
	if on, ok := b.lingers.get(hash, now); ok {
		if r := b.numbers.get(on.number); r != nil && r.ref == on && r.open(b.c.Limit) {
			return r, Lingering
		}
	}
	return b.numbers.get(next), Newcomer
}

// newcomers returns the number of the replica for an id that is on no replica,
// or 0 if there is none.
func (b *Book[R, S]) newcomers() uint32 {
	if b.c.FullestFirst {
		return b.open.most()
	}
	return b.open.least()
}

// knows reports whether an id is not new to r: it has a place there or lingers
// there. e is the entry of the id, or nil.
func (b *Book[R, S]) knows(r *Replica[R, S], e *entry[R, S], hash uint64, now Time) bool {
	if e != nil && e.linkOn(r) != nil {
		return true
	}
	on, ok := b.lingers.get(hash, now)
	return ok && on == r.ref
}

// Take returns a claimed place for rid on this replica. It fails with [ErrGone]
// if r is nil or no longer in the book, with [ErrDraining], or with
// [ErrReplicaFull]. It fails with [ErrLocked] if r is locked and rid has no
// place there, holds none and does not linger there.
func (b *Book[R, S]) Take(r *Replica[R, S], rid string, now Time) (*Place[R, S], error) {
	b.expire(now)
	switch {
	case r == nil || r.gone:
		return nil, ErrGone
	case r.draining:
		return nil, ErrDraining
	}
	var h *hold[R, S]
	if b.c.Hold {
		if h = b.holds.counted(rid); h != nil && h.replica != r {
			h = nil
		}
	}
	hash := b.hash(rid)
	e := b.ids.find(hash, rid)
	switch {
	case h != nil:
	case r.load == b.c.Limit:
		return nil, ErrReplicaFull
	case r.locked && !b.knows(r, e, hash, now):
		return nil, ErrLocked
	}
	if e == nil {
		e = b.ids.add(hash, rid)
	}
	p := b.give(r, e, h)
	b.claimed(p, now)
	return p, nil
}

// give makes a place of e on r: the place that h holds, or another place if h
// is nil, in which case r must be open.
func (b *Book[R, S]) give(r *Replica[R, S], e *entry[R, S], h *hold[R, S]) *Place[R, S] {
	l := e.linkTo(r, b.c.Limit)
	l.places++
	p := &Place[R, S]{link: l, replica: r}
	p.hook.Owner = p
	if h != nil {
		h.covered()
		return p
	}
	r.load++
	b.settle(r)
	return p
}

// claimed makes p a used place.
func (b *Book[R, S]) claimed(p *Place[R, S], now Time) {
	p.state = claimed
	e := p.link.entry
	if e.claimed++; e.claimed == 1 && b.c.Hold {
		b.endHoldOf(e, now) // the id's current replica counts from now on
	}
}

// bucketsOf returns the buckets in which r is while it is open.
func (b *Book[R, S]) bucketsOf(r *Replica[R, S]) *loadBuckets {
	if r.locked {
		return &b.locked
	}
	return &b.open
}

// settle moves r to the position for its load and its draining state, in the
// buckets of the book and in those of ids.
func (b *Book[R, S]) settle(r *Replica[R, S]) {
	n := r.ref.number
	if r.open(b.c.Limit) {
		b.bucketsOf(r).set(n, r.load)
		for h := r.hot.Head(); h != nil; h = h.Next() {
			h.Owner.buckets.set(h.Owner.number, r.load)
		}
		return
	}
	b.bucketsOf(r).remove(n)
	for h := r.hot.Head(); h != nil; h = h.Next() {
		h.Owner.buckets.remove(h.Owner.number)
	}
	if r.load == 0 {
		b.drained.set(n, 0)
	}
}

// Claim makes a reservation a used place and reports whether this call did so.
// It returns false if the reservation has expired or the place was released, in
// which case p holds nothing, and if p was claimed before.
func (b *Book[R, S]) Claim(p *Place[R, S], now Time) bool {
	if p.state != reserved {
		return false
	}
	if passed(b.c.Reserve, p.since, now) {
		b.Release(p, now)
		return false
	}
	b.reserved.Remove(&p.hook)
	p.replica.reserved--
	b.claimed(p, now)
	return true
}

// Attach gives a claimed place its socket, which [Book.Sockets] yields until
// the place is released. It reports whether it did so. A place that is not
// claimed, or has its socket already, is not changed.
func (b *Book[R, S]) Attach(p *Place[R, S], s S) bool {
	if p.state != claimed {
		return false
	}
	p.state, p.socket = attached, s
	p.link.entry.sockets.Push(&p.hook)
	return true
}

// Release frees a place, reserved or used. Further calls for the same place do
// nothing.
//
// If it was the last used place of its id, the id starts to linger on the
// replica, unless the replica is draining. With [Config.Hold] the replica holds
// the place for it for the same time.
func (b *Book[R, S]) Release(p *Place[R, S], now Time) {
	was := p.state
	if was == released {
		return
	}
	l, r := p.link, p.replica
	e := l.entry
	switch was {
	case reserved:
		b.reserved.Remove(&p.hook)
		r.reserved--
	case attached:
		e.sockets.Remove(&p.hook)
		var none S
		p.socket = none
	}
	p.state, p.link = released, nil

	if was != reserved {
		if e.claimed--; e.claimed == 0 && !r.draining && b.c.Linger > 0 {
			if b.c.Hold {
				b.holds.add(string(e.rid), r, now)
			} else {
				b.lingers.put(e.hash, r.ref, now)
			}
		}
	}
	held := false
	if l.places--; l.places == 0 {
		held = b.c.Hold && b.holds.uncover(e.rid, r)
		if e.unlink(l); e.nlinks == 0 {
			b.ids.remove(e)
		}
	}
	if !held {
		b.unload(r, now)
	}
}

// unload decrements the load of r.
func (b *Book[R, S]) unload(r *Replica[R, S], now Time) {
	if r.load--; r.load == 0 {
		r.since = now
	}
	b.settle(r)
}

// Sockets yields the values attached to the places of rid on all replicas, in
// order of attachment. The Book must not change during the iteration.
func (b *Book[R, S]) Sockets(rid string) iter.Seq[S] {
	return func(yield func(S) bool) {
		e := b.ids.find(b.hash(rid), rid)
		if e == nil {
			return
		}
		for n := e.sockets.Head(); n != nil; n = n.Next() {
			if !yield(n.Owner.socket) {
				return
			}
		}
	}
}

// Add adds a new replica with the payload v. It fails with [ErrExists] if the
// book has a replica with this id, and with [ErrFull] if [Config.MaxReplicas]
// is reached.
func (b *Book[R, S]) Add(id string, v R, now Time) (*Replica[R, S], error) {
	if b.replicas.m[id] == nil && !b.mayAdd() {
		b.expire(now)
		return nil, ErrFull
	}
	return b.Readd(id, v, now)
}

// Readd is Add for a replica that existed before: [Config.MaxReplicas] does not
// apply.
func (b *Book[R, S]) Readd(id string, v R, now Time) (*Replica[R, S], error) {
	b.expire(now)
	if b.replicas.m[id] != nil {
		return nil, ErrExists
	}
	r := &Replica[R, S]{id: id, Value: v, since: now}
	r.order.Owner = r
	b.serial++
	r.ref = ref{number: b.numbers.add(r), serial: b.serial}
	b.replicas.put(id, r)
	b.order.Push(&r.order)
	b.settle(r)
	return r, nil
}

// All yields the replicas in order of addition. The Book must not change during
// the iteration.
func (b *Book[R, S]) All() iter.Seq[*Replica[R, S]] {
	return func(yield func(*Replica[R, S]) bool) {
		for n := b.order.Head(); n != nil; n = n.Next() {
			if !yield(n.Owner) {
				return
			}
		}
	}
}

// Len returns the number of replicas, including draining replicas.
func (b *Book[R, S]) Len() int { return len(b.replicas.m) }

// IDs returns the number of uids that have places.
func (b *Book[R, S]) IDs() int { return b.ids.count }

// Lingering returns the number of uids that are remembered on the replica of
// their last connection, whether they have places again or not. It includes
// expired ids that [Book.Tick] has not removed yet.
func (b *Book[R, S]) Lingering() int { return b.lingers.count + len(b.holds.m) }

// Empty reports whether the book has no replica.
func (b *Book[R, S]) Empty() bool { return b.Len() == 0 }
