package roster

import "iter"

// Replica is one replica in a [Book]: its identity, its payload and the count of its places. It is guarded by whatever
// guards its Book.
type Replica[R, S any] struct {
	// What a place needs comes first, to share a cache line.
	load     int                 // places reserved or used, at most Config.Limit
	reserved int32               // of these, reservations
	draining bool                // no new places; set for good, and also when gone
	gone     bool                // removed from the book
	ref      ref                 // fixed
	since    Time                // when it became empty; meaningful while load is 0
	hot      list[hotLink[R, S]] // links of ids that are on many replicas

	// Value is the owner's payload. The Book never looks at it.
	Value R

	sockets []*Place[R, S]      // attached places; each knows its index
	order   node[Replica[R, S]] // in Book.order
	id      string              // fixed
}

// ID returns the id under which the replica was added.
func (r *Replica[R, S]) ID() string { return r.id }

// Load returns the number of places held, reserved or used. It never exceeds [Config.Limit].
func (r *Replica[R, S]) Load() int { return r.load }

// Reserved returns how many of the places held are reservations that nobody has claimed yet.
func (r *Replica[R, S]) Reserved() int { return int(r.reserved) }

// Draining reports whether the replica gives out no more places, because of [Book.Drain] or because it left the book.
func (r *Replica[R, S]) Draining() bool { return r.draining }

// Sockets yields what was attached to the replica's places, in no particular order. The Book must not change meanwhile.
func (r *Replica[R, S]) Sockets() iter.Seq[S] {
	return func(yield func(S) bool) {
		for _, p := range r.sockets {
			if !yield(p.socket) {
				return
			}
		}
	}
}

// open reports whether the replica can take another place.
func (r *Replica[R, S]) open(limit int) bool { return r.load < limit && !r.draining }

func (r *Replica[R, S]) attach(p *Place[R, S]) {
	p.index = int32(len(r.sockets))
	r.sockets = append(r.sockets, p)
}

func (r *Replica[R, S]) detach(p *Place[R, S]) {
	last := len(r.sockets) - 1
	moved := r.sockets[last]
	r.sockets[p.index], moved.index = moved, p.index
	r.sockets[last] = nil
	r.sockets = r.sockets[:last]
	if c := cap(r.sockets); c >= smallTable && last <= c/4 {
		r.sockets = append(make([]*Place[R, S], 0, c/2), r.sockets...)
	}
}

// Place is the right of a request id to one connection on one replica. It begins reserved or claimed, and ends released.
// A released Place holds nothing and may be kept. It is guarded by whatever guards its Book.
type Place[R, S any] struct {
	link    *link[R, S]    // where it counts; nil when released
	replica *Replica[R, S] // fixed
	since   Time           // when it was reserved
	state   state
	index   int32             // in replica.sockets, while attached
	socket  S                 // while attached
	hook    node[Place[R, S]] // in Book.reserved while reserved, in entry.sockets while attached
}

type state uint8

const (
	released state = iota
	reserved
	claimed
	attached
)

// Replica returns the replica the place is on, also when it has been released.
func (p *Place[R, S]) Replica() *Replica[R, S] { return p.replica }

// Held reports whether the place still counts: it was not released, and its reservation has not been seen to expire.
func (p *Place[R, S]) Held() bool { return p.state != released }

// ref stands for a replica where a pointer would be a burden: its number in Book.numbers, which another replica may get
// when it is gone, and its serial, which none gets (a repetition after 2^32 replicas is too far away to matter).
type ref struct{ number, serial uint32 }
