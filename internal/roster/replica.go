package roster

import "github.com/godurable/dog/internal/list"

// Replica is one replica in a [Book]: its identity, its payload and the count
// of its places. It is guarded by the lock that guards its Book.
type Replica[R, S any] struct {
	// The fields that a place needs come first, to share a cache line.
	load     int                      // places reserved, used or held, at most Config.Limit
	reserved int32                    // reservations among these
	draining bool                     // no new places; never reset, and also set when gone
	locked   bool                     // no places for ids that are new to it
	gone     bool                     // removed from the book
	ref      ref                      // fixed
	since    Time                     // when it became empty; only valid while load is 0
	hot      list.List[hotLink[R, S]] // links of ids that are on many replicas

	// Value is the owner's payload. The Book does not use it.
	Value R

	order list.Node[Replica[R, S]] // in Book.order
	id    string                   // fixed
	held  int32                    // places of load that are held for lingering ids
	holds list.List[hold[R, S]]    // holds on this replica, counted or not; none when draining
}

// ID returns the id under which the replica was added.
func (r *Replica[R, S]) ID() string { return r.id }

// Load returns the number of places that are reserved, used or held. It never
// exceeds [Config.Limit].
func (r *Replica[R, S]) Load() int { return r.load }

// Reserved returns how many places of the load are reservations that have not
// been claimed.
func (r *Replica[R, S]) Reserved() int { return int(r.reserved) }

// Held returns how many places of the load are held for ids without
// connections: see [Config.Hold]. It includes expired holds until the next call
// that reserves or takes a place, or [Book.Tick].
func (r *Replica[R, S]) Held() int { return int(r.held) }

// Locked reports whether the replica has places only for ids that it knows: see
// [Book.SetLocked].
func (r *Replica[R, S]) Locked() bool { return r.locked }

// Draining reports whether the replica accepts no new places, because of
// [Book.Drain] or because it left the book.
func (r *Replica[R, S]) Draining() bool { return r.draining }

// open reports whether the replica can take another place. If it is locked,
// only an id that it knows can get that place.
func (r *Replica[R, S]) open(limit int) bool { return r.load < limit && !r.draining }

// Place is the right of a uid to one connection on one replica. It
// begins reserved or claimed, and ends released. A released Place holds nothing
// and may be kept. It is guarded by the lock that guards its Book.
type Place[R, S any] struct {
	link    *link[R, S]    // where it counts; nil when released
	replica *Replica[R, S] // fixed
	since   Time           // when it was reserved
	state   state
	way     Way
	socket  S                      // while attached
	hook    list.Node[Place[R, S]] // in Book.reserved while reserved, in entry.sockets while attached
}

// Way is why [Book.Reserve] chose a replica.
type Way uint8

// The ways.
const (
	Newcomer  Way = iota // newcomers go there
	Lingering            // the id lingers there
	Known                // the id has places there, or one is held for it
	Ways                 // how many there are
)

// Way returns why the replica was chosen. The place must be one that Reserve
// returned.
func (p *Place[R, S]) Way() Way { return p.way }

type state uint8

const (
	released state = iota
	reserved
	claimed
	attached
)

// Replica returns the replica of the place, even after the place was released.
func (p *Place[R, S]) Replica() *Replica[R, S] { return p.replica }

// ref identifies a replica without a pointer: by its number in Book.numbers,
// which may be reused when the replica is gone, and by its serial number, which
// is not reused. (A repetition after 2^32 replicas is too far away to matter.)
type ref struct{ number, serial uint32 }
