package dog

import (
	"context"
	"iter"
	"time"

	"github.com/godurable/dog/internal/object"
)

// Group is embedded in a user's type to make it a group. A group spreads its
// clients over replicas, with at most GroupOptions.Limit clients on each. See
// [RegisterGroup].
//
// A group's methods may be called from any goroutine.
type Group struct{ core }

func (g *Group) embedsGroup() {}

func (g *Group) embedsOne() {}

// Broadcast sends v (see [Encode]) to all sockets of the group. It keeps the
// turn and does not wait for clients (see [Replica.Emit]).
func (g *Group) Broadcast(v any, options ...SendOption) error {
	o, err := g.running()
	if err != nil {
		return err
	}
	return o.group.broadcast(o, nil, v, options)
}

// Whisper sends v (see [Encode]) to all sockets of a uid: see
// [Replica.Whisper].
func (g *Group) Whisper(ctx context.Context, uid string, v any, options ...SendOption) (int, error) {
	o, err := g.running()
	if err != nil {
		return 0, err
	}
	return o.group.whisper(ctx, o, uid, v, options)
}

// Emit sends v (see [Encode]) to all sockets of one replica. It returns
// ErrReplicaGone when the group has no such replica. It does not wait for
// clients (see [Replica.Emit]).
func (g *Group) Emit(replica ID, v any, options ...SendOption) error {
	o, err := g.running()
	if err != nil {
		return err
	}
	return o.group.emit(o, replica, v, options)
}

// Disconnect closes all sockets of a uid: see [Replica.Disconnect].
func (g *Group) Disconnect(ctx context.Context, uid string, code int, reason string) (int, error) {
	o, err := g.running()
	if err != nil {
		return 0, err
	}
	return o.group.disconnect(ctx, o, uid, code, reason)
}

// Gossip asks all replicas of the group at the same time and returns their
// replies: see [Replica.Gossip].
func (g *Group) Gossip(ctx context.Context, v any) ([]Reply, error) {
	o, err := g.running()
	if err != nil {
		return nil, err
	}
	return o.group.gossip(ctx, o, nil, v)
}

// Replicas returns the current live replicas, in the order in which they were
// created.
func (g *Group) Replicas() iter.Seq[ReplicaStats] {
	o, err := g.running()
	if err != nil {
		return func(func(ReplicaStats) bool) {}
	}
	return o.group.replicas()
}

// Drain stops new connections and requests from reaching a replica, for good.
// Existing connections and requests stay, and places reserved before remain
// valid. The replica is retired within about a second after the last of them
// ends. Like a message, Drain takes effect when the group's earlier writes are
// durable. It returns ErrReplicaGone when the group has no such replica.
func (g *Group) Drain(replica ID) error {
	o, err := g.running()
	if err != nil {
		return err
	}
	return o.group.restrictLater(o, replica, o.group.drain)
}

// SetLocked locks a replica against newcomers, or unlocks it. On a locked
// replica, [GroupStub.Identify] and further requests through a stub accept only
// uids that have a connection, a request or a reserved place there, or have had
// a connection up to LingerFor ago. A locked replica has no room for any other
// uid: when all other replicas are full, a new one is created, and at
// MaxReplicas the error is ErrGroupFull.
//
// Like a message, SetLocked takes effect when the group's earlier writes are
// durable. The lock outlives a reset of the replica and ends when the replica
// is retired. An empty replica is retired RetireAfter after the change.
// SetLocked returns ErrReplicaGone when the group has no such replica. It keeps
// the turn.
func (g *Group) SetLocked(replica ID, locked bool) error {
	o, err := g.running()
	if err != nil {
		return err
	}
	return o.group.restrictLater(o, replica, o.group.setLocked(locked))
}

// GroupOptions configures a type that embeds [Group]. Limit is required. New,
// Schema, AllowNewerSchema, Hibernate and RollbackOnError are those of
// [ObjectOptions].
type GroupOptions[T any] struct {
	New              func() *T
	Schema           Schema
	AllowNewerSchema bool
	Hibernate        bool
	RollbackOnError  bool

	// Limit is the maximum number of connections and requests that a replica
	// holds at a time. It must be at least 1.
	Limit int

	// MaxReplicas is the maximum number of live replicas, including draining
	// and locked replicas. 0: no limit.
	MaxReplicas int

	// Order selects the replica for a newcomer among those with room. A
	// newcomer is a uid that has no connections and has had none up to
	// LingerFor ago. Default: LeastLoaded.
	Order Order

	// LingerFor is how long a uid without connections is sent back to the
	// replica it was on, to the nanosecond. A replica without connections stays
	// in memory for at least that time. 0: Options.LingerFor; negative: not at
	// all.
	LingerFor time.Duration

	// HoldPlaces makes a replica hold the place of a uid for LingerFor after
	// the uid's last connection or request. Newcomers cannot take the place,
	// and the uid finds room when it returns. One place is held for a uid,
	// however many connections it had. The place is free again when the time is
	// over, to the nanosecond, when the uid connects to another replica, and
	// when the replica is drained.
	//
	// Held places count towards Limit. When the places of all replicas are
	// taken or held and there are MaxReplicas replicas, Identify returns
	// ErrGroupFull. A replica with held places stays in memory. RetireAfter
	// begins when the last of them is free. [ReplicaStats] may count an expired
	// place for up to a second longer if it has not been asked for since. A
	// held place takes about 200 bytes plus the length of its uid.
	//
	// HoldPlaces needs a LingerFor above 0, here or in Options. Default: only
	// the preference for the replica lingers.
	HoldPlaces bool

	// History makes the group keep what its replicas and itself send to all
	// sockets of the group. Default: nothing is kept.
	History HistoryOptions

	// Presence keeps the list of the uids that have sockets on the replicas.
	// Default: off.
	Presence Presence
}

