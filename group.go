package dog

import (
	"context"
	"iter"
	"time"
)

// Group is embedded in a type of yours to make it a group: it spreads clients
// over replicas, each with at most GroupOptions.Limit of them. See
// [RegisterGroup].
//
// A group's methods may be called from any goroutine.
type Group struct{ core }

func (g *Group) embedsGroup() {}

func (g *Group) embedsOne() {}

func (g *Group) books() (*books, error) {
	o, err := g.speaker()
	if o == nil {
		return nil, err
	}
	return o.books, err
}

// Broadcast sends v (see [Encode]) to all sockets of the group. It keeps the
// turn and waits for no client (see [Replica.Emit]).
func (g *Group) Broadcast(v any, options ...SendOption) error {
	b, err := g.books()
	if err != nil {
		return err
	}
	return b.broadcast(b.group, nil, v, options)
}

// Whisper sends v (see [Encode]) to all sockets of a uid and returns their
// number; ErrNoTarget when there are none.
func (g *Group) Whisper(ctx context.Context, uid string, v any, options ...SendOption) (int, error) {
	b, err := g.books()
	if err != nil {
		return 0, err
	}
	return b.whisper(ctx, b.group, uid, v, options)
}

// Emit sends v (see [Encode]) to all sockets of one replica; ErrReplicaGone
// when the group has no such replica. It waits for no client (see
// [Replica.Emit]).
func (g *Group) Emit(replica ID, v any, options ...SendOption) error {
	b, err := g.books()
	if err != nil {
		return err
	}
	return b.emit(replica, v, options)
}

// Disconnect closes all sockets of a uid: see [Replica.Disconnect].
func (g *Group) Disconnect(ctx context.Context, uid string, code int, reason string) (int, error) {
	b, err := g.books()
	if err != nil {
		return 0, err
	}
	return b.disconnect(ctx, b.group, uid, code, reason)
}

// Gossip asks all replicas of the group at the same time and returns their
// answers: see [Replica.Gossip].
func (g *Group) Gossip(ctx context.Context, v any) ([]Reply, error) {
	b, err := g.books()
	if err != nil {
		return nil, err
	}
	return b.gossip(ctx, b.group, nil, v)
}

// Replicas returns the live replicas, in the order in which they were made, as
// they are now.
func (g *Group) Replicas() iter.Seq[ReplicaStats] {
	b, err := g.books()
	if err != nil {
		return func(func(ReplicaStats) bool) {}
	}
	return b.replicas()
}

// Drain lets no new connection or request reach a replica; those it has stay,
// and places reserved before are still good. It is retired within a second or
// so of the last one's end. Like a message, it takes place when what the group
// has stored before is durable. ErrReplicaGone when the group has no such
// replica.
func (g *Group) Drain(replica ID) error {
	b, err := g.books()
	if err != nil {
		return err
	}
	return b.restrictLater(b.group, replica, b.drain)
}

// SetLocked keeps newcomers out of a replica, or lets them in again:
// [GroupStub.Identify] and further requests through a stub take only uids there
// that have a connection, a request or a reserved place on the replica, or have
// had a connection up to LingerFor ago. A locked replica is no room for anybody
// else: when all others are full, a new one is made, and at MaxReplicas the
// error is ErrGroupFull.
//
// Like a message, it takes place when what the group has stored before is
// durable. The lock outlives a reset of the replica and ends with its
// retirement; an empty one has RetireAfter from the change on. ErrReplicaGone
// when the group has no such replica. SetLocked keeps the turn.
func (g *Group) SetLocked(replica ID, locked bool) error {
	b, err := g.books()
	if err != nil {
		return err
	}
	return b.restrictLater(b.group, replica, b.setLocked(locked))
}

// GroupOptions configure a type that embeds [Group]. Limit is required. New,
// Schema, Hibernate and RollbackOnError are those of [ObjectOptions].
type GroupOptions[T any] struct {
	New              func() *T
	Schema           Schema
	AllowNewerSchema bool
	Hibernate        bool
	RollbackOnError  bool

	// Limit is the number of connections and requests that a replica may hold
	// at a time; at least 1.
	Limit int

	// MaxReplicas bounds the number of live replicas, draining and locked ones
	// included. 0: no bound.
	MaxReplicas int

	// Order says which of the replicas with room a newcomer gets: a uid that
	// has neither connections nor had them up to LingerFor ago. Default:
	// LeastLoaded.
	Order Order

	// LingerFor is how long a uid without connections is sent back to the
	// replica it was on, to the nanosecond; a replica without connections stays
	// in memory for at least that time. 0: Options.LingerFor; negative: not at
	// all.
	LingerFor time.Duration

	// HoldPlaces has a replica hold the place of a uid for LingerFor after its
	// last connection or request, so that newcomers cannot take it and the uid
	// finds room when it returns. One place is held for a uid, however many
	// connections it had. It is free again when the time is over, to the
	// nanosecond, when the uid connects to another replica, and when the
	// replica is drained.
	//
	// Held places count towards Limit: when the places of all replicas are
	// taken or held and there are MaxReplicas of them, Identify returns
	// ErrGroupFull. A replica with held places stays in memory; RetireAfter
	// begins when the last is free. [ReplicaStats] may count one up to a second
	// longer that nobody has asked for since. A held place takes about 200
	// bytes, and the length of its uid.
	//
	// Needs a LingerFor above 0, here or in Options. Default: only the
	// preference for the replica lingers.
	HoldPlaces bool
}

// Order says which replica a newcomer gets, of those that have room and are
// neither draining nor locked. The choice takes constant time, however many
// replicas there are.
type Order int

const (
	// LeastLoaded is the replica with the most room: clients are spread evenly.
	LeastLoaded Order = iota
	// FullestFirst is the replica with the least room: each fills up before the
	// next gets anybody, as for a game that starts when it is full.
	FullestFirst
)
