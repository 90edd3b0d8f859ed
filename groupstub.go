package dog

import (
	"context"
	"iter"
)

// GroupStub is the stub of a group. It gives access to the group's replicas
// from outside any object, such as from an HTTP handler, a queue consumer or a
// timer.
type GroupStub[G, R any] struct{ Stub[G] }

// address returns the address of the group. It returns nil for a zero stub.
func (s GroupStub[G, R]) address() *address {
	a, _ := s.to.(*address)
	return a
}

// books returns the books of the group. A group that is not in memory has no
// replicas, so books returns empty books for it.
func (s GroupStub[G, R]) books() (*books, error) {
	to := s.address()
	if to == nil {
		return nil, notRunning("GroupStub")
	}
	if to.refusal != nil {
		return nil, to.refusal
	}
	if o := to.ns.find(to.id); o != nil {
		return o.books, nil
	}
	return newBooks(newObject(to.ns, to.id, to.name)), nil
}

// enter is like books, for operations that may wait. It admits a caller from
// outside. If enter returns no error, the caller must call leave.
func (s GroupStub[G, R]) enter(ctx context.Context) (b *books, leave func(), err error) {
	if b, err = s.books(); err != nil {
		return nil, nil, err
	}
	if leave, err = b.runtime().enterFrom(ctx); err != nil {
		return nil, nil, err
	}
	return b, leave, nil
}

// Broadcast sends v (see [Encode]) to all sockets of the group. In a handler it
// gives up the turn.
func (s GroupStub[G, R]) Broadcast(ctx context.Context, v any, options ...SendOption) error {
	b, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return b.broadcastFrom(ctx, v, options)
}

// Emit sends v (see [Encode]) to all sockets of one replica. It returns
// ErrReplicaGone when the group has no such replica. In a handler it gives up
// the turn.
func (s GroupStub[G, R]) Emit(ctx context.Context, replica ID, v any, options ...SendOption) error {
	b, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return b.emitFrom(ctx, replica, v, options)
}

// Whisper sends v (see [Encode]) to all sockets of a uid and returns their
// number. It returns ErrNoTarget when there are none. In a handler it gives up
// the turn.
func (s GroupStub[G, R]) Whisper(ctx context.Context, uid string, v any, options ...SendOption) (int, error) {
	b, leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return b.whisper(ctx, nil, uid, v, options)
}

// Disconnect closes all sockets of a uid: see [Replica.Disconnect].
func (s GroupStub[G, R]) Disconnect(ctx context.Context, uid string, code int, reason string) (int, error) {
	b, leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return b.disconnect(ctx, nil, uid, code, reason)
}

// Gossip asks all replicas of the group: see [Replica.Gossip].
func (s GroupStub[G, R]) Gossip(ctx context.Context, v any) ([]Reply, error) {
	b, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return b.gossip(ctx, nil, nil, v)
}

// Replicas returns the current live replicas of the group, in the order in
// which they were created. It returns none when the group is not in memory.
func (s GroupStub[G, R]) Replicas() iter.Seq[ReplicaStats] {
	b, err := s.books()
	if err != nil {
		return func(func(ReplicaStats) bool) {}
	}
	return b.replicas()
}

// Drain stops new connections and requests from reaching a replica: see
// [Group.Drain]. In a handler it gives up the turn, and starts when the
// object's earlier writes are durable.
func (s GroupStub[G, R]) Drain(ctx context.Context, replica ID) error {
	b, err := s.books()
	if err != nil {
		return err
	}
	return awaitDurable(ctx, nil, func() error { return b.restrict(replica, b.drain) })
}

// SetLocked locks a replica against newcomers, or unlocks it: see
// [Group.SetLocked]. In a handler it gives up the turn, and starts when the
// object's earlier writes are durable.
func (s GroupStub[G, R]) SetLocked(ctx context.Context, replica ID, locked bool) error {
	b, err := s.books()
	if err != nil {
		return err
	}
	return awaitDurable(ctx, nil, func() error { return b.restrict(replica, b.setLocked(locked)) })
}
