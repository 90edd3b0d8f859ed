package conn

import (
	"iter"
	"runtime"
	"slices"
	"sync"
)

// minShard is the number of connections in a shard before another shard is
// created. Below that, starting another goroutine costs more than it gains.
const minShard = 128

// Set is a set of connections that receive the same messages. Writers must be
// set before the first Add. A Set is safe for concurrent use and must not be
// copied. A connection may be in only one set.
type Set struct {
	// Writers write to the members. Fixed before the first Add.
	Writers *Writers
	// Source has the messages that are kept. Fixed before the first Add. nil:
	// none are.
	Source Source

	mu     sync.Mutex
	shards []*shard // guarded by mu: at most GOMAXPROCS
	len    int      // guarded by mu
}

// Add adds c, which must not have been in another set.
func (s *Set) Add(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shard != nil {
		return
	}
	sh := s.roomiestLocked()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c.shard, c.slot = sh, len(sh.members)
	if c.replay != nil {
		c.replay.source = s.Source
	}
	if !c.overLocked() {
		c.cursor = sh.end.Load()
	}
	sh.members, sh.view = append(sh.members, c), nil
	s.len++
}

// roomiestLocked returns the first shard that is small, otherwise a new shard,
// or the smallest one if there are already GOMAXPROCS shards. The caller must
// hold mu.
func (s *Set) roomiestLocked() *shard {
	var least *shard
	for _, sh := range s.shards {
		n := sh.len()
		if n < minShard {
			return sh
		}
		if least == nil || n < least.len() {
			least = sh
		}
	}
	if len(s.shards) >= runtime.GOMAXPROCS(0) {
		return least
	}
	sh := &shard{writers: s.Writers, source: s.Source}
	s.shards = append(s.shards, sh)
	return sh
}

func (s *shard) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members)
}

// Remove removes c and reports whether it was a member. Messages sent before
// still reach it.
func (s *Set) Remove(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	sh := c.shard
	if !slices.Contains(s.shards, sh) {
		return false
	}
	c.catchUpLocked()
	c.wakeLocked()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	last := len(sh.members) - 1
	moved := sh.members[last]
	sh.members[c.slot], moved.slot = moved, c.slot
	sh.members[last] = nil
	sh.members, sh.view = sh.members[:last], nil
	c.shard = nil
	s.len--
	return true
}

// Len returns the number of members.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.len
}

// Except selects the connections that do not receive a message to a Set. The
// zero value leaves out none.
type Except struct {
	Owner string // all connections of this owner; "": none
	Conn  *Conn  // one connection, of this or another set; nil: none
	Also  *Conn  // another one; nil: none
}

// Send sends f to every member except those selected by except. It never waits
// for a peer. If messages are sent faster than the machine writes them, Send
// waits for other writes to finish. All members receive the messages sent
// through a set in the same order. A member that is closing or too slow does
// not affect the others. The key has the same meaning as in [Conn.Send].
func (s *Set) Send(f *Frame, key string, except Except) {
	if s.Queue(f, key, except) {
		s.Drain()
	}
}

// Queue is like Send, but returns at once. It reports whether the caller should
// call Drain.
func (s *Set) Queue(f *Frame, key string, except Except) (long bool) {
	e := entry{frame: f, key: key, except: except}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.shards {
		long = sh.append(e) || long
	}
	return long
}

// Drain waits while more messages are queued than the machine writes. It never
// waits for a peer.
func (s *Set) Drain() {
	s.mu.Lock()
	shards := s.shards
	s.mu.Unlock()
	for _, sh := range shards {
		sh.drain()
	}
}

// Each returns an iterator over the members at the time when the iteration
// begins, in no particular order.
func (s *Set) Each() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for _, c := range s.all() {
			if !yield(c) {
				return
			}
		}
	}
}

func (s *Set) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Conn, 0, s.len)
	for _, sh := range s.shards {
		sh.mu.Lock()
		all = append(all, sh.members...)
		sh.mu.Unlock()
	}
	return all
}

// Close closes every member by [Conn.Leave]. It never blocks. The members stay
// in the set.
func (s *Set) Close(f *Farewell) {
	for _, c := range s.all() {
		c.Leave(f)
	}
}
