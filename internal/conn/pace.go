package conn

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// How a peer that is slow is told from one that takes nothing: by what it
// takes, never by what waits for it.
//
// What it has taken is what was written less what the kernel still holds. The
// kernel says so for TCP and Unix sockets on Linux, also below TLS; and how
// much more a TCP peer is ready to take, which grows while it reads although
// the kernel gathers more before it sends. Elsewhere a write that has returned
// is all that can be seen, so writes are short there.
//
// A peer's kernel that is full says nothing while the peer reads, until a
// sizeable part of its buffer is free: a sixteenth, the largest segment, or
// what it has put together, up to 64 KiB. At 5 KB/s that takes from thirteen
// seconds to more than a minute, and until then a peer that reads looks like
// one that does not. So where that may be what happens (sight.unread), the peer
// gets the time that it takes to read so much (patienceLocked), whatever it is
// judged for.
//
// Only a goroutine that waits for the network is watched. The watch is a timer
// that looks now and then and costs a write nothing. A deadline for each write
// would cost more than the write's share of the lock, would tell nothing while
// the kernel drains a full buffer, and breaks a TLS connection for good when it
// passes.

const (
	// looks is how often the watch looks within WriteTimeout.
	looks = 16
	// maxSpare is how much more than Options.QueueBytes may wait for a peer
	// that takes what it gets, or may do so in a moment.
	maxSpare = 8 << 20
	// maxRecord is what TLS encrypts at once.
	maxRecord = 16 << 10
	// minRate is what a peer must take in a second, in bytes, where more cannot
	// be seen than that a write has ended, or that its kernel is full.
	minRate = 4 << 10
	// minTaken is what a peer whose kernel is full must read in WriteTimeout,
	// where that is more than minRate.
	minTaken = 40 << 10
)

// pace is what is known of how the peer takes what is written. It is guarded by
// Conn.mu.
type pace struct {
	raw    syscall.RawConn // the kernel's end; nil when it cannot be seen. fixed
	see    func() sight    // what the kernel says; nil when it cannot be seen. fixed
	chunk  int             // bytes of one write. fixed
	seen   mark            // at the latest look
	unread int             // at the latest look
	since  time.Time       // when something was last known to be taken, or a goroutine began to wait
	behind time.Time       // since when more than QueueBytes wait; zero when not since the queue was last empty
	timer  *time.Timer     // runs watch; nil before it was needed
	poked  bool            // the write under way was ended by a deadline, to see how far it came
}

// mark changes when the peer takes something.
type mark struct {
	written uint64
	unacked int
	window  uint32 // that the peer of a TCP connection offers
}

