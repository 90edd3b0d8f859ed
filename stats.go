package dog

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/turn"
)

// Stats is a snapshot of a runtime: its current state, and counts since [New].
type Stats struct {
	Groups  []GroupStats
	Sockets int    // open
	Slow    uint64 // sockets closed because their queue was full or a write took too long
	Traffic        // of all sockets, including closed sockets
	// HeldBytes is the size of the messages and of the bodies of responses that
	// are held back until earlier writes of their objects are durable. Each
	// message is counted once, plus 128 bytes of overhead, as each flush of a
	// response has.
	HeldBytes int64
	// Histories has an entry for each type whose objects or groups keep a
	// history (HistoryOptions), or remember sessions of clients, by its name.
	Histories map[string]HistoryStats
	Turns     TurnStats
	Alarms    AlarmStats
	Store     StoreStats
}

// HistoryStats is a snapshot of the histories of all objects, or groups, of a
// type that are in memory, and of the sessions of their clients.
type HistoryStats struct {
	Messages int    // kept; some may be older than Age
	Bytes    int    // of these messages, with their frames
	Behind   int    // open sockets that have not been sent all messages that are kept
	Gaps     uint64 // gaps reported to clients of dog.v1 since New, without those of new clients
	Sessions int    // connected or remembered
}

func (h *HistoryStats) add(o HistoryStats) {
	h.Messages += o.Messages
	h.Bytes += o.Bytes
	h.Behind += o.Behind
	h.Sessions += o.Sessions
}

// GroupStats is a snapshot of a group.
type GroupStats struct {
	ObjectInfo
	Limit     int // maximum number of connections per replica
	UIDs      int // uids that have connections, requests or reservations
	Members   int // of Presence; 0 if that is off
	Lingering int // uids remembered on a replica after their last connection; some may already be forgotten
	Replicas  []ReplicaStats
}

// ReplicaStats is a snapshot of a replica.
type ReplicaStats struct {
	ObjectInfo
	Limit    int // of its group
	Load     int // places taken: reservations, requests, sockets, and held places
	Reserved int // places taken by reservations that no request has used yet
	Held     int // places held for uids without connections (GroupOptions.HoldPlaces)
	Sockets  int
	Draining bool
	Locked   bool // no newcomers are admitted: see Group.SetLocked
	Traffic       // of the open sockets
}

// Traffic counts the traffic of sockets.
type Traffic struct {
	QueuedBytes int // waiting to be sent; a message to many sockets counts once per socket
	MessagesIn  uint64
	MessagesOut uint64
	BytesIn     uint64
	BytesOut    uint64
	Dropped     uint64 // messages dropped by DropOldest
	Coalesced   uint64 // messages replaced by CoalesceSlow
	Lost        uint64 // messages queued or being written when the connection ended early
}

