package roster

// Replica is one replica in a [Book]: its identity, its payload and the count
// of its places. It is guarded by whatever guards its Book.
type Replica[R, S any] struct {
	// What a place needs comes first, to share a cache line.
	load     int                 // places reserved, used or held, at most Config.Limit
	reserved int32               // of these, reservations
	draining bool                // no new places; set for good, and also when gone
	locked   bool                // no places for ids that are new to it
	gone     bool                // removed from the book
	ref      ref                 // fixed
	since    Time                // when it became empty; meaningful while load is 0
	hot      list[hotLink[R, S]] // links of ids that are on many replicas

	// Value is the owner's payload. The Book never looks at it.
	Value R

	order node[Replica[R, S]] // in Book.order
	id    string              // fixed
	held  int32               // of load, places held for ids that linger
	holds list[hold[R, S]]    // those on this replica, counted or not; none when draining
}

// ID returns the id under which the replica was added.
func (r *Replica[R, S]) ID() string { return r.id }

// Load returns the number of places that are reserved, used or held. It never
// exceeds [Config.Limit].
func (r *Replica[R, S]) Load() int { return r.load }

// Reserved returns how many places of the load are reservations that nobody has
// claimed yet.
func (r *Replica[R, S]) Reserved() int { return int(r.reserved) }

// Held returns how many places of the load are held for ids without
// connections: see [Config.Hold]. It includes those whose time is over until
// the next call that reserves or takes a place, or [Book.Tick].
func (r *Replica[R, S]) Held() int { return int(r.held) }

// Locked reports whether only ids that the replica knows get places: see
// [Book.SetLocked].
func (r *Replica[R, S]) Locked() bool { return r.locked }

// Draining reports whether the replica gives out no more places, because of
// [Book.Drain] or because it left the book.
func (r *Replica[R, S]) Draining() bool { return r.draining }

// open reports whether the replica can take another place, of an id that it
// knows when it is locked.
func (r *Replica[R, S]) open(limit int) bool { return r.load < limit && !r.draining }

// Place is the right of a request id to one connection on one replica. It
// begins reserved or claimed, and ends released. A released Place holds nothing
// and may be kept. It is guarded by whatever guards its Book.
type Place[R, S any] struct {
	link    *link[R, S]    // where it counts; nil when released
	replica *Replica[R, S] // fixed
	since   Time           // when it was reserved
	state   state
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

// ref stands for a replica where a pointer would be a burden: its number in
// Book.numbers, which another replica may get when it is gone, and its serial,
// which none gets (a repetition after 2^32 replicas is too far away to matter).
type ref struct{ number, serial uint32 }
