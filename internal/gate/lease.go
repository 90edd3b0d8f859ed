package gate

// A Lease is implemented by [Commits] of which another node may become the
// owner. What an owner says that was replaced without its knowledge is stale,
// although it does not wait for the disk.
type Lease interface {
	// Live reports whether the node is the owner for certain.
	Live() bool

	// OnLive calls notify once: with nil when Live has become true, or with the
	// reason why it will not. notify must not block.
	OnLive(notify func(error))
}

// live reports whether the lease allows output.
func (g *Gate) live() bool { return !g.leased || g.commits.(Lease).Live() }

// renewed is called when the lease allows output again, or never will.
func (g *Gate) renewed(lost error) {
	g.mu.Lock()
	g.renewing = false
	g.mu.Unlock()
	g.release(lost)
}
