package dog

import (
	"iter"
	"sync"

	"github.com/godurable/dog/internal/conn"
)

// socketSet holds the sockets of an object. It belongs to the object's
// identity, not to its instance.
type socketSet struct {
	set conn.Set

	mu    sync.Mutex
	count int // connecting, open, or with an OnClose that has not returned. guarded by mu
	// the open sockets of a plain object, linked by Socket.next. guarded by mu,
	// like next
	byUID map[string]*Socket
}

// socketSet returns the object's sockets, creating the set if needed.
func (o *object) socketSet() *socketSet {
	if s := o.crowd.Load(); s != nil {
		return s
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.crowd.Load(); s != nil {
		return s
	}
	s := &socketSet{}
	s.set.Writers = o.runtime().writers
	o.crowd.Store(s)
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

// enter adds a socket to those of its uid. Sockets of replicas are in their
// group's state instead.
func (s *socketSet) enter(k *Socket) {
	if k.uid == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byUID == nil {
		s.byUID = make(map[string]*Socket)
	}
	k.next = s.byUID[k.uid]
	s.byUID[k.uid] = k
}

// exit undoes enter, if it was called.
func (s *socketSet) exit(k *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// of returns the sockets of a uid.
func (s *socketSet) of(uid string) (all []*Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := s.byUID[uid]; k != nil; k = k.next {
		all = append(all, k)
	}
	return all
}

// occupied reports whether the object has sockets that connect, are open, or
// leave. It takes no lock except that of the sockets.
func (o *object) occupied() bool {
	s := o.crowd.Load()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count > 0
}

// conns returns the connections of the object's sockets.
func (o *object) conns() iter.Seq[*conn.Conn] {
	if s := o.crowd.Load(); s != nil {
		return s.set.Each()
	}
	return func(func(*conn.Conn) bool) {}
}

// socketsOf returns the object's own sockets of a uid.
func (o *object) socketsOf(uid string) []*Socket {
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

// hasSocketsOf reports whether the object has open sockets of an instance's
// era.
func (o *object) hasSocketsOf(inst *instance) bool {
	for c := range o.conns() {
		if c.Data.(*Socket).era == inst.era && !c.Closing() {
			return true
		}
	}
	return false
}

// closeSocketsOf closes the sockets of an instance that has been reset. The
// next instance may already have its own.
func (o *object) closeSocketsOf(inst *instance) {
	for c := range o.conns() {
		if c.Data.(*Socket).era == inst.era {
			_ = c.Close(1011, "")
		}
	}
}

// closeSockets closes all sockets of the object. code and reason must be valid.
func (o *object) closeSockets(code int, reason string) {
	s := o.crowd.Load()
	if s == nil {
		return
	}
	if err := s.set.Close(code, reason); err != nil {
		o.log().Error("cannot close sockets", "error", err)
	}
}
