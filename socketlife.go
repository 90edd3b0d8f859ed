package dog

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/wire"
)

// This file brings sockets from the handshake to their end: it passes on their
// messages, closes those that are superseded, and removes those that have ended
// from their objects.

// finish removes a socket whose connection has ended from its object and runs
// the handlers of its end.
func (s *Socket) finish(cause *CloseError) {
	rt := s.obj.runtime()
	s.conn.StopHeartbeat()
	if !s.lingers.Load() {
		rt.socketLeft(s, errors.Is(cause, ErrSlowConsumer))
	}
	if cause.Err != nil {
		level := slog.LevelInfo
		if cause.Code == 1006 {
			level = slog.LevelDebug // clients lose their connections all the time
		}
		s.obj.Log().Log(
			context.Background(), level, "socket failed", "socket", s.ID(), "code", cause.Code, "error", cause.Err,
		)
	}
	s.release()
	s.obj.ns.counts.closed.Add(cause.Code)
	s.attendance().Exit(s.uid)
	s.obj.runtime().opts.Trace.socketClosed(s, cause)
	s.report(cause)
}

// last replies to a client that closes the connection. It waits until
// everything that the object sent before has left, or until CloseTimeout has
// passed. In that time the socket does nothing else.
func (s *Socket) last() {
	gate := s.obj.Gate
	if !s.conn.Leaving() || gate.Open() {
		s.conn.Depart()
		return
	}
	s.lingers.Store(true)
	late := time.AfterFunc(s.conn.CloseTimeout(), s.part)
	gate.Send(func(error) {
		late.Stop()
		s.part()
	})
}

// part counts a lingering socket as left and ends its wait.
func (s *Socket) part() {
	s.obj.runtime().socketLeft(s, false)
	s.conn.Depart()
}

// report runs OnError, if the connection failed, and then OnClose.
func (s *Socket) report(cause *CloseError) {
	if cause.Err != nil && s.obj.ns.onError {
		exited := true
		defer func() {
			if exited { // as in serve
				go s.reportClose(cause)
			}
		}()
		s.runEndHandler(EventError, func(ctx context.Context, v any) error {
			return v.(ErrorHandler).OnError(ctx, s, cause)
		})
		exited = false
	}
	s.reportClose(cause)
}

// reportClose runs OnClose, the last event of the socket.
func (s *Socket) reportClose(cause *CloseError) {
	defer func() { // even if the handler exits its goroutine
		rt := s.obj.runtime()
		s.obj.socketSet().unreserve() // until here the object is not retired or stopped
		s.conn.OnEnd(func() {         // no goroutine waits for a client that does not hang up
			rt.socketGone(s)
			rt.host.Work.Leave()
		})
	}()
	if s.obj.ns.onClose {
		s.runEndHandler(EventClose, func(ctx context.Context, v any) error {
			return v.(CloseHandler).OnClose(ctx, s, cause.Code, cause.Reason)
		})
	}
}

// runEndHandler runs a handler of the socket's end.
func (s *Socket) runEndHandler(kind EventKind, handle object.Work) {
	began := false
	patient := context.WithoutCancel(s.life())
	for !began {
		// If Shutdown runs out of time, it refuses events waiting for a turn,
		// but every socket that joined must get its OnClose. The error is
		// compared without unwrapping: an OnStart that fails with it would fail
		// again and again.
		err := s.event(patient, kind, func(ctx context.Context, v any) error {
			began = true
			s.speaksIn(ctx)
			return handle(ctx, v)
		})
		if err != ErrShutdown {
			return
		}
	}
}

// release frees the socket's place.
func (s *Socket) release() {
	s.closeSession()
	s.obj.socketSet().exit(s)
	if s.obj.replica == nil {
		return
	}
	b := s.obj.replica.group
	b.mu.Lock()
	defer b.mu.Unlock()
	b.book.Release(s.place, b.runtime().now())
}

// vanish releases a socket whose handshake was never answered, because its
// object's writes were lost.
func (s *Socket) vanish(lost error) {
	defer s.obj.runtime().host.Work.Leave()
	s.conn.Abort(lost)
	_, _, _ = s.conn.Read() // fails, and releases the connection
	s.conn.Wait()
	s.release()
	s.obj.socketSet().unreserve()
}

// join lets the socket receive the messages to all sockets of its object. v1 is
// what its client asks for.
func (s *Socket) join(v1 *v1Request) {
	rt, set := s.obj.runtime(), s.obj.socketSet()
	s.joinSet(set, v1)
	s.attendance().Enter(s.uid)
	s.conn.StartHeartbeat()
	// The goroutine that closes all sockets may have done so just before this
	// one was added.
	if rt.host.Work.Closed() {
		s.conn.Leave(rt.farewell)
	}
	if s.obj.Generation() != s.generation {
		_ = s.conn.Close(1011, "")
	}
}

