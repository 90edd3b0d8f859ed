package dog

import (
	"iter"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// Stats is a snapshot of a runtime: what is there now, and counts since [New].
type Stats struct {
	Groups  []GroupStats
	Sockets int    // open now
	Slow    uint64 // sockets that were closed because their queue was full or a write took too long
	Traffic        // of all sockets, closed ones included
	Turns   TurnStats
	Alarms  AlarmStats
	Store   StoreStats
}

// StoreStats is the state of the store.
type StoreStats struct {
	Commits  uint64        // transactions
	Syncs    uint64        // each makes many of them durable
	SyncTime time.Duration // sum of their durations
	Unsynced int           // bytes that are committed and not durable yet
	Disk     uint64        // bytes that the data directory takes on its volume, as du says
	Memory   uint64        // bytes in memory: what was read, and what has not reached its place on the disk yet
	// Err says why nothing is stored now: [ErrStoreFull], [ErrStoreFailed]. Nil: all is well.
	Err error
}

// GroupStats is a snapshot of a group.
type GroupStats struct {
	ObjectInfo
	Limit      int // connections per replica
	RequestIDs int // with connections, requests or reservations now
	Lingering  int // remembered on a replica after their last connection; some may have been forgotten already
	Replicas   []ReplicaStats
}

// ReplicaStats is a snapshot of a replica.
type ReplicaStats struct {
	ObjectInfo
	Limit    int // of its group
	Load     int // places taken: reservations, requests and sockets
	Reserved int // of those, reservations that no request has used yet
	Sockets  int
	Draining bool
	Traffic  // of the open sockets
}

// Traffic counts what went through sockets.
type Traffic struct {
	QueuedBytes int // waiting to be sent now, as if each socket had its own copy of a message to many
	MessagesIn  uint64
	MessagesOut uint64
	BytesIn     uint64
	BytesOut    uint64
	Dropped     uint64 // messages dropped by DropOldest
	Coalesced   uint64 // messages replaced by CoalesceSlow
	Lost        uint64 // messages that waited, or were being written, when the connection ended early
}

// TurnStats counts what happened to turns.
type TurnStats struct {
	Events  uint64        // handlers that got their turn
	Waits   uint64        // times a handler had to wait for it
	Waited  time.Duration // sum of those waits
	Longest time.Duration // the longest
}

// AlarmStats counts runs of OnAlarm. How many alarms are set is not known: that may be any number of objects that are not in
// memory.
type AlarmStats struct {
	Running int    // now, those included that wait for the turn of their object
	Runs    uint64 // that have begun
	Retries uint64 // that were arranged after one has failed
	Failed  uint64 // alarms that have failed for good
}

func (t *Traffic) add(o Traffic) {
	t.QueuedBytes += o.QueuedBytes
	t.MessagesIn += o.MessagesIn
	t.MessagesOut += o.MessagesOut
	t.BytesIn += o.BytesIn
	t.BytesOut += o.BytesOut
	t.Dropped += o.Dropped
	t.Coalesced += o.Coalesced
	t.Lost += o.Lost
}

// Stats returns a snapshot. It visits every socket: ask every few seconds, not every millisecond.
func (rt *Runtime) Stats() Stats {
	var s Stats
	if rt == nil || rt.ctx == nil {
		return s
	}
	e := rt.engine.Stats()
	s.Store = StoreStats{
		Commits: e.Commits, Syncs: e.Syncs, SyncTime: e.SyncTime, Unsynced: e.Unsynced,
		Disk: e.Disk, Memory: e.Memory, Err: rt.engine.Writable(),
	}
	var turns turn.Stats
	rt.past.Lock()
	defer rt.past.Unlock()
	s.Traffic, s.Slow = rt.past.traffic, rt.past.slow
	for c := range rt.past.leaving {
		s.add(Traffic(c.Stats()))
	}
	for _, ns := range rt.registered() {
		live, past := ns.history()
		turns = turns.Add(past)
		for _, o := range live {
			turns = turns.Add(o.turnStats())
			if o.books == nil {
				continue
			}
			g := o.books.stats()
			for _, r := range g.Replicas {
				s.Sockets += r.Sockets
				s.add(r.Traffic)
			}
			s.Groups = append(s.Groups, g)
		}
	}
	s.Turns = TurnStats(turns)
	s.Alarms = rt.alarms.snapshot()
	return s
}

// Objects returns the objects that are in memory now, in no order.
func (rt *Runtime) Objects() iter.Seq[ObjectInfo] {
	return func(yield func(ObjectInfo) bool) {
		if rt == nil || rt.ctx == nil {
			return
		}
		for _, o := range rt.objects() {
			if !yield(o.info()) {
				return
			}
		}
	}
}

func (b *books) stats() GroupStats {
	g := GroupStats{ObjectInfo: b.group.info()}
	for r := range b.replicas() {
		g.Replicas = append(g.Replicas, r)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	g.Limit = b.limit
	if b.book != nil {
		g.RequestIDs, g.Lingering = b.book.IDs(), b.book.Lingering()
	}
	return g
}

func (m *member) stats() ReplicaStats {
	s := ReplicaStats{ObjectInfo: m.obj.info()}
	for c := range m.sockets.Each() {
		s.Sockets++
		s.add(Traffic(c.Stats()))
	}
	m.books.mu.Lock()
	defer m.books.mu.Unlock()
	s.Limit = m.books.limit
	s.Load, s.Reserved, s.Draining = m.entry.Load(), m.entry.Reserved(), m.entry.Draining()
	return s
}
