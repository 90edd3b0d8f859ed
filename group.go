package dog

import (
	"context"
	"fmt"
	"iter"
)

// Group is embedded in a type of yours to make it a group: it spreads connections over replicas, each with at most Limit of
// them. See [RegisterGroup] and [Link].
//
// A group's methods may be called from any goroutine.
type Group struct {
	Object

	// Limit is the number of connections and requests that a replica may hold at a time; at least 1. It is read when the group
	// starts first and stays so for the group's life.
	Limit int

	// MaxReplicas bounds the number of live replicas, draining ones included. 0: no bound. Read together with Limit.
	MaxReplicas int
}

func (g *Group) group() *Group { return g }

func (g *Group) problem() string {
	switch {
	case g.Limit < 1:
		return fmt.Sprintf("its Limit is %d: setup must set Group.Limit to at least 1, also for the nameless T on which it is tried", g.Limit)
	case g.MaxReplicas < 0:
		return fmt.Sprintf("its MaxReplicas is %d: it must not be negative", g.MaxReplicas)
	}
	return ""
}

func (g *Group) books() (*books, error) {
	if g.core == nil {
		return nil, ErrNotRunning
	}
	return g.core.obj.books, g.core.silenced()
}

// Broadcast sends v (see [Encode]) to all sockets of the group.
func (g *Group) Broadcast(ctx context.Context, v any, opts ...SendOption) error {
	b, err := g.books()
	if err != nil {
		return err
	}
	return b.broadcast(ctx, b.group, "", v, opts)
}

// Whisper sends v (see [Encode]) to all sockets of a request id and returns their number; ErrNoTarget when there are none.
func (g *Group) Whisper(ctx context.Context, requestID string, v any, opts ...SendOption) (int, error) {
	b, err := g.books()
	if err != nil {
		return 0, err
	}
	return b.whisper(ctx, b.group, requestID, v, opts)
}

// Emit sends v (see [Encode]) to all sockets of one replica; ErrReplicaGone when the group has no such replica. It waits for
// no client (see [Replica.Emit]).
func (g *Group) Emit(replica ID, v any, opts ...SendOption) error {
	b, err := g.books()
	if err != nil {
		return err
	}
	return b.emit(replica, v, opts)
}

// Disconnect closes all sockets of a request id: see [Replica.Disconnect].
func (g *Group) Disconnect(ctx context.Context, requestID string, code int, reason string) (int, error) {
	b, err := g.books()
	if err != nil {
		return 0, err
	}
	return b.disconnect(ctx, b.group, requestID, code, reason)
}

// Gossip asks all replicas of the group at the same time and returns their answers: see [Replica.Gossip].
func (g *Group) Gossip(ctx context.Context, v any) ([]Reply, error) {
	b, err := g.books()
	if err != nil {
		return nil, err
	}
	return b.gossip(ctx, b.group, nil, v)
}

// Replicas returns the live replicas, in the order in which they were made, as they are now.
func (g *Group) Replicas() iter.Seq[ReplicaStats] {
	b, err := g.books()
	if err != nil {
		return func(func(ReplicaStats) bool) {}
	}
	return b.replicas()
}

// Drain lets no new connection or request reach a replica; those it has stay, and places reserved before are still good. It is
// retired within a second or so of the last one's end. Like a message, it takes place when what the group has stored before is
// durable. ErrReplicaGone when the group has no such replica.
func (g *Group) Drain(replica ID) error {
	b, err := g.books()
	if err != nil {
		return err
	}
	return b.drainLater(replica)
}