// serve opens the socket and handles its events.
func (s *Socket) serve() {
	exited := true
	defer func() {
		if exited { // a handler called runtime.Goexit; its reset has begun to close the socket
			go s.attend()
		}
	}()
	s.obj.runtime().opts.Trace.socketOpened(s)
	s.open()
	exited = false
	s.attend()
}

// attend passes each message to the object, and finishes the socket when its
// connection has ended. It returns early when the connection is parked, and is
// called again when there is something to do.
func (s *Socket) attend() {
	exited := true
	defer func() {
		if exited { // as in serve
			go s.attend()
		}
	}()
	cause := s.receive()
	exited = false
	if cause != nil {
		s.finish(cause)
	}
}

// open runs OnOpen.
func (s *Socket) open() {
	err := s.event(s.life(), EventOpen, func(ctx context.Context, v any) error {
		if h, ok := v.(OpenHandler); ok {
			s.speaksIn(ctx)
			return h.OnOpen(ctx, s)
		}
		return nil
	})
	if err != nil { // even if the object's current writes are lost
		s.close(1011, "")
	}
}

// receive passes on messages until the connection ends. It returns how the
// connection ended, or nil when the connection is parked.
func (s *Socket) receive() *CloseError {
	for {
		op, data, err := s.conn.Read()
		if err == conn.ErrParked {
			return nil
		}
		if err != nil {
			var how *conn.CloseError
			if !errors.As(err, &how) {
				return &CloseError{Code: 1006, Err: err}
			}
			if how.Local {
				// Closed on purpose, with or without a response from the
				// client.
				return &CloseError{Code: how.Code, Reason: how.Reason}
			}
			return &CloseError{Code: how.Code, Reason: how.Reason, Err: how.Err}
		}
		s.handle(op, data)
	}
}

// onMessage runs OnMessage.
func (s *Socket) onMessage(ctx context.Context, v any, op conn.Op, data []byte) error {
	if h, ok := v.(MessageHandler); ok {
		return h.OnMessage(ctx, s, Message{Type: MessageType(op), Data: data})
	}
	return nil
}

// outdated reports whether a message is not to be handled because the socket
// was closed, by a handler or by a reset, while the message waited for its
// turn. The next life has not opened the socket.
func (s *Socket) outdated(ctx context.Context) bool {
	return s.conn.Closing() || object.LifeOf(turn.From(ctx)).Generation() != s.generation
}

func (s *Socket) life() context.Context { return s.obj.runtime().host.Ctx }

// event runs a handler of the socket's object. It reports and returns the
// handler's error.
func (s *Socket) event(wait context.Context, kind EventKind, handle func(ctx context.Context, v any) error) error {
	err := s.obj.Deliver(wait, &turn.Origin{}, object.EventKind(kind), handle)
	s.obj.report(kind, err)
	return err
}

// Supersede closes the older sockets of this socket's uid, as [Socket.Close]
// does, with the code 4001 and the reason "replaced". They may be in the
// object, or in the whole group if the object is a replica. A socket is older
// if its Connect was called earlier, so of several that call Supersede, one
// stays. OnOpen calls it if a client should have one connection:
//
//	func (r *Room) OnOpen(ctx context.Context, s *dog.Socket) error { return s.Supersede() }
//
// A client that speaks dog.v1 does not come back after 4001, and others should
// not either: two pages of one user would replace each other forever. Supersede
// keeps the turn. It returns a [UsageError] if the socket has no uid.
func (s *Socket) Supersede() error {
	o, err := s.speaks("Socket.Supersede")
	if err != nil {
		return err
	}
	if s.uid == "" {
		return misuse("Socket.Supersede", "the socket has no uid")
	}
	if err := o.CheckGate(); err != nil {
		return err
	}
	for _, older := range s.older() {
		if err := older.closeAfter(o, wire.CloseReplaced, "replaced"); err != nil {
			return err
		}
	}
	return nil
}

// older returns the sockets of the same uid that connected before this one.
func (s *Socket) older() []*Socket {
	var all []*Socket // in the order in which they connected
	if m := s.obj.replica; m != nil {
		all = m.group.socketsOf(s.uid)
	} else {
		all = s.obj.socketsOf(s.uid)
		slices.Reverse(all)
	}
	return all[:max(slices.Index(all, s), 0)]
}