// sight is what the kernel says of a peer.
type sight struct {
	unacked int    // bytes that it holds for the peer
	window  uint32 // that the peer of a TCP connection offers
	// unread is how many bytes the peer may have to read before anything of
	// this changes; 0 when it is the network that keeps it from changing.
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

// kernelOf returns the kernel's end of a connection, also below TLS and
// wrappers that show what they wrap; nil where it cannot be found. It is only
// for looking.
func kernelOf(nc net.Conn) syscall.RawConn {
	for range 8 { // a wrapper may wrap itself
		switch c := nc.(type) {
		case *net.TCPConn:
			raw, _ := c.SyscallConn() // fails for nil only
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

// unackedLocked returns the bytes that the kernel holds, 0 where it cannot be
// seen. The caller must hold mu.
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
// before it changes. The caller must hold mu.
func (c *Conn) lookLocked() (m mark, unread int) {
	m.written = c.writtenLocked()
	if c.pace.see != nil {
		s := c.pace.see()
		m.unacked, m.window, unread = s.unacked, s.window, min(s.unread, maxUnread)
	}
	return m, unread
}

// stillLocked returns for how long the peer is not known to have taken
// anything. The caller must hold mu, and a goroutine must wait for the network.
func (c *Conn) stillLocked(now time.Time) time.Duration {
	m, unread := c.lookLocked()
	if c.pace.unread = unread; m != c.pace.seen {
		c.pace.seen, c.pace.since = m, now
	}
	return now.Sub(c.pace.since)
}

// patienceLocked returns how long the peer may not be known to have taken
// anything: so long, or longer where it may be reading what its kernel holds,
// which must go at minRate and at minTaken in WriteTimeout. The caller must
// hold mu, and have looked.
func (c *Conn) patienceLocked(least time.Duration) time.Duration {
	second := min(c.opts.WriteTimeout/(minTaken/minRate), time.Second) // in which minRate must be taken
	return max(least, time.Duration(c.pace.unread)*second/minRate)
}

// tooSlowLocked reports whether the peer is to blame for what waits beyond
// QueueBytes: it has had its moment. A peer that takes something all the time
// is not, except under DropOldest, whose messages are to be fresh: there it is
// to blame when it has not emptied the queue since. The caller must hold mu.
func (c *Conn) tooSlowLocked() bool {
	if !c.backedUp {
		return false // nobody waits for the peer
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

// momentLeftLocked returns how soon the peer may be to blame. The caller must
// hold mu, and more than QueueBytes must wait.
func (c *Conn) momentLeftLocked(now time.Time, still time.Duration) time.Duration {
	left := c.patienceLocked(c.opts.Moment) - still
	if c.opts.Slow == DropOldest {
		left = min(left, c.opts.Moment-now.Sub(c.pace.behind))
	}
	return left
}

// nextLookLocked returns when the watch has to look again for WriteTimeout. The
// caller must hold mu.
func (c *Conn) nextLookLocked(still time.Duration) time.Duration {
	timeout := c.opts.WriteTimeout
	return max(min(timeout/looks, c.patienceLocked(timeout)-still), 1)
}

// watchLocked begins to watch a goroutine that waits for the network. The
// caller must hold mu.
func (c *Conn) watchLocked() {
	if c.watched { // the watch of an earlier wait goes on
		c.pace.since = time.Now()
		return
	}
	if c.pace == nil {
		c.pace = newPace(c.nc, c.opts.WriteTimeout)
	}
	if c.dead || c.farewell != nil {
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

// watch looks at a connection for which a goroutine waits, until none does.
func (c *Conn) watch() {
	c.mu.Lock()
	if !c.watched { // the timer was set again after it had expired, and this is the second of two calls
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

// watchedLocked looks whether the peer has taken something, and returns when to
// look again, 0 for no more. When it has not for as long as it may, the write
// under way is ended: if that has come no further either, the writer gives up.
// gone means that the write did not end so, and the connection must be cut. The
// caller must hold mu.
func (c *Conn) watchedLocked() (next time.Duration, gone bool) {
	p := c.pace
	if !c.backedUp || c.dead || c.farewell != nil { // closing has a deadline of its own
		return 0, false
	}
	now := time.Now()
	still := c.stillLocked(now)
	next = c.nextLookLocked(still)
	if c.out.bytes+c.inflight > c.opts.QueueBytes && !p.behind.IsZero() {
		if left := c.momentLeftLocked(now, still); left > 0 {
			next = min(next, left)
		} else if c.blameLocked(); c.farewell != nil {
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

// blameLocked does with what waits beyond QueueBytes what the policy says. The
// caller must hold mu.
func (c *Conn) blameLocked() {
	if c.opts.Slow != DropOldest {
		c.giveUpLocked()
		return
	}
	for c.out.len() > 0 && c.out.bytes+c.inflight > c.opts.QueueBytes {
		c.out.pop()
		c.dropped++
	}
}

// unpokeLocked takes back the deadline that ended a write. The caller must hold
// mu.
func (c *Conn) unpokeLocked() {
	if !c.pace.poked {
		return
	}
	c.pace.poked = false
	var deadline time.Time
	if c.farewell != nil {
		deadline = c.farewell.deadline
	}
	_ = c.nc.SetWriteDeadline(deadline) // where it fails, the next write does
}

// stalledLocked is the error of a connection whose peer takes nothing. The
// caller must hold mu.
func (c *Conn) stalledLocked(err error) error {
	return fmt.Errorf("%w: nothing taken for %v: %w", ErrSlow, c.patienceLocked(c.opts.WriteTimeout), err)
}

// unwatch ends the watch. Nobody may be writing.
func (c *Conn) unwatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pace; p != nil && c.watched && p.timer.Stop() {
		c.watched = false
		c.ended.Done()
	}
}

// buffers reports whether a kernel is known to hold what the peer sends until
// it is read.
func (c *Conn) buffers() bool { return c.direct.ok() || kernelOf(c.nc) != nil }

// backlog returns whether something that was sent is not known to have reached
// the peer, and how much has, as a count that grows.
func (c *Conn) backlog() (waits bool, taken int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.unackedLocked()
	waits = held > 0 || c.inflight > 0 || c.ownLocked()
	return waits, int64(c.writtenLocked()) - int64(held)
}
