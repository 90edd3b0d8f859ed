package dog

import (
	"context"
	"fmt"
	"iter"
)

// A Family is a group type and the replica type it spreads over: who belongs to whom in [Identify], and the way to groups from
// outside any object, such as from an HTTP handler, a queue's consumer or a timer. A Family is safe for concurrent use.
type Family[G, R any] struct {
	groups *namespace
	err    error
}

// Link makes the groups of one namespace spread over replicas of another. A group type is linked to one replica type; to link
// it again, to another or in another runtime, gives a family whose every use is ErrNotLinked. Several group types may share a
// replica type.
func Link[G, R any, PG groupType[G], PR replicaType[R]](groups *Namespace[G], replicas *Namespace[R]) *Family[G, R] {
	if groups == nil || groups.ns == nil || replicas == nil || replicas.ns == nil {
		return &Family[G, R]{err: ErrNotRunning}
	}
	g, r := groups.ns, replicas.ns
	if g.rt != r.rt {
		return &Family[G, R]{err: fmt.Errorf("%w: %q and %q belong to different runtimes", ErrNotLinked, g.name, r.name)}
	}
	if linked := g.link(r); linked != r {
		err := fmt.Errorf("%w: %q is linked to %q, not to %q", ErrNotLinked, g.name, linked.name, r.name)
		g.rt.opts.Logger.Error("types not linked", "error", err)
		return &Family[G, R]{err: err}
	}
	return &Family[G, R]{groups: g}
}

// link makes r the replicas of a group type that has none yet, and returns those that it has.
func (ns *namespace) link(r *namespace) *namespace {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.linked == nil {
		ns.linked = r
	}
	return ns.linked
}

// address returns where a group of the family is.
func (f *Family[G, R]) address(group Stub[G]) (*address, error) {
	a, _ := group.to.(*address) // only replicas have another target
	switch {
	case f == nil:
		return nil, fmt.Errorf("%w: the family is nil", ErrNotLinked)
	case f.err != nil:
		return nil, f.err
	case f.groups == nil || a == nil:
		return nil, ErrNotRunning
	case a.ns != f.groups:
		return nil, fmt.Errorf("%w: the group belongs to another family", ErrNotLinked)
	}
	return a, nil
}

// books returns what is known of a group. One that is not in memory has no replicas, so empty books do.
func (f *Family[G, R]) books(group Stub[G]) (*books, error) {
	to, err := f.address(group)
	if err != nil {
		return nil, err
	}
	if o := to.ns.find(to.id); o != nil {
		return o.books, nil
	}
	return newBooks(newObject(to.ns, to.id, to.name)), nil
}

// enter is books for what may wait: it lets a caller from outside in; leave must follow when there is no error.
func (f *Family[G, R]) enter(ctx context.Context, group Stub[G]) (b *books, leave func(), err error) {
	if b, err = f.books(group); err != nil {
		return nil, nil, err
	}
	if leave, err = b.runtime().enterFrom(ctx); err != nil {
		return nil, nil, err
	}
	return b, leave, nil
}

// Broadcast sends v (see [Encode]) to all sockets of the group.
func (f *Family[G, R]) Broadcast(ctx context.Context, group Stub[G], v any, opts ...SendOption) error {
	b, leave, err := f.enter(ctx, group)
	if err != nil {
		return err
	}
	defer leave()
	return b.broadcast(ctx, nil, "", v, opts)
}

// Whisper sends v (see [Encode]) to all sockets of a request id and returns their number; ErrNoTarget when there are none.
func (f *Family[G, R]) Whisper(ctx context.Context, group Stub[G], requestID string, v any, opts ...SendOption) (int, error) {
	b, leave, err := f.enter(ctx, group)
	if err != nil {
		return 0, err
	}
	defer leave()
	return b.whisper(ctx, nil, requestID, v, opts)
}

// Emit sends v (see [Encode]) to all sockets of one replica; ErrReplicaGone
// when the group has no such replica. In a handler it gives up the turn.
func (f *Family[G, R]) Emit(ctx context.Context, group Stub[G], replica ID, v any, opts ...SendOption) error {
	b, err := f.books(group)
	if err != nil {
		return err
	}
	return b.emitFrom(ctx, replica, v, opts)
}

// Disconnect closes all sockets of a request id: see [Replica.Disconnect].
func (f *Family[G, R]) Disconnect(ctx context.Context, group Stub[G], requestID string, code int, reason string) (int, error) {
	b, leave, err := f.enter(ctx, group)
	if err != nil {
		return 0, err
	}
	defer leave()
	return b.disconnect(ctx, nil, requestID, code, reason)
}

// Gossip asks all replicas of the group: see [Replica.Gossip].
func (f *Family[G, R]) Gossip(ctx context.Context, group Stub[G], v any) ([]Reply, error) {
	b, leave, err := f.enter(ctx, group)
	if err != nil {
		return nil, err
	}
	defer leave()
	return b.gossip(ctx, nil, nil, v)
}

// Replicas returns the live replicas of the group, in the order in which they were made, as they are now; none when the group is
// not in memory or does not belong to the family.
func (f *Family[G, R]) Replicas(group Stub[G]) iter.Seq[ReplicaStats] {
	b, err := f.books(group)
	if err != nil {
		return func(func(ReplicaStats) bool) {}
	}
	return b.replicas()
}

// Drain lets no new connection or request reach a replica: see [Group.Drain].
// In a handler it gives up the turn, and begins when what the object stored
// before is durable.
func (f *Family[G, R]) Drain(ctx context.Context, group Stub[G], replica ID) error {
	b, err := f.books(group)
	if err != nil {
		return err
	}
	return awaitDurable(ctx, nil, func() error { return b.drain(replica) })
}
