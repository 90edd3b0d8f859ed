package conn

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Poller parks connections that have been silent for a while: it ends their
// goroutines and lets the kernel report when there is something to read. If the
// kernel cannot do that (only Linux can, and only for plain TCP or Unix
// sockets), connections keep their goroutines. A Poller is safe for concurrent
// use. A nil Poller parks nothing.
type Poller struct {
	after time.Duration // fixed
	first chan struct{} // closed when the first connection is watched

	mu      sync.Mutex
	awake   []*Conn // guarded by mu: connections with a goroutine that reads
	parked  []*Conn // guarded by mu: indexed by token; nil: free
	free    []int32 // guarded by mu: free tokens
	kernel  *epoll  // guarded by mu: nil before Run opens it and after Run closes it
	started bool    // guarded by mu: first is closed
}

// neverReceived is a byte count that no connection has, so that the first
// sweep, which may come at once, sees activity.
const neverReceived = 1<<64 - 1

// parking is the state that a Poller keeps for a connection. It is guarded by
// Poller.mu.
type parking struct {
	bytes   uint64 // received until the last sweep
	index   int32  // in Poller.awake
	token   int32  // index in Poller.parked plus one; 0: none
	awake   bool
	waiting bool // the kernel knows the connection
}

// NewPoller returns a Poller, to be started by Run. It parks connections that
// have been silent for one to two times after.
func NewPoller(after time.Duration) *Poller {
	return &Poller{after: after, first: make(chan struct{})}
}

// watch starts watching c, which has a goroutine that reads.
func (p *Poller) watch(c *Conn) {
	if p == nil || !c.direct.ok() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.parking.awake {
		return
	}
	c.parking.awake, c.parking.index, c.parking.bytes = true, int32(len(p.awake)), neverReceived
	p.awake = append(p.awake, c)
	if !p.started {
		p.started = true
		close(p.first)
	}
}

// forget stops watching c.
func (p *Poller) forget(c *Conn) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unwatchLocked(c)
	if c.parking.token > 0 {
		p.parked[c.parking.token-1] = nil
		p.free = append(p.free, c.parking.token-1)
		c.parking.token = 0
	}
}

func (p *Poller) unwatchLocked(c *Conn) {
	if !c.parking.awake {
		return
	}
	last := len(p.awake) - 1
	moved := p.awake[last]
	p.awake[c.parking.index], moved.parking.index = moved, c.parking.index
	p.awake[last] = nil
	p.awake = p.awake[:last]
	c.parking.awake = false
}

// arm asks the kernel to report once when c has something to read. It returns
// false if that is not possible.
func (p *Poller) arm(c *Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kernel == nil {
		return false
	}
	if c.parking.token == 0 {
		if n := len(p.free); n > 0 {
			c.parking.token = p.free[n-1] + 1
			p.free = p.free[:n-1]
		} else {
			p.parked = append(p.parked, nil)
			c.parking.token = int32(len(p.parked))
		}
	}
	p.parked[c.parking.token-1] = c
	if p.kernel.arm(c.direct, c.parking.token-1, c.parking.waiting) != nil {
		return false
	}
	c.parking.waiting = true
	p.unwatchLocked(c)
	return true
}

// wake starts goroutines for the connections with these tokens. A token may
// have been reassigned to another connection, whose goroutine then finds
// nothing to read.
func (p *Poller) wake(tokens []int32) {
	for _, t := range tokens {
		p.mu.Lock()
		c := p.parked[t]
		p.mu.Unlock()
		if c != nil {
			c.mu.Lock()
			c.rouseLocked()
			c.mu.Unlock()
		}
	}
}

// Run looks for silent connections until ctx is done. It runs in the caller's
// goroutine and must be called only once.
func (p *Poller) Run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-p.first:
	}
	kernel, err := openEpoll()
	if err != nil {
		<-ctx.Done() // without epoll, connections keep their goroutines, as on other platforms
		return
	}
	p.mu.Lock()
	p.kernel = kernel
	p.mu.Unlock()
	var waiting sync.WaitGroup
	waiting.Go(func() { kernel.wait(p.wake) })

	p.look(ctx)
	p.mu.Lock()
	p.kernel = nil
	parked := slices.Clone(p.parked)
	p.mu.Unlock()
	kernel.close()
	waiting.Wait()
	for _, c := range parked {
		if c != nil {
			c.mu.Lock()
			c.rouseLocked()
			c.mu.Unlock()
		}
	}
}

// look asks connections to park when they are silent, until ctx is done.
func (p *Poller) look(ctx context.Context) {
	ticker := time.NewTicker(p.after)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, c := range p.silent() {
			c.askToPark()
		}
	}
}

// silent returns the connections that have received nothing since the last call
// and whose reader is waiting.
func (p *Poller) silent() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var silent []*Conn
	for _, c := range p.awake {
		bytes := c.bytesIn.Load()
		if bytes == c.parking.bytes && c.phase.Load()%2 == 1 {
			silent = append(silent, c)
		}
		c.parking.bytes = bytes
	}
	return silent
}

// askToPark interrupts a waiting reader so that it parks.
func (c *Conn) askToPark() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parked || c.readDone || c.dead || c.ending != nil {
		return
	}
	c.parkAsked = true
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

// park parks the connection if the reader was asked to. The reader must have
// found nothing to read. again means that it should try again.
func (c *Conn) park() (parked, again bool) {
	p := c.opts.Poller
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.parkAsked
	c.parkAsked = false
	if !asked && !c.in.none {
		return false, false
	}
	if c.dead || c.ending != nil {
		c.in.active = true
		return false, true
	}
	c.nc.SetReadDeadline(time.Time{})
	if !p.arm(c) { // the kernel has no room for it
		c.in.active = true
		return false, true
	}
	c.dropBuffer()
	c.out.shrink()
	c.in.active = false
	c.parked = true
	return true, false
}

// rouseLocked starts a goroutine for a parked connection: one that reads, or
// one that waits for the peer to hang up. The caller must hold mu.
func (c *Conn) rouseLocked() {
	switch {
	case c.parked:
		c.parked = false
		c.opts.Poller.watch(c)
		c.opts.Wake(c)
	case c.resting:
		c.resting = false
		go c.discard()
	}
}
