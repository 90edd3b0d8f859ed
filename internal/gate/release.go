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
		err := e.undone
		durable := e.commit <= g.commits.Durable()
		if !durable || !g.live() {
			if g.failed == nil {
				if !g.askLocked(e.commit, durable) {
					break
				}
				continue
			}
			err = g.failed
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
	g.mu.Unlock()
	if first {
		g.lost(lost)
	}
}

// askLocked requests a call for the entry of a commit, and reports false if a
// request is under way. The caller must hold mu, which it gives up meanwhile.
func (g *Gate) askLocked(commit uint64, durable bool) bool {
	switch {
	case durable && !g.renewing:
		g.renewing = true
		g.mu.Unlock()
		g.commits.(Lease).OnLive(g.renewed)
	case !durable && g.asked < commit:
		// Request it for the latest commit that an entry waits for, so that one
		// call serves all of them.
		commit = g.lastWaitedLocked()
		g.asked = commit
		g.mu.Unlock()
		g.commits.OnDurable(commit, g.release)
	default:
		return false
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
