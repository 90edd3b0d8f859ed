package roster

// Pending reports whether time alone will change something: a reservation, an id counted by [Book.Lingering], or an
// empty replica. Then Tick must be called now and then.
func (b *Book[R, S]) Pending() bool {
	bottom := b.open.bottom()
	return b.reserved.head != nil || b.lingers.count > 0 || b.drained.bottom() != nil || bottom != nil && bottom.load == 0
}

// Held reports whether the place still counts: it was not released, and its reservation has not been seen to expire.
func (p *Place[R, S]) Held() bool { return p.state != released }
