package dog

import (
	"iter"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/presence"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/session"
)

// socketSet holds the sockets of an object. It belongs to the object's
// identity, not to its life.
type socketSet struct {
	set        conn.Set
	attendance *presence.Attendance // nil: the type of the object has no Presence. fixed
	record     *record.Record       // the history of a plain object; nil: none. fixed

	sessions atomic.Pointer[session.Book] // of the clients of a plain object; nil: none

	mu    sync.Mutex
	count int // connecting, open, or with an OnClose that has not returned. guarded by mu
	// those that are not in set, because the gate still holds back their
	// handshake. guarded by mu
	connecting map[*Socket]struct{}
	// the sockets of a plain object, linked by Socket.next. guarded by mu, like
	// next
	byUID map[string]*Socket
}

// socketSet returns the object's sockets, creating the set if needed.
func (o *objectState) socketSet() *socketSet {
	if s := o.crowd.Load(); s != nil {
		return s
	}
	s := &socketSet{attendance: newAttendance(o)}
	s.set.Writers = o.runtime().writers
	if o.replica != nil && o.replica.group.record != nil {
		s.set.Source = o.replica.group.record
	} else if o.replica == nil {
		if s.record = o.newRecord(s.set.Drain); s.record != nil {
			s.set.Source = s.record
		}
	}
	if !o.crowd.CompareAndSwap(nil, s) {
		return o.crowd.Load()
	}
	return s
}

// reserve takes a place for a socket. most is the maximum number of sockets, 0
// for no limit.
func (s *socketSet) reserve(most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if most > 0 && s.count >= most {
		return false
	}
	s.count++
	return true
}

// unreserve gives a socket's place back, once its OnClose has returned.
func (s *socketSet) unreserve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
}

// enter adds a socket that connects. From here on, the object finds it by its
// uid and in the list of its sockets. By uid, sockets of replicas are in their
// group's state instead.
func (s *socketSet) enter(k *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connecting == nil {
		s.connecting = make(map[*Socket]struct{})
	}
	s.connecting[k] = struct{}{}
	if k.uid == "" || k.obj.replica != nil {
		return
	}
	if s.byUID == nil {
		s.byUID = make(map[string]*Socket)
	}
	k.next = s.byUID[k.uid]
	s.byUID[k.uid] = k
}

// join makes a socket that connects one that receives messages to all.
func (s *socketSet) join(k *Socket) {
	s.set.Add(k.conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connectedLocked(k)
}

// connectedLocked forgets that a socket connects. The caller must hold mu.
func (s *socketSet) connectedLocked(k *Socket) {
	if delete(s.connecting, k); len(s.connecting) == 0 {
		s.connecting = nil // objects with few sockets are many
	}
}

// exit undoes enter.
func (s *socketSet) exit(k *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connectedLocked(k)
	var before *Socket
	for at := s.byUID[k.uid]; at != nil; before, at = at, at.next {
		switch {
		case at != k:
			continue
		case before != nil:
			before.next = k.next
		case k.next != nil:
			s.byUID[k.uid] = k.next
		default:
			delete(s.byUID, k.uid)
		}
		k.next = nil
		return
	}
}

// of returns the sockets of a uid, the newest first.
func (s *socketSet) of(uid string) (all []*Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := s.byUID[uid]; k != nil; k = k.next {
		if !k.lost.Load() {
			all = append(all, k)
		}
	}
	return all
}

// Occupied reports whether the object has sockets, kept messages, members, or
// changes of members that OnPresence has not handled. It takes no lock except
// those of the sockets, the messages and the members.
func (o *objectState) Occupied() bool {
	if o.attendance().Busy() {
		return true
	}
	s := o.crowd.Load()
	return s != nil && s.record.Holds() || o.Visited()
}

// Visited reports whether the object has sockets that connect, are open, or
// leave.
func (o *objectState) Visited() bool {
	s := o.crowd.Load()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count > 0
}

// ownRecord returns the history of the object itself, or nil.
func (o *objectState) ownRecord() *record.Record {
	if o.replica != nil || o.group != nil || !o.ns.history.on() {
		return nil
	}
	return o.socketSet().record
}

// record returns the history that the object's sockets follow, or nil.
func (o *objectState) record() *record.Record {
	if o.replica != nil {
		return o.replica.group.record
	}
	return o.ownRecord()
}

// conns returns the connections of the object's sockets.
func (o *objectState) conns() iter.Seq[*conn.Conn] {
	if s := o.crowd.Load(); s != nil {
		return s.set.Each()
	}
	return func(func(*conn.Conn) bool) {}
}

// sockets returns the object's sockets, also those that connect.
func (o *objectState) sockets() iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		set := o.crowd.Load()
		if set == nil {
			return
		}
		set.mu.Lock()
		connecting := maps.Clone(set.connecting)
		set.mu.Unlock()
		for s := range connecting {
			if !yield(s) {
				return
			}
		}
		for c := range set.set.Each() {
			s := c.Data.(*Socket)
			if _, seen := connecting[s]; !seen && !yield(s) { // it may have joined since
				return
			}
		}
	}
}

// socketsOf returns the object's own sockets of a uid, also those that connect.
// Those of a plain object are in the reverse of the order in which they
// connected.
func (o *objectState) socketsOf(uid string) []*Socket {
	if o.replica == nil {
		if s := o.crowd.Load(); s != nil {
			return s.of(uid)
		}
		return nil
	}
	var own []*Socket
	for _, s := range o.replica.group.socketsOf(uid) {
		if s.obj == o {
			own = append(own, s)
		}
	}
	return own
}

// Connected reports whether the object has open sockets of a generation.
func (o *objectState) Connected(generation uint64) bool {
	for s := range o.sockets() {
		if s.generation == generation && !s.lost.Load() && !s.conn.Closing() {
			return true
		}
	}
	return false
}

// Disconnect closes the sockets of a generation, whose life has been reset. The
// next life may already have its own.
func (o *objectState) Disconnect(generation uint64) {
	for c := range o.conns() {
		if c.Data.(*Socket).generation == generation {
			_ = c.Close(1011, "")
		}
	}
}

// closeSockets closes all sockets of the object.
func (o *objectState) closeSockets(f *conn.Farewell) {
	if s := o.crowd.Load(); s != nil {
		s.set.Close(f)
	}
}
