package conn

import (
	"errors"
	"net"
	"os"
	"time"
)

// This file writes to connections. A goroutine with something to write claims
// the connection (writing) and is its only writer until it releases it. If the
// connection is already claimed, the goroutine leaves its data in the queue,
// which is checked before every release. There are three kinds of writers:
//
//   - a sweep of the connection's shard, or the goroutine that sends: they
//     write as much as the kernel accepts immediately (flush);
//   - if that was not everything, a goroutine of the connection's own, which
//     waits (backed up);
//   - a goroutine of its own from the start, if the connection cannot be
//     written without blocking (TLS, any wrapper, platforms other than Linux)
//     or is in no Set.
//
// Until a connection is backed up, its peer is not judged (pace.go), and new
// data is queued.

const (
	// maxFrames is the maximum number of frames in one write, which is the
	// limit of writev on Linux.
	maxFrames = 1024
	// maxFlush is the maximum number of writes to one connection before others
	// get their turn.
	maxFlush = 4
)

// deliver writes the entries of a run to c, or queues them.
func (c *Conn) deliver(r *run) {
	c.mu.Lock()
	if c.shard != r.shard || c.cursor >= r.hi || c.overLocked() {
		c.mu.Unlock()
		return
	}
	if !r.suitsLocked(c) {
		c.pushLocked(r.entries[len(r.entries)-int(r.hi-max(c.cursor, r.lo)):], r.hi)
		c.flushOrWake(&r.b)
		return
	}
	c.cursor, c.writing = r.hi, true
	c.mu.Unlock()
	p := r.bytes(c.form)
	n, err := c.direct.write(&r.b.w, p)

	c.mu.Lock()
	bytes := c.ownBytesLocked(n)
	if n == len(p) {
		c.sent += uint64(len(r.entries))
		r.bill.add(c, len(r.entries), bytes)
		if !c.ownLocked() && !c.readDone {
			c.writing = false
			c.mu.Unlock()
			return
		}
	} else {
		r.bill.add(c, 0, bytes)
		for _, e := range r.entries {
			r.b.items = append(r.b.items, item{frame: e.frame, key: e.key})
		}
		r.b.lay(c.form)
		waits := c.shortLocked(&r.b, n, err)
		r.b.reset()
		if waits {
			c.mu.Unlock()
			return
		}
	}
	c.mu.Unlock()
	c.flush(&r.b)
}

// flushDirty writes c's own pending data.
func (c *Conn) flushDirty(b *batch) {
	c.mu.Lock()
	c.dirty = false
	c.flushOrWake(b)
}

