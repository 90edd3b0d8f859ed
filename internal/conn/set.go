package conn

import (
	"iter"
	"slices"
	"sync"
)

// Set is a set of connections that get the same messages. Its zero value is empty and ready; it is safe for concurrent use
// and must not be copied. A connection may be in several sets.
type Set struct {
	mu      sync.Mutex
	members []*Conn       // guarded by mu, in no order
	index   map[*Conn]int // guarded by mu: where in members
}

// Add adds c, which is in the set once however often it is added.
func (s *Set) Add(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.index[c]; ok {
		return
	}
	if s.index == nil {
		s.index = make(map[*Conn]int)
	}
	s.index[c] = len(s.members)
	s.members = append(s.members, c)
}

// Remove removes c and reports whether it was a member.
func (s *Set) Remove(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[c]
	if !ok {
		return false
	}
	last := len(s.members) - 1
	s.members[i] = s.members[last]
	s.index[s.members[i]] = i
	s.members[last] = nil
	s.members = s.members[:last]
	delete(s.index, c)
	return true
}

// Len returns the number of members.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members)
}

// Send queues f to every member whose Owner is not except, "" leaving out nobody, and returns to how many. It never blocks.
// All members see the messages sent through a set in the same order. A member that is closing or too slow is not counted and
// does not affect the others. The key is that of [Conn.Send].
func (s *Set) Send(f *Frame, key, except string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.members {
		if except != "" && c.Owner == except {
			continue
		}
		if queued, _ := c.send(f, key); queued {
			n++
		}
	}
	return n
}

// Each returns the members at the time when the iteration begins, in no order.
func (s *Set) Each() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		s.mu.Lock()
		members := slices.Clone(s.members)
		s.mu.Unlock()
		for _, c := range members {
			if !yield(c) {
				return
			}
		}
	}
}

// Close closes every member like [Conn.Close], with one shared frame, and never blocks. The members stay in the set. The
// error is [ErrCloseCode] or [ErrCloseReason], and then nothing was closed.
func (s *Set) Close(code int, reason string) error {
	if err := checkClose(code, reason); err != nil {
		return err
	}
	how := &CloseError{Code: code, Reason: reason}
	frame := how.frame()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.members {
		c.closeWith(how, frame)
	}
	return nil
}
