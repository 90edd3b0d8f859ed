package conn

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// This file distinguishes a slow peer from a peer that reads nothing. It judges
// a peer by the data that it reads, never by the data that is queued for it.
//
// The data read by a peer is the data written minus the data still held by the
// kernel. The kernel reports this for TCP and Unix sockets on Linux, also below
// TLS. It also reports how much more a TCP peer is ready to accept. That window
// grows while the peer reads, even though the kernel gathers more room before
// it sends an update. On other platforms only the return of a write is visible,
// so writes are short there.
//
// While a peer reads, its full kernel buffer reports nothing until a sizeable
// part of the buffer is free: a sixteenth, the largest segment, or the data
// that it has assembled, up to 64 KiB. At 5 KB/s that takes from thirteen
// seconds to more than a minute. Until then, a peer that reads looks like one
// that does not. Where this may be the case (sight.unread), the peer gets the
// time needed to read that much (patienceLocked), for every judgement.
//
// Only a goroutine that waits for the network is watched. The watch is a timer
// that checks occasionally and costs a write nothing. A deadline for each write
// would cost more than the write's share of the lock, would reveal nothing
// while the kernel drains a full buffer, and permanently breaks a TLS
// connection when it expires.

const (
	// looks is the number of checks within WriteTimeout.
	looks = 16
	// maxSpare is the number of bytes beyond Options.QueueBytes that may be
	// queued for a peer that keeps reading, or that may still start to.
	maxSpare = 8 << 20
	// maxRecord is the number of bytes that TLS encrypts at once.
	maxRecord = 16 << 10
	// minRate is the minimum rate in bytes per second at which a peer must
	// read, if all that is visible is that a write has ended or that the peer's
	// kernel buffer is full.
	minRate = 4 << 10
	// minTaken is the number of bytes that a peer with a full kernel buffer
	// must read within WriteTimeout, if that is faster than minRate.
	minTaken = 40 << 10
)

// pace records how the peer reads the data written to it. It is guarded by
// Conn.mu.
type pace struct {
	raw    syscall.RawConn // fixed; the kernel's end; nil if it is not visible
	see    func() sight    // fixed; returns the kernel's state; nil if it is not visible
	chunk  int             // fixed; bytes per write
	seen   mark            // at the latest check
	unread int             // at the latest check
	since  time.Time       // when the peer last made progress, or a goroutine began to wait
	// since when more than QueueBytes are queued; zero if they were not since
	// the queue was last empty
	behind time.Time
	timer  *time.Timer // runs watch; nil until needed
	poked  bool        // a deadline ended the current write, to see how far it came
}

// mark is a measure of progress. It changes when the peer reads something.
type mark struct {
	written uint64
	unacked int
	window  uint32 // offered by the peer of a TCP connection
}

// sight is the state of a peer as reported by the kernel.
type sight struct {
	unacked int    // bytes that the kernel holds for the peer
	window  uint32 // offered by the peer of a TCP connection
	// unread is how many bytes the peer may have to read before any of this
	// changes. It is 0 if the network is the cause of the delay.
	unread int
}

func newPace(nc net.Conn, timeout time.Duration) *pace {
	p := &pace{raw: kernelOf(nc)}
	if raw := p.raw; raw != nil {
		p.see = func() sight { return look(raw) }
	}
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		p.chunk = maxWrite
	case *tls.Conn:
		p.chunk = maxRecord
	}
	if p.chunk == 0 || p.raw == nil || !seesKernel {
		p.chunk = max(int(minRate*min(timeout, time.Second)/time.Second), 1)
	}
	return p
}

// kernelOf returns the kernel's end of a connection, even below TLS and
// wrappers that reveal the wrapped connection. It returns nil if there is none.
// It must only be used for inspection.
func kernelOf(nc net.Conn) syscall.RawConn {
	for range 8 { // a wrapper may wrap itself
		switch c := nc.(type) {
		case *net.TCPConn:
			raw, _ := c.SyscallConn() // fails only for nil
			return raw
		case *net.UnixConn:
			raw, _ := c.SyscallConn()
			return raw
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return nil
		}
	}
	return nil
}

