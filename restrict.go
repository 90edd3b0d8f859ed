package dog

import "github.com/godurable/dog/internal/roster"

// rosterReplica is an entry for a replica in a group's books.
type rosterReplica = roster.Replica[*member, *Socket]

// drain stops new requests from reaching a replica.
func (b *books) drain(r *rosterReplica) { b.book.Drain(r, b.runtime().now()) }

// setLocked closes a replica to new clients, or opens it again.
func (b *books) setLocked(locked bool) func(*rosterReplica) {
	return func(r *rosterReplica) { b.book.SetLocked(r, locked, b.runtime().now()) }
}

// restrict calls f for a replica of the group, with mu held. It returns
// ErrReplicaGone if the group has no replica with this ID.
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

// restrictLater is restrict, delayed until the gate of the speaker opens.
func (b *books) restrictLater(speaker *object, id ID, f func(*rosterReplica)) error {
	if _, err := b.member(id); err != nil {
		return err
	}
	if err := speaker.heard(); err != nil {
		return err
	}
	speaker.gate.Say(func(lost error) {
		if lost == nil {
			_ = b.restrict(id, f) // a replica that has gone since admits no clients either
		}
	})
	return nil
}
