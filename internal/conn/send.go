package conn

import (
	"fmt"
	"slices"
)

// How messages come to wait for a connection, and what the policy does when
// they are too many.

// Send queues f, or writes it at once, and never blocks. A non-empty key names
// what f is the latest value of, for policy Coalesce. f may be sent to any
// number of connections. The error is nil (sent, queued, or dropped and counted
// under DropOldest), [ErrSlow] (f did not fit: what waited was dropped and the
// connection is being closed with 1008) or [ErrClosed], which wraps ErrSlow too
// when that is why.
func (c *Conn) Send(f *Frame, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.overLocked() {
		if c.slowLocked() {
			return errClosedSlow
		}
		return ErrClosed
	}
	c.catchUpLocked()
	if c.nimbleLocked() && !c.writing && c.out.len() > 0 && c.out.bytes+f.Len() > c.opts.QueueBytes {
		c.flushLocked() // nobody is slow before the kernel has been asked
		c.catchUpLocked()
	}
	if c.overLocked() || !c.offerLocked(item{f, key}) {
		if c.slowLocked() {
			return ErrSlow
		}
		return ErrClosed
	}
	// The answer to what the peer has just sent leaves at once. What follows is
	// worth being gathered.
	if phase := c.phase.Load(); phase%2 == 0 && phase != c.replied && c.nimbleLocked() && !c.writing {
		c.replied = phase
		c.flushLocked()
	} else {
		c.wakeLocked()
	}
	return nil
}

var errClosedSlow = fmt.Errorf("%w: %w", ErrClosed, ErrSlow)

// overLocked reports whether nothing can be sent any more. The caller must hold
// mu.
func (c *Conn) overLocked() bool { return c.dead || c.readDone || c.farewell != nil }

// nimbleLocked reports whether the connection can be written without waiting,
// as far as is known. The caller must hold mu.
func (c *Conn) nimbleLocked() bool { return c.direct.ok() && !c.backedUp }

// ownLocked reports whether anything waits besides what is in the shard's log.
// The caller must hold mu.
func (c *Conn) ownLocked() bool {
	return c.out.len() > 0 || c.begun != nil || c.pong != nil || c.ping || c.farewell != nil && !c.closeTaken
}

// roomLocked returns how many bytes may wait when f has joined them. The caller
// must hold mu.
func (c *Conn) roomLocked(f *Frame) int {
	room := c.opts.QueueBytes - c.inflight
	if f.Len() > c.opts.QueueBytes || c.out.bytes+f.Len() <= room || c.tooSlowLocked() {
		return room
	}
	return room + maxSpare
}

// offerLocked adds to the queue what the policy lets in, and begins to close
// when it says so. The caller must hold mu.
func (c *Conn) offerLocked(it item) (ok bool) {
	res := c.out.offer(it, c.opts.Slow, c.roomLocked(it.frame))
	c.dropped += uint64(res.dropped)
	c.coalesced += uint64(res.coalesced)
	if res.overflow {
		c.giveUpLocked()
	}
	return !res.overflow
}

// giveUpLocked begins to close because the peer is too slow. The caller must
// hold mu.
func (c *Conn) giveUpLocked() {
	c.discardLocked()
	slow := &CloseError{Code: 1008, Reason: "slow consumer", Err: ErrSlow}
	c.beginCloseLocked(slow.frame(), slow)
	c.wakeLocked()
}

// slowLocked reports whether the connection closes because the peer is too
// slow. The caller must hold mu.
func (c *Conn) slowLocked() bool {
	return c.farewell != nil && c.farewell.local != nil && c.farewell.local.Err == ErrSlow
}

// catchUpLocked moves what the shard's log holds for c into its queue. The
// caller must hold mu.
func (c *Conn) catchUpLocked() {
	if c.shard == nil || c.overLocked() || c.cursor == c.shard.end.Load() {
		return
	}
	c.shard.mu.Lock()
	entries, end := c.shard.sinceLocked(c.cursor)
	entries = slices.Clone(entries)
	c.shard.mu.Unlock()
	c.pushLocked(entries, end)
}

// pushLocked moves the entries before position end into the queue. The caller
// must hold mu.
func (c *Conn) pushLocked(entries []entry, end uint64) {
	c.cursor = end
	for i := range entries {
		e := &entries[i]
		if e.leavesOut(c) {
			continue
		}
		if c.overLocked() || !c.offerLocked(item{e.frame, e.key}) {
			c.lost++
		}
	}
}

// requeueLocked puts items that could not be written back in front of the
// queue. Coalesce has its say on them, as they wait again. The caller must hold
// mu.
func (c *Conn) requeueLocked(items []item) {
	if c.slowLocked() {
		c.lost += uint64(len(items))
		return
	}
	all := append(slices.Clip(items), c.out.items[c.out.head:]...)
	if c.opts.Slow == Coalesce {
		n := len(all)
		all = newest(all)
		c.coalesced += uint64(n - len(all))
	}
	c.out = queue{}
	for _, it := range all {
		c.out.push(it)
	}
}

// newest returns the items without those that have the key of a later one.
func newest(items []item) []item {
	keys := make(map[string]struct{})
	kept := make([]item, 0, len(items))
	for _, it := range slices.Backward(items) {
		if _, later := keys[it.key]; later && it.key != "" {
			continue
		}
		keys[it.key] = struct{}{}
		kept = append(kept, it)
	}
	slices.Reverse(kept)
	return kept
}
