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

func (r *Replica) state() (*replicaState, error) {
	o, err := r.running()
	if o == nil {
		return nil, err
	}
	return o.replica, err
}

// GroupName returns the name of the replica's group.
func (r *Replica) GroupName() string {
	if state, err := r.state(); err == nil {
		return state.group.obj.Name
	}
	return ""
}

// Emit sends v (see [Encode]) to all sockets of this replica. It keeps the turn
// and does not wait for clients. Only when more is sent than the machine can
// write, it waits until the half megabyte ahead of it has been written or
// queued.
func (r *Replica) Emit(v any, options ...SendOption) error {
	state, err := r.state()
	if err != nil {
		return err
	}
	return state.obj.emit(state.obj, nil, v, options)
}

// Broadcast sends v (see [Encode]) to all sockets of the group. Like Emit, it
// keeps the turn and does not wait for clients.
func (r *Replica) Broadcast(v any, options ...SendOption) error {
	state, err := r.state()
	if err != nil {
		return err
	}
	return state.group.broadcast(state.obj, nil, v, options)
}

// Whisper sends v (see [Encode]) to all sockets of a uid, on any replica, and
// returns their number. It returns ErrNoTarget when there are none. In a
// handler it gives up the turn.
func (r *Replica) Whisper(ctx context.Context, uid string, v any, options ...SendOption) (int, error) {
	state, err := r.state()
	if err != nil {
		return 0, err
	}
	return state.group.whisper(ctx, &state.obj.Object, uid, v, options)
}

// Disconnect closes all open sockets of a uid, on any replica, as
// [Socket.Close] does, and returns their number. It returns ErrNoTarget when
// there are none. In a handler it gives up the turn.
func (r *Replica) Disconnect(ctx context.Context, uid string, code int, reason string) (int, error) {
	state, err := r.state()
	if err != nil {
		return 0, err
	}
	return state.group.disconnect(ctx, &state.obj.Object, uid, code, reason)
}

// SetLocked locks this replica against newcomers, or unlocks it: see
// [Group.SetLocked]. It takes effect when the replica's earlier writes are
// durable. It keeps the turn. It returns ErrReplicaGone when the replica has
// been retired.
func (r *Replica) SetLocked(locked bool) error {
	state, err := r.state()
	if err != nil {
		return err
	}
	return state.group.restrictLater(state.obj, state.obj.id(), state.group.setLocked(locked))
}
