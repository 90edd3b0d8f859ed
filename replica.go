package dog

import "context"

// Replica is embedded in a type of yours to make it a replica: one of the
// objects over which a group spreads its clients. Replicas are shards, not
// copies: each has its own sockets, fields and storage. See [RegisterReplica].
//
// A replica has the storage of its ID. Where the group names its replicas
// ([Clusterizer]), that is the one of its name; otherwise a new replica takes
// up what one of the group's earlier replicas has stored, if there is such a
// one that is not in memory, so that nothing that was stored is out of reach.
// One that wants to begin empty calls DeleteAll in OnStart. So a replica must
// not be named after its client: the next client would get what it has stored.
// Where each client has something of its own, make that an [Object].
//
// A replica's methods may be called from any goroutine.
type Replica struct{ crowd }

func (r *Replica) embedsReplica() {}

func (r *Replica) embedsOne() {}

func (r *Replica) member() (*member, error) {
	o, err := r.speaker()
	if o == nil {
		return nil, err
	}
	return o.member, err
}

// GroupName returns the name of the replica's group.
func (r *Replica) GroupName() string {
	if m, err := r.member(); err == nil {
		return m.books.group.name
	}
	return ""
}

// Emit sends v (see [Encode]) to all sockets of this replica. It keeps the turn
// and waits for no client; only when more is sent than the machine can write,
// it waits until the half megabyte that is ahead of it has been written or
// queued.
func (r *Replica) Emit(v any, options ...SendOption) error {
	m, err := r.member()
	if err != nil {
		return err
	}
	return m.obj.emit(m.obj, nil, v, options)
}

// Broadcast sends v (see [Encode]) to all sockets of the group. It keeps the
// turn and waits for no client, as Emit does.
func (r *Replica) Broadcast(v any, options ...SendOption) error {
	m, err := r.member()
	if err != nil {
		return err
	}
	return m.books.broadcast(m.obj, nil, v, options)
}

// Whisper sends v (see [Encode]) to all sockets of a uid, whichever replicas
// they are on, and returns their number; ErrNoTarget when there are none. In a
// handler it gives up the turn.
func (r *Replica) Whisper(ctx context.Context, uid string, v any, options ...SendOption) (int, error) {
	m, err := r.member()
	if err != nil {
		return 0, err
	}
	return m.books.whisper(ctx, m.obj, uid, v, options)
}

// Disconnect closes all sockets of a uid, whichever replicas they are on, as
// [Socket.Close] does, and returns their number; ErrNoTarget when there are
// none. In a handler it gives up the turn.
func (r *Replica) Disconnect(ctx context.Context, uid string, code int, reason string) (int, error) {
	m, err := r.member()
	if err != nil {
		return 0, err
	}
	return m.books.disconnect(ctx, m.obj, uid, code, reason)
}

// SetLocked keeps newcomers out of this replica, or lets them in again: see
// [Group.SetLocked]. It takes place when what the replica has stored before is
// durable. It keeps the turn. ErrReplicaGone when the replica has been retired.
func (r *Replica) SetLocked(locked bool) error {
	m, err := r.member()
	if err != nil {
		return err
	}
	return m.books.restrictLater(m.obj, m.obj.id, m.books.setLocked(locked))
}
