package dog

import (
	"fmt"
	"iter"
	"net/http"
	"sync"

	"github.com/godurable/dog/internal/conn"
)

// crowd is what objects with sockets of their own have. It is embedded
// unexported, like core.
type crowd struct{ core }

// Connect upgrades a request that Receive got to a WebSocket. The options are
// the socket's own: nil and zero fields stand for those of the type, then of
// the runtime. The socket's UID is that of the options, or [UID]. The socket
// takes over the request's place. When Receive has returned, or waits, OnOpen
// runs, then OnMessage for each message, then OnClose.
//
// It returns an error when the upgrade is refused, and then the client has been
// answered: 405 for another method than GET, 426 when it asks for no upgrade,
// 400 for a malformed one or an invalid uid, 403 for a page of another origin,
// 503 when the object has MaxSockets sockets and during shutdown, 500 for wrong
// options. Receive has to write no answer in either case. req must be, or
// derive from, the request that Receive got.
//
// Connect does not wait. When the client learns that it is connected, its
// socket has joined and misses nothing. The answer 101 is therefore written on
// the connection itself, later than a ResponseWriter could: net/http sends one
// that it is told of when the connection is hijacked, which is before the
// socket can join and before what Receive has stored is durable, and logs a
// complaint when it is told after that. So a ResponseWriter of a middleware
// sees no WriteHeader for a connection that was accepted, as it does for one
// that was refused. One that has a Hijack of its own sees a call of that
// instead.
func (c *crowd) Connect(w http.ResponseWriter, req *http.Request, options *SocketOptions) (*Socket, error) {
	return c.connect(w, req, options)
}

// Sockets returns the object's open sockets that have all of the tags, as they
// are now, in no order. A socket that is being closed is not among them.
func (c *crowd) Sockets(tags ...string) iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		o, err := c.speaker()
		if err != nil {
			return
		}
		for nc := range o.conns() {
			s := nc.Data.(*Socket)
			if s.hasAll(tags) && !s.over() && !yield(s) {
				return
			}
		}
	}
}

// SocketsOf returns the object's open sockets of a uid, as they are now, in no
// order. A socket that is being closed is not among them.
func (c *crowd) SocketsOf(uid string) iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		o, err := c.speaker()
		if err != nil {
			return
		}
		for _, s := range o.socketsOf(uid) {
			if !s.over() && !yield(s) {
				return
			}
		}
	}
}

// socketSet are the sockets of an object. It belongs to the object's identity,
// not to its instance.
type socketSet struct {
	set conn.Set

	mu    sync.Mutex
	count int                // sockets that connect, are open, or whose OnClose has not returned. guarded by mu
	byUID map[string]*Socket // the open ones of a plain object, linked by Socket.next. guarded by mu, like next
}

// socketSet returns the object's sockets, which it makes room for.
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

// reserve takes a place for a socket; most is their number, 0 for no bound.
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

// enter makes a socket one of its uid's. Those of replicas are in their group's
// books instead.
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

// exit ends enter, if it has been called.
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
// leave. It takes no lock but that of the sockets.
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
	if o.member == nil {
		if s := o.crowd.Load(); s != nil {
			return s.of(uid)
		}
		return nil
	}
	var own []*Socket
	for _, s := range o.member.books.socketsOf(uid) {
		if s.obj == o {
			own = append(own, s)
		}
	}
	return own
}

// hasSocketsOf reports whether there are open sockets of an instance's era.
func (o *object) hasSocketsOf(inst *instance) bool {
	for c := range o.conns() {
		if c.Data.(*Socket).era == inst.era && !c.Closing() {
			return true
		}
	}
	return false
}

// closeSocketsOf closes the sockets of an instance that has been reset; the
// next one may have some of its own already.
func (o *object) closeSocketsOf(inst *instance) {
	for c := range o.conns() {
		if c.Data.(*Socket).era == inst.era {
			_ = c.Close(1011, "")
		}
	}
}

// closeSockets closes all sockets of the object with a code and a reason that
// are valid.
func (o *object) closeSockets(code int, reason string) {
	s := o.crowd.Load()
	if s == nil {
		return
	}
	if err := s.set.Close(code, reason); err != nil {
		o.log().Error("cannot close sockets", "error", err)
	}
}

// emit sends v to the object's sockets but one, nil for none, when the
// speaker's gate opens.
func (o *object) emit(speaker *object, sender *Socket, v any, options []SendOption) error {
	out, err := newOutgoing(v, sender, options)
	if err != nil {
		return err
	}
	if err := speaker.heard(); err != nil {
		return err
	}
	return speaker.say(out.frame.Len(), func() { o.deliver(out) })
}

// deliver sends a message to the object's sockets.
func (o *object) deliver(out outgoing) {
	if s := o.crowd.Load(); s != nil {
		s.set.Send(out.frame, out.key, out.except)
	}
}

// whisper sends v to the object's own sockets of a uid.
func (o *object) whisper(uid string, v any, options []SendOption) (int, error) {
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return 0, err
	}
	if err := o.heard(); err != nil {
		return 0, err
	}
	reached := 0
	for _, s := range o.socketsOf(uid) {
		if s.send(out) == nil {
			reached++
		}
	}
	if reached == 0 {
		return 0, fmt.Errorf("%w: %q", ErrNoTarget, uid)
	}
	return reached, nil
}

// disconnect closes the object's own sockets of a uid.
func (o *object) disconnect(uid string, code int, reason string) (int, error) {
	if err := checkClose("Disconnect", code, reason); err != nil {
		return 0, err
	}
	if err := o.heard(); err != nil {
		return 0, err
	}
	closed := 0
	for _, s := range o.socketsOf(uid) {
		if !s.over() {
			s.close(code, reason, false)
			closed++
		}
	}
	if closed == 0 {
		return 0, fmt.Errorf("%w: %q", ErrNoTarget, uid)
	}
	return closed, nil
}
