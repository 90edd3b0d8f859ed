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
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.linked == nil {
		g.linked = r
	}
	if g.linked != r {
		return &Family[G, R]{err: fmt.Errorf("%w: %q is linked to %q, not to %q", ErrNotLinked, g.name, g.linked.name, r.name)}
	}
	return &Family[G, R]{groups: g}
}

// check tells whether the group belongs to the family.
func (f *Family[G, R]) check(group Stub[G]) error {
	switch {
	case f == nil:
		return fmt.Errorf("%w: the family is nil", ErrNotLinked)
	case f.err != nil:
		return f.err
	case f.groups == nil || group.to == nil:
		return ErrNotRunning
	case group.to.ns != f.groups:
		return fmt.Errorf("%w: the group belongs to another family", ErrNotLinked)
	}
	return nil
}

// enter finds the books of a group and lets a caller from outside in; leave must follow when there is no error. The books are
// nil when the group is not in memory: then it has no replicas either.
func (f *Family[G, R]) enter(group Stub[G]) (b *books, leave func(), err error) {
	if err := f.check(group); err != nil {
		return nil, nil, err
	}
	rt := f.groups.rt
	if err := rt.enter(); err != nil {
		return nil, nil, err
	}
	if o := f.groups.find(group.to.id); o != nil {
		return o.books, rt.leave, nil
	}
	return &books{group: &object{ns: f.groups, id: group.to.id, name: group.to.name}}, rt.leave, nil
}

// Broadcast sends v (see [Encode]) to all sockets of the group.
func (f *Family[G, R]) Broadcast(ctx context.Context, group Stub[G], v any, opts ...SendOption) error {
	b, leave, err := f.enter(group)
	if err != nil {
		return err
	}
	defer leave()
	return b.broadcast(ctx, "", v, opts)
}

// Whisper sends v (see [Encode]) to all sockets of a request id and returns their number; ErrNoTarget when there are none.
func (f *Family[G, R]) Whisper(ctx context.Context, group Stub[G], requestID string, v any, opts ...SendOption) (int, error) {
	b, leave, err := f.enter(group)
	if err != nil {
		return 0, err
	}
	defer leave()
	return b.whisper(ctx, requestID, v, opts)
}

// Emit sends v (see [Encode]) to all sockets of one replica; ErrReplicaGone when the group has no such replica.
func (f *Family[G, R]) Emit(group Stub[G], replica ID, v any, opts ...SendOption) error {
	b, leave, err := f.enter(group)
	if err != nil {
		return err
	}
	defer leave()
	b.mu.Lock()
	r, err := b.replicaLocked(replica)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return r.Value.emit("", v, opts)
}

// Gossip asks all replicas of the group: see [Replica.Gossip].
func (f *Family[G, R]) Gossip(ctx context.Context, group Stub[G], v any) ([]Reply, error) {
	b, leave, err := f.enter(group)
	if err != nil {
		return nil, err
	}
	defer leave()
	return b.gossip(ctx, nil, v)
}

// Replicas returns the live replicas of the group, in the order in which they were made, as they are now.
func (f *Family[G, R]) Replicas(group Stub[G]) iter.Seq[ReplicaStats] {
	return func(yield func(ReplicaStats) bool) {
		b, leave, err := f.enter(group)
		if err != nil {
			return
		}
		defer leave()
		b.replicas()(yield)
	}
}

// Drain lets no new connection or request reach a replica: see [Group.Drain].
func (f *Family[G, R]) Drain(group Stub[G], replica ID) error {
	b, leave, err := f.enter(group)
	if err != nil {
		return err
	}
	defer leave()
	return b.drain(replica)
}
