package dog

import "context"

// Replica is embedded in a user's type to make it a replica: one of the objects
// over which a group spreads its clients. Replicas are shards, not copies. Each
// has its own sockets, fields and storage. See [RegisterReplica].
//
// A replica's storage belongs to its ID. If the group names its replicas
// ([Clusterizer]), the ID follows from the name. Otherwise a new replica takes
// over the storage of one of the group's earlier replicas that is not in
// memory, if there is one. This way no stored data is out of reach. A replica
// that should begin empty calls DeleteAll in OnStart.
//
// Do not name a replica after its client: the next client would get its data.
// If each client has data of its own, use an [Object] for each.
//
// A replica's methods may be called from any goroutine.
type Replica struct{ crowd }

func (r *Replica) embedsReplica() {}

func (r *Replica) embedsOne() {}

// GroupName returns the name of the replica's group.
func (r *Replica) GroupName() string {
	if o, err := r.running(); err == nil {
		return o.replica.group.obj.Name
	}
	return ""
}

// Emit sends v (see [Encode]) to all sockets of this replica. It keeps the turn
// and does not wait for clients. Only when more is sent than the machine can
// write, it waits until the half megabyte ahead of it has been written or
// queued.
func (r *Replica) Emit(v any, options ...SendOption) error {
	o, err := r.running()
	if err != nil {
		return err
	}
	return o.emit(o, nil, v, options)
}

// Broadcast sends v (see [Encode]) to all sockets of the group. Like Emit, it
// keeps the turn and does not wait for clients.
func (r *Replica) Broadcast(v any, options ...SendOption) error {
	o, err := r.running()
	if err != nil {
		return err
	}
	return o.replica.group.broadcast(o, nil, v, options)
}

// Whisper sends v (see [Encode]) to all sockets of a uid, on any replica, and
// returns their number. It returns ErrNoTarget when there are none. In a
// handler it gives up the turn, and needs the handler's context: with another
// one it waits for the handler itself, at most 30 s, and sends nothing (see
// [ErrPastGate]).
func (r *Replica) Whisper(ctx context.Context, uid string, v any, options ...SendOption) (int, error) {
	o, err := r.running()
	if err != nil {
		return 0, err
	}
	return o.replica.group.whisper(ctx, o, uid, v, options)
}

// Disconnect closes all open sockets of a uid, on any replica, as
// [Socket.Close] does, and returns their number. It returns ErrNoTarget when
// there are none. In a handler it gives up the turn, and needs the handler's
// context, as Whisper does.
func (r *Replica) Disconnect(ctx context.Context, uid string, code int, reason string) (int, error) {
	o, err := r.running()
	if err != nil {
		return 0, err
	}
	return o.replica.group.disconnect(ctx, o, uid, code, reason)
}

// SetLocked locks this replica against newcomers, or unlocks it: see
// [Group.SetLocked]. It takes effect when the replica's earlier writes are
// durable. It keeps the turn. It returns ErrReplicaGone when the replica has
// been retired.
func (r *Replica) SetLocked(locked bool) error {
	o, err := r.running()
	if err != nil {
		return err
	}
	return o.replica.group.restrictLater(o, o.id(), o.replica.group.setLocked(locked))
}
