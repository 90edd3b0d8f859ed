package conn

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// maxWrite is the maximum number of data bytes claimed by one write. Data
	// that has not been claimed can still be dropped or coalesced.
	maxWrite = 64 << 10
	// maxLog bounds the bytes of a shard's log. A sender that exceeds what the
	// machine can write waits until the log is shorter.
	maxLog = 512 << 10
	// maxStarted is the number of connection goroutines that a sweep starts
	// before it lets them run, so that goroutines that end leave their stacks
	// to the next.
	maxStarted = 32
	// entryCost is charged for an entry in addition to its frame.
	entryCost = 64
)

// shard is a part of a Set's connections, with a log of the messages to all of
// them. One goroutine at a time sweeps: it concatenates the log once, and
// writes it to one connection after another without blocking. A connection that
// differs from the others receives its messages through its own queue.
type shard struct {
	writers *Writers // fixed
	source  Source   // fixed; nil: messages are not kept

	// end is the position after the log's last entry. Positions count entries
	// and never repeat. changed under mu
	end atomic.Uint64

	mu       sync.Mutex
	members  []*Conn // guarded by mu, in no order
	view     []*Conn // guarded by mu: an immutable copy of members; nil if out of date
	log      []entry // guarded by mu: log[0] is at position end-len(log). Only the sweep removes entries
	bytes    int     // guarded by mu: total cost of the log
	sum      uint64  // guarded by mu: bytes of all frames ever added to the log
	dirty    []*Conn // guarded by mu: connections with pending data of their own
	sweeping bool    // guarded by mu: a goroutine sweeps, or is about to
	// on mu: the log has become shorter, or the sweep has ended; nil until
	// needed
	room *sync.Cond
}

// entry is a message to all connections of a shard.
type entry struct {
	frame  *Frame
	key    string
	except Except
	before uint64 // shard.sum before this entry
}

func (e *entry) cost() int { return e.frame.Len() + entryCost }

func (e *entry) leavesOut(c *Conn) bool {
	return e.except.Conn == c || e.except.Also == c || e.except.Owner != "" && e.except.Owner == c.Owner
}

// append adds an entry to the log and ensures that a goroutine sweeps. It
// reports whether the log is too long.
func (s *shard) append(e entry) (long bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.members) == 0 {
		return false
	}
	e.before = s.sum
	s.sum += uint64(e.frame.Len())
	s.log = append(s.log, e)
	s.bytes += e.cost()
	s.end.Add(1)
	s.startLocked()
	return s.bytes > maxLog
}

// schedule ensures that pending data of c is written. The caller must hold
// c.mu.
func (s *shard) schedule(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = append(s.dirty, c)
	s.startLocked()
}

func (s *shard) startLocked() {
	if !s.sweeping {
		s.sweeping = true
		s.writers.enqueue(s)
	}
}

// drain waits until the log is short enough. It waits for the sweep, never for
// a peer.
func (s *shard) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room == nil {
		s.room = sync.NewCond(&s.mu)
	}
	for s.bytes > maxLog {
		s.room.Wait()
	}
}

// sinceLocked returns the entries starting at position from, and the position
// after them. The caller must hold mu, and may use the entries only while
// holding it.
func (s *shard) sinceLocked(from uint64) (entries []entry, end uint64) {
	end = s.end.Load()
	if from >= end {
		return nil, end
	}
	return s.log[uint64(len(s.log))-(end-from):], end
}

// run is the part of the log being swept.
type run struct {
	shard   *shard
	entries []entry // shared with the log
	lo, hi  uint64  // their positions
	dirty   []*Conn

	longest int                 // the longest frame
	owners  map[string]struct{} // owners left out by an entry
	conns   map[*Conn]struct{}  // connections left out by an entry
	whole   [forms][]byte       // all entries in each form; nil until needed
	buf     [forms][]byte       // backing buffers of whole
	b       batch               // for connections that are written individually
	bill    bill                // of the entries
}

// sweep writes pending data, or a part of it. It returns the number of messages
// written to all connections, and reports whether there is more and the shard
// must be swept again.
func (s *shard) sweep(r *run) (messages int, more bool) {
	for i, c := range s.take(r) {
		c.deliver(r)
		if !c.direct.ok() && i%maxStarted == maxStarted-1 {
			runtime.Gosched()
		}
	}
	r.bill.pay()
	for _, c := range r.dirty {
		c.flushDirty(&r.b)
	}
	messages = len(r.entries)
	return messages, s.trim(r)
}

// take starts a run with the entries of the log, and returns its recipients.
func (s *shard) take(r *run) (members []*Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.shard = s
	r.dirty, s.dirty = s.dirty, r.dirty
	size, n := 0, 0
	r.longest = 0
	for n < len(s.log) && (n == 0 || size+s.log[n].frame.Len() <= maxWrite) {
		e := &s.log[n]
		size += e.frame.Len()
		r.longest = max(r.longest, e.frame.Len())
		if e.except.Owner != "" {
			r.owners[e.except.Owner] = struct{}{}
		}
		if e.except.Conn != nil {
			r.conns[e.except.Conn] = struct{}{}
		}
		if e.except.Also != nil {
			r.conns[e.except.Also] = struct{}{}
		}
		n++
	}
	r.entries = s.log[:n:n]
	r.lo = s.end.Load() - uint64(len(s.log))
	r.hi = r.lo + uint64(n)
	if n == 0 {
		return nil
	}
	if s.view == nil {
		s.view = slices.Clone(s.members)
	}
	return s.view
}

// trim ends a run, and reports whether more work has arrived in the meantime.
func (s *shard) trim(r *run) (more bool) {
	s.mu.Lock()
	n := len(r.entries)
	for i := range r.entries {
		s.bytes -= r.entries[i].cost()
	}
	rest := copy(s.log, s.log[n:])
	clear(s.log[rest:])
	if s.log = s.log[:rest]; rest == 0 && cap(s.log) > maxWrite/entryCost {
		s.log = nil
	}
	if s.room != nil {
		s.room.Broadcast()
	}
	more = rest > 0 || len(s.dirty) > 0
	s.sweeping = more
	s.mu.Unlock()

	clear(r.owners)
	clear(r.conns)
	clear(r.dirty)
	r.shard, r.entries, r.whole, r.dirty = nil, nil, [forms][]byte{}, r.dirty[:0]
	return more
}

// bytes returns all entries in a form.
func (r *run) bytes(as form) []byte {
	if r.whole[as] == nil {
		if len(r.entries) == 1 {
			r.whole[as] = r.entries[0].frame.bytes(as)
		} else {
			b := r.buf[as][:0]
			for _, e := range r.entries {
				b = append(b, e.frame.bytes(as)...)
			}
			r.whole[as], r.buf[as] = b, b
		}
	}
	return r.whole[as]
}

// suitsLocked reports whether c receives exactly the run's entries, and they
// may be written without checking its queue. The caller must hold c.mu.
func (r *run) suitsLocked(c *Conn) bool {
	if c.writing || c.replay != nil || !c.direct.ok() || c.cursor != r.lo || c.ownLocked() ||
		r.longest > c.opts.QueueBytes {
		return false
	}
	if len(r.conns) > 0 {
		if _, out := r.conns[c]; out {
			return false
		}
	}
	if len(r.owners) == 0 {
		return true
	}
	_, out := r.owners[c.Owner]
	return !out
}