// unackedLocked returns the number of bytes held by the kernel, or 0 if that is
// not visible. The caller must hold mu.
func (c *Conn) unackedLocked() int {
	switch {
	case c.direct.ok():
		return c.direct.unacked()
	case c.pace != nil && c.pace.raw != nil:
		return unacked(c.pace.raw)
	}
	return 0
}

// writtenLocked returns a count that grows with every byte written. The caller
// must hold mu.
func (c *Conn) writtenLocked() uint64 { return c.bytesOut - uint64(c.answerLeft) }

// lookLocked returns a mark, and how many bytes the peer may have to read
// before the mark changes. The caller must hold mu.
func (c *Conn) lookLocked() (m mark, unread int) {
	m.written = c.writtenLocked()
	if c.pace.see != nil {
		s := c.pace.see()
		m.unacked, m.window, unread = s.unacked, s.window, min(s.unread, maxUnread)
	}
	return m, unread
}

// stillLocked returns the time since the peer's last known progress. The caller
// must hold mu, and a goroutine must be waiting for the network.
func (c *Conn) stillLocked(now time.Time) time.Duration {
	m, unread := c.lookLocked()
	if c.pace.unread = unread; m != c.pace.seen {
		c.pace.seen, c.pace.since = m, now
	}
	return now.Sub(c.pace.since)
}

// patienceLocked returns how long the peer may go without known progress. This
// is least, or longer if the peer may be reading from its full kernel buffer,
// at a rate of at least minRate and at least minTaken per WriteTimeout. The
// caller must hold mu and have called stillLocked.
func (c *Conn) patienceLocked(least time.Duration) time.Duration {
	second := min(c.opts.WriteTimeout/(minTaken/minRate), time.Second) // in which minRate must be read
	return max(least, time.Duration(c.pace.unread)*second/minRate)
}

// tooSlowLocked reports whether the peer is to blame for the data queued beyond
// QueueBytes because it has had its Moment. A peer that makes steady progress
// is not to blame, except under DropOldest, where messages should be fresh:
// there it is to blame if the queue has not been empty since. The caller must
// hold mu.
func (c *Conn) tooSlowLocked() bool {
	if !c.backedUp {
		return false // no goroutine is waiting for the peer
	}
	now := time.Now()
	first := c.pace.behind.IsZero()
	if first {
		c.pace.behind = now
	}
	still := c.stillLocked(now)
	left := c.momentLeftLocked(now, still)
	if first && c.watched {
		c.pace.timer.Reset(max(min(left, c.nextLookLocked(still)), 1))
	}
	return left <= 0
}

// momentLeftLocked returns the time until the peer may be to blame. The caller
// must hold mu, and more than QueueBytes must be queued.
func (c *Conn) momentLeftLocked(now time.Time, still time.Duration) time.Duration {
	left := c.patienceLocked(c.opts.Moment) - still
	if c.opts.Slow == DropOldest {
		left = min(left, c.opts.Moment-now.Sub(c.pace.behind))
	}
	return left
}

// nextLookLocked returns the time until the next check for WriteTimeout. The
// caller must hold mu.
func (c *Conn) nextLookLocked(still time.Duration) time.Duration {
	timeout := c.opts.WriteTimeout
	return max(min(timeout/looks, c.patienceLocked(timeout)-still), 1)
}

// watchLocked starts watching a goroutine that waits for the network. The
// caller must hold mu.
func (c *Conn) watchLocked() {
	if c.watched { // the watch of an earlier wait continues
		c.pace.since = time.Now()
		return
	}
	if c.pace == nil {
		c.pace = newPace(c.nc, c.opts.WriteTimeout)
	}
	if c.dead || c.ending != nil {
		return
	}
	p := c.pace
	c.watched = true
	c.ended.Add(1)
	p.since = time.Now()
	p.seen, p.unread = c.lookLocked()
	if p.timer == nil {
		p.timer = time.AfterFunc(c.opts.WriteTimeout/looks, c.watch)
	} else {
		p.timer.Reset(c.opts.WriteTimeout / looks)
	}
}