// GroupStub is the stub of a group. It gives access to the group's replicas
// from outside any object, such as from an HTTP handler, a queue consumer or a
// timer.
type GroupStub[G, R any] struct{ Stub[G] }

// address returns the address of the group. It returns nil for a zero stub.
func (s GroupStub[G, R]) address() *address {
	a, _ := s.to.(*address)
	return a
}

// state returns the group's state. A group that is not in memory has no
// replicas, so state returns an empty state for it.
func (s GroupStub[G, R]) state() (*groupState, error) {
	to := s.address()
	if to == nil {
		return nil, notRunning("GroupStub")
	}
	if to.refusal != nil {
		return nil, to.refusal
	}
	if o := to.ns.holder(to.id); o != nil {
		return o.group, nil
	}
	return newObject(to.ns, object.ID(to.id), to.name).group, nil
}

// enter is like state, for operations that may wait. It admits a caller from
// outside. If enter returns no error, the caller must call leave.
func (s GroupStub[G, R]) enter(ctx context.Context) (g *groupState, leave func(), err error) {
	if g, err = s.state(); err != nil {
		return nil, nil, err
	}
	if leave, err = g.runtime().host.EnterFrom(ctx); err != nil {
		return nil, nil, err
	}
	return g, leave, nil
}

// Broadcast sends v (see [Encode]) to all sockets of the group. A group that is
// not in memory has none, and is started only if its history keeps v. In a
// handler Broadcast gives up the turn, with the consequence that Emit states.
func (s GroupStub[G, R]) Broadcast(ctx context.Context, v any, options ...SendOption) error {
	_, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.address().broadcast(ctx, v, options)
}

// Emit sends v (see [Encode]) to all sockets of one replica. It returns
// ErrReplicaGone when the group has no such replica. In a handler it gives up
// the turn, and thereby ends the transaction: a reset of the handler's object
// while Emit waits undoes neither v nor what was written before.
func (s GroupStub[G, R]) Emit(ctx context.Context, replica ID, v any, options ...SendOption) error {
	g, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return g.emitFrom(ctx, replica, v, options)
}

// Whisper sends v (see [Encode]) to all sockets of a uid and returns their
// number. It returns ErrNoTarget when there are none. In a handler it gives up
// the turn.
func (s GroupStub[G, R]) Whisper(ctx context.Context, uid string, v any, options ...SendOption) (int, error) {
	_, leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return s.address().whisper(ctx, uid, v, options)
}

// Disconnect closes all sockets of a uid: see [Replica.Disconnect].
func (s GroupStub[G, R]) Disconnect(ctx context.Context, uid string, code int, reason string) (int, error) {
	g, leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return g.disconnect(ctx, voice{}, uid, code, reason)
}

// Gossip asks all replicas of the group: see [Replica.Gossip].
func (s GroupStub[G, R]) Gossip(ctx context.Context, v any) ([]Reply, error) {
	g, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return g.gossip(ctx, voice{}, nil, v)
}

// Replicas returns the current live replicas of the group, in the order in
// which they were created. It returns none when the group is not in memory.
func (s GroupStub[G, R]) Replicas() iter.Seq[ReplicaStats] {
	g, err := s.state()
	if err != nil {
		return func(func(ReplicaStats) bool) {}
	}
	return g.replicas()
}

// Drain stops new connections and requests from reaching a replica: see
// [Group.Drain]. In a handler it gives up the turn, and starts when the
// object's earlier writes are durable.
func (s GroupStub[G, R]) Drain(ctx context.Context, replica ID) error {
	g, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return object.AwaitDurable(ctx, nil, func() error { return g.restrict(replica, g.drain) })
}

// SetLocked locks a replica against newcomers, or unlocks it: see
// [Group.SetLocked]. In a handler it gives up the turn, and starts when the
// object's earlier writes are durable.
func (s GroupStub[G, R]) SetLocked(ctx context.Context, replica ID, locked bool) error {
	g, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return object.AwaitDurable(ctx, nil, func() error { return g.restrict(replica, g.setLocked(locked)) })
}