// flushOrWake writes as much pending data as the kernel accepts immediately,
// unless another goroutine is writing. The caller must hold mu, which is
// released.
func (c *Conn) flushOrWake(b *batch) {
	if c.writing || !c.ownLocked() {
		c.mu.Unlock()
		return
	}
	if !c.canWriteDirectlyLocked() {
		c.startWriterLocked()
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	c.flush(b)
}

// flushLocked writes as much pending data as the kernel accepts immediately.
// The caller must hold mu, which is released temporarily. No goroutine may be
// writing.
func (c *Conn) flushLocked() {
	b := batches.Get().(*batch)
	c.writing = true
	c.mu.Unlock()
	c.flush(b)
	batches.Put(b)
	c.mu.Lock()
}

// flush writes as much pending data as the kernel accepts immediately. The
// caller has claimed the connection. flush releases it, or leaves it to a
// goroutine that waits for the kernel.
func (c *Conn) flush(b *batch) {
	for writes, waits := 0, false; !waits; writes++ {
		c.mu.Lock()
		if writes >= maxFlush && c.ownLocked() && !c.dead {
			c.writing = false
			c.wakeLocked()
			c.mu.Unlock()
			return
		}
		if !c.takeLocked(b) {
			c.releaseLocked()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		b.lay(c.form)
		p := b.concatenated()
		n, err := c.direct.write(&b.w, p)
		c.mu.Lock()
		c.countLocked(n)
		if n == len(p) {
			c.sentLocked(b.messages())
			c.inflight = 0
		} else {
			waits = c.shortLocked(b, n, err)
		}
		c.mu.Unlock()
		b.reset()
	}
}

// shortLocked handles a write of b of which the kernel accepted only n bytes.
// It reports whether a goroutine of the connection's own has taken over the
// claim, and waits. Otherwise the connection is broken. The caller must hold mu
// and have claimed the connection.
func (c *Conn) shortLocked(b *batch, n int, err error) (waits bool) {
	c.inflight = 0
	left := b.bufs
	for len(left) > 0 && n >= len(left[0]) {
		n -= len(left[0])
		left = left[1:]
	}
	// Completely written frames come first in b.
	done := len(b.bufs) - len(left)
	if len(b.begun) > 0 && done > 0 {
		done--
		c.sentLocked(uint64(b.whole))
		b.begun, b.whole = nil, 0
	}
	if b.pong != nil && done > 0 {
		done--
		b.pong = nil
	}
	if b.ping && done > 0 {
		done--
		b.ping = false
	}
	k := min(done, len(b.items))
	for i := range b.items[:k] {
		c.sentLocked(uint64(b.items[i].frame.messages))
	}
	b.items = b.items[k:]
	items := b.items

	if err != nil {
		c.lostLocked(b.messages())
		c.failLocked(err)
		return false
	}
	c.backedUp = true
	// A partly written frame must be completed. The policy may drop some of the
	// rest.
	if rest := left[0][n:]; n > 0 || len(b.begun) > 0 {
		c.begun, c.beganMessages = rest, b.whole
		switch {
		case len(b.begun) > 0:
		case b.pong != nil:
			b.pong = nil
		case b.ping:
			b.ping = false
		case len(items) > 0:
			c.beganMessages = int(items[0].frame.messages)
			items = items[1:]
		default:
			b.close = nil
		}
	}
	if b.pong != nil && c.pong == nil {
		c.pong = b.pong
	}
	c.ping = c.ping || b.ping
	if b.close != nil {
		c.closeTaken = false
	}
	if c.beganMessages > 0 {
		c.inflight = len(c.begun)
	}
	c.requeueLocked(items)
	c.watchLocked()
	go c.writeLoop()
	return true
}

// takeLocked moves the next data to write into b: first the rest of a partly
// written frame, then control frames, then data frames, and the close frame if
// no data is left. It reports whether there was anything. The caller must hold
// mu.
func (c *Conn) takeLocked(b *batch) bool {
	if c.dead {
		c.discardLocked() // data that a writer has put back since
		return false
	}
	c.pullLocked()
	b.begun, b.whole = c.begun, c.beganMessages
	c.begun, c.beganMessages = nil, 0
	if b.whole > 0 {
		b.data = len(b.begun)
	}
	if c.closeTaken {
		return len(b.begun) > 0
	}
	b.pong, c.pong = c.pong, nil
	b.ping, c.ping = c.ping, false
	// At most half of the bound, so that under DropOldest the newest message
	// has room next to the data being written. A frame over the limit is
	// written alone, and is never concatenated.
	limit := c.limit()
	nothing := len(b.begun) == 0 && b.pong == nil && !b.ping
	for c.out.len() > 0 && len(b.items) < maxFrames-4 {
		it := c.out.peek()
		if !nothing && b.data+it.frame.Len() > limit || c.missesLocked(it.after) {
			break
		}
		c.out.pop()
		b.items = append(b.items, it)
		b.data += it.frame.Len()
		nothing = false
	}
	if !c.ownDataLocked() && c.pace != nil {
		c.pace.behind = time.Time{}
	}
	c.inflight = b.data
	if c.ending != nil && !c.ownDataLocked() && b.data <= limit {
		b.close = c.ending.frame
		c.closeTaken = true
	}
	return !nothing || b.close != nil
}

// releaseLocked ends a claim. After the release that hangs up, no goroutine may
// claim the connection. The caller must hold mu.
func (c *Conn) releaseLocked() {
	c.backedUp = false
	if c.closeTaken {
		c.ending.left = true
	}
	if c.readDone {
		go c.hangUp()
	} else {
		c.writing = false
	}
}

// wakeLocked ensures that pending data is written. The caller must hold mu.
func (c *Conn) wakeLocked() {
	switch {
	case c.writing:
	case c.canWriteDirectlyLocked() && c.shard != nil:
		if !c.dirty {
			c.dirty = true
			c.shard.schedule(c)
		}
	default:
		c.startWriterLocked()
	}
}

// startWriterLocked starts a goroutine that writes, and waits if it must. The
// caller must hold mu. No goroutine may be writing.
func (c *Conn) startWriterLocked() {
	c.writing, c.backedUp = true, true
	c.watchLocked()
	go c.writeLoop()
}

// writeLoop writes until nothing is pending.
func (c *Conn) writeLoop() {
	b := batches.Get().(*batch)
	defer batches.Put(b)
	for {
		c.mu.Lock()
		if !c.takeLocked(b) {
			c.releaseLocked()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()

		b.lay(c.form)
		err := c.write(b)
		stalled := errors.Is(err, os.ErrDeadlineExceeded)
		c.mu.Lock()
		c.inflight = 0
		switch {
		case err == nil:
			c.sentLocked(b.messages())
		case stalled:
			c.lostLocked(b.messages())
			if c.ending == nil {
				err = c.stalledLocked(err)
			}
			c.severLocked(err)
		default:
			c.lostLocked(b.messages()) // how many of them arrived is unknown
			c.failLocked(err)
		}
		c.mu.Unlock()
		if stalled {
			c.cut()
		}
		b.reset()
	}
}

// write passes b to the network and waits until it is accepted. After a write
// deadline it continues if the write made progress.
func (c *Conn) write(b *batch) error {
	if tcp, ok := c.nc.(*net.TCPConn); ok && len(b.bufs) > 1 && c.pace.chunk == maxWrite {
		b.rest = b.bufs
		for {
			n, err := b.rest.WriteTo(tcp)
			c.count(int(n))
			if err == nil {
				return nil
			}
			if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
		}
	}
	for p := b.concatenated(); len(p) > 0; {
		n, err := c.nc.Write(p[:min(len(p), c.pace.chunk)])
		c.count(n)
		p = p[n:]
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
	}
	return nil
}

// count counts bytes written by a goroutine that waits for the network.
func (c *Conn) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.countLocked(n)
	if n > 0 {
		c.pace.seen.written, c.pace.since = c.writtenLocked(), time.Now()
	}
	c.unpokeLocked()
}

// failLocked records that the network accepts no more data. The peer's close
// frame may still be on its way, so the reader gets some time to find it. The
// caller must hold mu.
func (c *Conn) failLocked(err error) {
	if c.cause == nil {
		c.cause = err
	}
	c.dead = true
	c.discardLocked()
	if c.ending == nil {
		c.rouseLocked()
		c.nc.SetReadDeadline(time.Now().Add(c.opts.CloseTimeout))
		time.AfterFunc(c.opts.CloseTimeout, c.late) // the reader may be outside Read
	}
}