// watch checks a connection until no goroutine waits for its network.
func (c *Conn) watch() {
	c.mu.Lock()
	if !c.watched { // the timer was reset after it had expired, and this is the second of two calls
		c.mu.Unlock()
		return
	}
	next, gone := c.watchedLocked()
	if next > 0 {
		c.pace.timer.Reset(next)
		c.mu.Unlock()
		return
	}
	c.watched = false
	c.mu.Unlock()
	if gone {
		c.cut()
	}
	c.ended.Done()
}

// watchedLocked checks whether the peer has made progress. It returns the time
// until the next check, 0 for no more checks. If the peer has exceeded its
// time, watchedLocked ends the current write with a deadline. The writer gives
// up if that write has made no progress either. gone means that the write did
// not end, and the connection must be cut. The caller must hold mu.
func (c *Conn) watchedLocked() (next time.Duration, gone bool) {
	p := c.pace
	if !c.backedUp || c.dead || c.ending != nil { // closing has its own deadline
		return 0, false
	}
	now := time.Now()
	still := c.stillLocked(now)
	next = c.nextLookLocked(still)
	if c.out.bytes+c.inflight > c.opts.QueueBytes && !p.behind.IsZero() {
		if left := c.momentLeftLocked(now, still); left > 0 {
			next = min(next, left)
		} else if c.blameLocked(); c.ending != nil {
			return 0, false
		}
	}
	if still < c.patienceLocked(c.opts.WriteTimeout) {
		return next, false
	}
	if p.poked || c.nc.SetWriteDeadline(past) != nil {
		c.severLocked(c.stalledLocked(os.ErrDeadlineExceeded))
		return 0, true
	}
	p.poked = true
	return max(c.opts.WriteTimeout/looks, 1), false
}

// blameLocked applies the policy to the data queued beyond QueueBytes. The
// caller must hold mu.
func (c *Conn) blameLocked() {
	if c.opts.Slow != DropOldest {
		c.giveUpLocked()
		return
	}
	for c.out.len() > 0 && c.out.bytes+c.inflight > c.opts.QueueBytes {
		c.out.pop()
		c.droppedLocked(1)
	}
}

// unpokeLocked resets the deadline that ended a write. The caller must hold mu.
func (c *Conn) unpokeLocked() {
	if !c.pace.poked {
		return
	}
	c.pace.poked = false
	var deadline time.Time
	if c.ending != nil {
		deadline = c.ending.deadline
	}
	_ = c.nc.SetWriteDeadline(deadline) // if it fails, the next write fails too
}

// stalledLocked returns the error of a connection whose peer makes no progress.
// The caller must hold mu.
func (c *Conn) stalledLocked(err error) error {
	return fmt.Errorf("%w: nothing taken for %v: %w", ErrSlow, c.patienceLocked(c.opts.WriteTimeout), err)
}

// unwatch ends the watch. No goroutine may be writing.
func (c *Conn) unwatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pace; p != nil && c.watched && p.timer.Stop() {
		c.watched = false
		c.ended.Done()
	}
}

// buffers reports whether a kernel is known to buffer data from the peer until
// it is read.
func (c *Conn) buffers() bool { return c.direct.ok() || kernelOf(c.nc) != nil }

// backlog reports whether data is pending that is not known to have reached the
// peer, and returns how much has reached it, as a growing count, and how many
// further bytes the peer may have read.
func (c *Conn) backlog() (waits bool, taken int64, partly int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.unackedLocked()
	waits = held > 0 || c.inflight > 0 || c.ownLocked()
	if raw := kernelOf(c.nc); held > 0 && raw != nil {
		partly = min(held, piece(raw))
	}
	return waits, int64(c.writtenLocked()) - int64(held), partly
}
