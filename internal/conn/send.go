package conn

import (
	"fmt"
	"slices"
)

// This file queues messages for a connection and applies the policy when there
// are too many.

// Send queues f, or writes it immediately. It never blocks. For policy
// Coalesce, a non-empty key names the value of which f is the latest version. f
// may be sent to any number of connections. The error is nil (sent, queued, or
// dropped and counted under DropOldest), [ErrSlow] (f did not fit: queued
// messages were dropped and the connection is being closed with 1008) or
// [ErrClosed], which also wraps ErrSlow if that is the reason.
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
	if f.offset > 0 && c.followsLocked(f) {
		return nil
	}
	if c.canWriteDirectlyLocked() && !c.writing && c.out.len() > 0 && c.out.bytes+f.Len() > c.opts.QueueBytes {
		c.flushLocked() // ask the kernel before judging the peer as slow
		c.catchUpLocked()
	}
	if c.overLocked() || !c.offerLocked(item{frame: f, key: key}) {
		if c.slowLocked() {
			return ErrSlow
		}
		return ErrClosed
	}
	// The first message after the peer's latest one leaves immediately. The
	// following messages are worth batching.
	if phase := c.phase.Load(); phase%2 == 0 && phase != c.replied && c.canWriteDirectlyLocked() && !c.writing {
		c.replied = phase
		c.flushLocked()
	} else {
		c.wakeLocked()
	}
	return nil
}

var errClosedSlow = fmt.Errorf("%w: %w", ErrClosed, ErrSlow)

// overLocked reports whether nothing more can be sent. The caller must hold mu.
func (c *Conn) overLocked() bool { return c.dead || c.readDone || c.ending != nil }

// canWriteDirectlyLocked reports whether the connection can be written without
// blocking, as far as is known. The caller must hold mu.
func (c *Conn) canWriteDirectlyLocked() bool { return c.direct.ok() && !c.backedUp }

// ownLocked reports whether anything is pending apart from messages in the
// shard's log. The caller must hold mu.
func (c *Conn) ownLocked() bool {
	return c.ownDataLocked() || c.begun != nil || c.pong != nil || c.ping || c.ending != nil && !c.closeTaken
}

// ownDataLocked reports whether messages are pending apart from those in the
// shard's log. The caller must hold mu.
func (c *Conn) ownDataLocked() bool { return c.out.len() > 0 || c.replay != nil && c.replay.active }

// roomLocked returns how many bytes may be queued, f included. The caller must
// hold mu.
func (c *Conn) roomLocked(f *Frame) int {
	room := c.opts.QueueBytes - c.inflight
	if f.Len() > c.opts.QueueBytes || c.out.bytes+f.Len() <= room || c.tooSlowLocked() {
		return room
	}
	return room + maxSpare // no overflow: about room bytes are in memory already
}

// offerLocked adds an item to the queue according to the policy, and begins to
// close if the policy requires it. The caller must hold mu.
func (c *Conn) offerLocked(it item) (ok bool) {
	if c.opts.Slow == CatchUp && it.frame.offset > 0 && c.out.bytes+c.inflight+it.frame.Len() > c.opts.QueueBytes {
		c.fallBehindLocked(it.frame.offset)
		return true
	}
	if c.replay != nil && c.replay.active {
		if it.frame.fleeting {
			c.droppedLocked(1)
			return true
		}
		it.after = c.replay.seen
	}
	res := c.out.offer(it, c.opts.Slow, c.roomLocked(it.frame))
	c.droppedLocked(uint64(res.dropped))
	c.coalescedLocked(uint64(res.coalesced))
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

// slowLocked reports whether the connection is closing because the peer is too
// slow. The caller must hold mu.
func (c *Conn) slowLocked() bool {
	return c.ending != nil && c.ending.local != nil && c.ending.local.Err == ErrSlow
}

// catchUpLocked moves the messages for c from the shard's log to its queue. The
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

// pushLocked moves the entries before position end to the queue. The caller
// must hold mu.
func (c *Conn) pushLocked(entries []entry, end uint64) {
	c.cursor = end
	for i := range entries {
		e := &entries[i]
		if e.frame.offset > 0 && c.followsLocked(e.frame) || e.leavesOut(c) {
			continue
		}
		if c.overLocked() || !c.offerLocked(item{frame: e.frame, key: e.key}) {
			c.lostLocked(1)
		}
	}
}

// requeueLocked puts items that could not be written back at the front of the
// queue. Coalesce applies to them, because they are queued again. The caller
// must hold mu.
func (c *Conn) requeueLocked(items []item) {
	if c.slowLocked() {
		for i := range items {
			c.lostLocked(uint64(items[i].frame.messages))
		}
		return
	}
	all := append(slices.Clip(items), c.out.items[c.out.head:]...)
	if c.opts.Slow == Coalesce {
		n := len(all)
		all = newest(all)
		c.coalescedLocked(uint64(n - len(all)))
	}
	c.out = queue{}
	for _, it := range all {
		c.out.push(it)
	}
}

// newest returns the items without those that share a key with a later one.
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
