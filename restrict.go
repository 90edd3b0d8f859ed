package dog

import "github.com/godurable/dog/internal/roster"

// rosterReplica is what a group's books know of a replica.
type rosterReplica = roster.Replica[*member, *Socket]

// drain lets no new request reach a replica.
func (b *books) drain(r *rosterReplica) { b.book.Drain(r, b.runtime().now()) }

// setLocked keeps newcomers out of a replica, or lets them in again.
func (b *books) setLocked(locked bool) func(*rosterReplica) {
	return func(r *rosterReplica) { b.book.SetLocked(r, locked, b.runtime().now()) }
}

// restrict calls f, with mu held, for a replica of the group; ErrReplicaGone
// when there is none of this ID.
func (b *books) restrict(id ID, f func(*rosterReplica)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, err := b.replicaLocked(id)
	if err != nil {
		return err
	}
	f(r)
	return nil
}

// restrictLater is restrict when the gate of the speaker opens.
func (b *books) restrictLater(speaker *object, id ID, f func(*rosterReplica)) error {
	if _, err := b.member(id); err != nil {
		return err
	}
	if err := speaker.heard(); err != nil {
		return err
	}
	speaker.gate.Say(func(lost error) {
		if lost == nil {
			_ = b.restrict(id, f) // one that has gone since takes nobody either
		}
	})
	return nil
}
