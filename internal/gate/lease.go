package gate

import "errors"

// A Lease is implemented by [Commits] of which another node may become the
// owner. What an owner says that was replaced without its knowledge is stale,
// although it does not wait for the disk.
type Lease interface {
	// Live reports whether the node is the owner for certain.
	Live() bool

	// OnLive calls notify once: with nil when Live has become true, or with the
	// reason why it will not any more. notify must not block.
	OnLive(notify func(error))
}

// ErrTakenOver is the argument of send functions, and of the function for
// losses, if the lease is lost for good. [Gate.Recover] does not change that.
var ErrTakenOver = errors.New("another node has taken the object over")

// live reports whether the lease allows output.
func (g *Gate) live() bool { return !g.leased || g.commits.(Lease).Live() }

// renewed is called when the lease allows output again, or never will.
func (g *Gate) renewed(lost error) {
	g.mu.Lock()
	g.renewing = false
	g.revoked = g.revoked || lost != nil
	g.mu.Unlock()
	g.release(nil)
}