// TurnStats counts the turns of objects.
type TurnStats struct {
	Events  uint64        // handlers that got their turn
	Waits   uint64        // number of times a handler had to wait for its turn
	Waited  time.Duration // total duration of those waits
	Longest time.Duration // the longest wait
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

// Stats returns a snapshot. Its parts may be from different moments. Stats
// visits every object and every socket, in small steps, so that no goroutine
// has to wait long for it: call it every few seconds, not every millisecond.
// Concurrent calls run one after the other. [Runtime.Totals] visits nothing.
func (rt *Runtime) Stats() Stats {
	var s Stats
	if rt == nil || rt.host == nil {
		return s
	}
	s.HeldBytes, s.Store = rt.held.Load(), rt.storeStats()
	t := rt.beginTour(&s)
	var turns turn.Stats
	for _, c := range rt.host.Classes() {
		groups, crowds, n := t.visit(c)
		turns = turns.Add(n)
		var kept HistoryStats
		for _, o := range groups {
			kept.add(o.kept())
			g := o.group.stats(t)
			for _, r := range g.Replicas {
				s.Sockets += r.Sockets
				s.add(r.Traffic)
			}
			s.Groups = append(s.Groups, g)
		}
		for _, o := range crowds {
			kept.add(o.kept())
			sockets, traffic := o.traffic(t)
			s.Sockets += sockets
			s.add(traffic)
		}
		ns := namespaceOf(c)
		if kept.Gaps = ns.counts.gaps.Load(); ns.history.on() || kept.Sessions > 0 {
			if s.Histories == nil {
				s.Histories = make(map[string]HistoryStats)
			}
			s.Histories[ns.Name] = kept
		}
	}
	t.end(&s)
	s.Turns = TurnStats(turns)
	for _, c := range rt.host.Classes() {
		s.Alarms = s.Alarms.add(AlarmStats(c.AlarmStats()))
	}
	return s
}

// tour is one pass of Stats through all objects and sockets, which holds no
// lock for longer than one step. A goroutine that removes something before the
// tour has reached it records that, so it is counted exactly once. Only one
// tour runs at a time.
type tour struct {
	rt     *Runtime // fixed
	number uint64   // fixed. starts at 1
}

// socketStep is the number of sockets that a tour counts before it lets others
// add and remove sockets.
const socketStep = 100

func (rt *Runtime) beginTour(s *Stats) *tour {
	rt.touring.Lock()
	rt.past.Lock()
	rt.past.tours++
	rt.past.touring = true
	t := &tour{rt: rt, number: rt.past.tours}
	s.Traffic, s.Slow = rt.past.traffic, rt.past.slow
	leaving := slices.Collect(maps.Keys(rt.past.leaving))
	rt.past.Unlock()
	t.add(s, leaving)
	return t
}

func (t *tour) end(s *Stats) {
	t.rt.past.Lock()
	missed := t.rt.past.missed
	t.rt.past.touring, t.rt.past.missed = false, nil
	t.rt.past.Unlock()
	t.add(s, missed)
	t.rt.touring.Unlock()
}

func (t *tour) add(s *Stats, conns []*conn.Conn) {
	for _, c := range conns {
		s.add(Traffic(c.Stats()))
	}
}

// claim returns those conns that the tour has not counted, and marks them as
// counted.
func (t *tour) claim(conns []*conn.Conn) []*conn.Conn {
	t.rt.past.Lock()
	defer t.rt.past.Unlock()
	var mine []*conn.Conn
	for _, c := range conns {
		if s := c.Data.(*Socket); s.toured != t.number {
			s.toured = t.number
			mine = append(mine, c)
		}
	}
	return mine
}

// visit adds up the turns of all present and past objects of a class. It
// returns its groups and its plain objects with sockets.
func (t *tour) visit(c *object.Class) (groups, crowds []*objectState, turns turn.Stats) {
	turns = c.Tour(t.number, func(counted *object.Object) {
		o := stateOf(counted)
		switch {
		case o.group != nil:
			groups = append(groups, o)
		case o.replica == nil && o.crowd.Load() != nil:
			crowds = append(crowds, o)
		}
	})
	return groups, crowds, turns
}

// Objects returns the objects that are now in memory or have open sockets, in
// no particular order.
func (rt *Runtime) Objects() iter.Seq[LiveObject] {
	return func(yield func(LiveObject) bool) {
		if rt == nil || rt.host == nil {
			return
		}
		for _, o := range rt.objects() {
			if !yield(o.state()) {
				return
			}
		}
	}
}

// SlowSocket describes an open socket that has yet to send something to its
// client.
type SlowSocket struct {
	Object      ObjectInfo // whose socket it is
	ID, UID     string
	QueuedBytes int  // waiting to be sent
	Behind      bool // it is catching up from the history
}

// SlowSockets returns at most n of the open sockets that have yet to send
// something: first those that are behind the history, then those with the most
// bytes in their queues. Like [Runtime.Stats] it visits every socket.
func (rt *Runtime) SlowSockets(n int) []SlowSocket {
	if rt == nil || rt.host == nil || n <= 0 {
		return nil
	}
	var all []SlowSocket
	for _, o := range rt.objects() {
		for c := range o.conns() {
			slow := SlowSocket{QueuedBytes: c.Stats().QueuedBytes, Behind: c.Behind()}
			if slow.QueuedBytes == 0 && !slow.Behind {
				continue
			}
			s := c.Data.(*Socket)
			slow.Object, slow.ID, slow.UID = o.info(), s.ID(), s.UID()
			all = append(all, slow)
		}
	}
	slices.SortFunc(all, func(a, b SlowSocket) int {
		if a.Behind != b.Behind {
			if a.Behind {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.QueuedBytes, a.QueuedBytes), cmp.Compare(a.ID, b.ID))
	})
	return all[:min(n, len(all))]
}

// replicas returns the state of each replica.
func (g *groupState) replicas() iter.Seq[ReplicaStats] {
	return func(yield func(ReplicaStats) bool) {
		for _, r := range g.replicaStates() {
			if !yield(r.stats(nil)) {
				return
			}
		}
	}
}

func (g *groupState) stats(t *tour) GroupStats {
	s := GroupStats{ObjectInfo: g.obj.info()}
	for _, r := range g.replicaStates() {
		s.Replicas = append(s.Replicas, r.stats(t))
	}
	s.Limit, s.Members = g.obj.ns.limit, g.attendance.Count()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.book != nil {
		s.UIDs, s.Lingering = g.book.IDs(), g.book.Lingering()
	}
	return s
}

// stats returns the state of a replica, without the sockets that the tour has
// already counted. t may be nil.
func (r *replicaState) stats(t *tour) ReplicaStats {
	s := ReplicaStats{ObjectInfo: r.obj.info(), Limit: r.group.obj.ns.limit}
	s.Sockets, s.Traffic = r.obj.traffic(t)
	r.group.mu.Lock()
	defer r.group.mu.Unlock()
	s.Load, s.Reserved, s.Held = r.entry.Load(), r.entry.Reserved(), r.entry.Held()
	s.Draining, s.Locked = r.entry.Draining(), r.entry.Locked()
	return s
}

// traffic returns the number of the object's sockets and their traffic, without
// the sockets that the tour has already counted. t may be nil.
func (o *objectState) traffic(t *tour) (sockets int, traffic Traffic) {
	for conns := range slices.Chunk(slices.Collect(o.conns()), socketStep) {
		if t != nil {
			conns = t.claim(conns)
		}
		for _, c := range conns {
			if !c.Data.(*Socket).lingers.Load() {
				sockets++
			}
			traffic.add(Traffic(c.Stats()))
		}
	}
	return sockets, traffic
}

// kept returns the state of the history of a plain object or a group, and of
// the sessions of its clients.
func (o *objectState) kept() (h HistoryStats) {
	if sessions := o.ownSessions(); sessions != nil {
		h.Sessions = sessions.Len(unixNow())
	}
	r := o.ownHistory()
	if r == nil {
		return h
	}
	log := r.Stats()
	h.Messages, h.Bytes = log.Messages, log.Bytes
	if log.Messages == 0 {
		return h
	}
	owners := []*objectState{o}
	if o.group != nil {
		owners = nil
		for _, replica := range o.group.replicaStates() {
			owners = append(owners, replica.obj)
		}
	}
	for _, owner := range owners {
		for c := range owner.conns() {
			if c.Behind() {
				h.Behind++
			}
		}
	}
	return h
}

// socketLeft removes a socket from its object, if that has not been done. The
// mutex and the record for the tour let Stats count the socket exactly once.
func (rt *Runtime) socketLeft(s *Socket, slow bool) {
	rt.past.Lock()
	defer rt.past.Unlock()
	if !s.obj.socketSet().set.Remove(s.conn) {
		return
	}
	rt.past.leaving[s.conn] = struct{}{}
	if rt.past.touring && s.toured != rt.past.tours {
		s.toured = rt.past.tours
		rt.past.missed = append(rt.past.missed, s.conn)
	}
	if slow {
		rt.past.slow++
	}
}

// leaving returns the connections of sockets that have left their object and
// are not closed yet.
func (rt *Runtime) leaving() []*conn.Conn {
	rt.past.Lock()
	defer rt.past.Unlock()
	return slices.Collect(maps.Keys(rt.past.leaving))
}

// socketGone adds the traffic of a closed socket to the total.
func (rt *Runtime) socketGone(s *Socket) {
	rt.past.Lock()
	defer rt.past.Unlock()
	s.obj.socketSet().set.Remove(s.conn) // if it was cut off while it lingered
	delete(rt.past.leaving, s.conn)
	rt.past.traffic.add(Traffic(s.conn.Stats()))
}
