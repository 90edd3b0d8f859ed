package conn

import "errors"

// This file sends messages from the history to peers that are behind: because
// they have just come back, or because they read too slowly. As long as a peer
// is behind, kept messages that are sent to it are only noted. The goroutine
// that writes takes the next piece from the history whenever it has nothing
// else to write, so the peer may be behind by any number of messages without a
// queue in memory.

// A Source has the messages that are kept for the members of a [Set].
type Source interface {
	// Next returns messages after an offset that are for c, as a frame that is
	// written as it is, and the offset up to which they are complete. They have
	// at most max bytes, or are a single message, and their offsets are at most
	// until. The frame is nil if there are none. ErrGap means that messages are
	// missing and that the client of c cannot get a gap. Next may read from a
	// disk.
	Next(c *Conn, after, until uint64, max int) (f *Frame, end uint64, err error)
}

// ErrGap is returned by a [Source] if messages are missing and the peer cannot
// get a gap.
var ErrGap = errors.New("dog: messages that are no longer kept are missing")

// replay is the place in the history of a peer that is behind, or has just
// been.
type replay struct {
	source Source // nil until the peer is in a Set. It stays when the peer leaves the Set
	active bool
	at     uint64 // messages up to this offset have been taken from the source, or are none of the peer's
	seen   uint64 // offset of the latest message that the peer is to get from the history
}

// Follow makes c begin with the messages after an offset. last is the offset of
// the latest one. Follow must be called before c is added to a Set with a
// Source, and no message may be kept in between. Messages sent to c before come
// first, and those sent after it come after the latest.
func (c *Conn) Follow(after, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if after < last {
		c.replay = &replay{active: true, at: after, seen: last}
	}
}

// Behind reports whether the peer has yet to be sent messages from the history.
func (c *Conn) Behind() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replay != nil && c.replay.active && !c.overLocked()
}

// followsLocked reports whether the peer gets a kept message, or has got it,
// from the history. The caller must hold mu.
func (c *Conn) followsLocked(f *Frame) bool {
	switch {
	case c.replay == nil:
		return false
	case c.replay.active:
		c.replay.seen = f.offset
		return true
	case f.offset <= c.replay.at:
		return true
	}
	c.replay = nil
	return false
}

// missesLocked reports whether the peer has yet to be sent messages from the
// history up to an offset. The caller must hold mu.
func (c *Conn) missesLocked(offset uint64) bool {
	return c.replay != nil && c.replay.active && c.replay.at < offset
}

// fallBehindLocked removes the kept messages from the queue, so that the peer
// reads them from the history. offset is that of a further message for which
// there is no room. The caller must hold mu, and the peer must not be behind.
func (c *Conn) fallBehindLocked(offset uint64) {
	at, latest := offset-1, uint64(0)
	var rest queue
	for _, it := range c.out.items[c.out.head:] {
		if it.frame.offset == 0 {
			it.after = latest
			rest.push(it)
			continue
		}
		if latest == 0 {
			at = it.frame.offset - 1
		}
		latest = it.frame.offset
	}
	c.out = rest
	c.replay = &replay{active: true, at: at, seen: offset}
	if c.shard != nil {
		c.replay.source = c.shard.source
	}
}

// pullLocked puts the next messages that the peer has missed at the front of
// the queue, unless other messages come before them. The caller must have
// claimed the connection and hold mu, which is released temporarily.
func (c *Conn) pullLocked() {
	for {
		r := c.replay
		if r == nil || !r.active || c.dead || len(c.begun) > 0 {
			return
		}
		if c.ending != nil && c.form&marked != 0 { // the peer will come back for the rest
			c.replay = nil
			return
		}
		// No further, since messages that are not kept may come before what has
		// been kept since.
		until := r.seen
		if c.out.len() > 0 {
			until = min(until, c.out.peek().after)
		}
		if until <= r.at {
			r.active = c.out.len() > 0
			return
		}
		source, at := r.source, r.at
		c.mu.Unlock()
		f, end, err := source.Next(c, at, until, c.limit())
		c.mu.Lock()
		if c.replay != r { // the connection has ended in the meantime
			return
		}
		r.at = end
		switch {
		case err != nil:
			c.brokenLocked(err)
			return
		case f != nil:
			c.out.unshift(item{frame: f})
			return
		}
	}
}

// brokenLocked closes the connection because its history cannot be read, or the
// peer has lost its place in it. If it is being closed already, the rest is
// left out. The caller must hold mu.
func (c *Conn) brokenLocked(err error) {
	if c.ending == nil && errors.Is(err, ErrGap) {
		c.giveUpLocked()
		return
	}
	c.discardLocked()
	if c.ending != nil {
		return
	}
	how := &CloseError{Code: 1011, Err: err}
	c.beginCloseLocked(how.frame(), how)
}

// limit returns how many bytes of messages a write should have.
func (c *Conn) limit() int { return min(maxWrite, c.opts.QueueBytes/2) }
