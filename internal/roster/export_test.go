package roster

// Pending reports whether time alone will change something: a reservation, an
// id counted by [Book.Lingering], or an empty replica. Then Tick must be called
// now and then.
func (b *Book[R, S]) Pending() bool {
	empty := func(l *loadBuckets) bool { return l.bottom() != nil && l.bottom().load == 0 }
	return b.reserved.Head() != nil || b.Lingering() > 0 || empty(&b.drained) || empty(&b.open) || empty(&b.locked)
}

// Held reports whether the place still counts: it was not released, and its
// reservation has not been seen to expire.
func (p *Place[R, S]) Held() bool { return p.state != released }

// Replica returns the replica added under id, or nil if there is none.
func (b *Book[R, S]) Replica(id string) *Replica[R, S] { return b.replicas.m[id] }
