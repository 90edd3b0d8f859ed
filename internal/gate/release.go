package gate

// release calls the entries that have become durable, in order, and requests a
// call for the others. If another goroutine is calling entries, that goroutine
// continues instead.
func (g *Gate) release(lost error) {
	g.mu.Lock()
	first := lost != nil && g.failed == nil
	if first {
		g.failed = lost
	}
	if g.releasing {
		g.mu.Unlock()
		if first {
			g.lost(lost)
		}
		return
	}
	g.releasing = true
	for g.head < len(g.held) && g.paused == 0 {
		e := g.held[g.head]
		if e.commit == open {
			break
		}
		err, known := g.outcomeLocked(e)
		if !known {
			if !g.askLocked(e.commit) {
				break
			}
			continue
		}
		g.held[g.head] = entry{}
		if g.head++; g.head == len(g.held) {
			g.held, g.head = g.held[:0], 0
		}
		g.mu.Unlock()
		e.send(err)
		g.mu.Lock()
	}
	g.releasing = false
	taken := g.revoked && !g.announced
	g.announced = g.revoked
	g.mu.Unlock()
	if first {
		g.lost(lost)
	} else if taken {
		g.lost(ErrTakenOver)
	}
}

// outcomeLocked returns the argument for an entry, if that is known. What has
// been undone says nothing of the object, so it needs no lease. The caller must
// hold mu.
func (g *Gate) outcomeLocked(e entry) (err error, known bool) {
	switch {
	case e.commit > g.commits.Durable():
		return g.failed, g.failed != nil
	case e.undone != nil:
		return e.undone, true
	case g.revoked:
		return ErrTakenOver, true
	}
	return nil, g.live()
}

// askLocked requests a call for the entry of a commit, and reports false if a
// request is under way. The caller must hold mu, which it gives up meanwhile.
func (g *Gate) askLocked(commit uint64) bool {
	switch {
	case commit > g.commits.Durable():
		if g.asked >= commit {
			return false
		}
		// Request it for the latest commit that an entry waits for, so that one
		// call serves all of them.
		commit = g.lastWaitedLocked()
		g.asked = commit
		g.mu.Unlock()
		g.commits.OnDurable(commit, g.release)
	case g.leased && !g.live():
		if g.renewing {
			return false
		}
		g.renewing = true
		g.mu.Unlock()
		g.commits.(Lease).OnLive(g.renewed)
	default: // known by now
		return true
	}
	g.mu.Lock()
	return true
}

// lastWaitedLocked returns the latest commit that an entry waits for. The
// caller must hold mu.
func (g *Gate) lastWaitedLocked() uint64 {
	for i := len(g.held) - 1; i >= g.head; i-- {
		if g.held[i].commit != open {
			return g.held[i].commit
		}
	}
	return 0
}
