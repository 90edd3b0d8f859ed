package dog

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// This file removes sockets whose connections have ended from their objects.

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
		s.obj.log().Log(context.Background(), level, "socket failed", "socket", s.ID(), "code", cause.Code, "error", cause.Err)
	}
	s.release()
	s.obj.trace().socketClosed(s, cause)
	defer func() { // even if the handler exits its goroutine
		s.obj.socketSet().unreserve() // until here the object is not retired or stopped
		s.conn.OnEnd(func() {         // no goroutine waits for a client that does not hang up
			rt.socketGone(s)
			rt.work.Leave()
		})
	}()
	s.report(cause)
}

// last replies to a client that closes the connection. It waits until
// everything that the object sent before has left, or until CloseTimeout has
// passed. In that time the socket does nothing else.
func (s *Socket) last() {
	gate := s.obj.gate
	if !s.conn.Leaving() || gate.Open() {
		s.conn.Depart()
		return
	}
	s.lingers.Store(true)
	late := time.AfterFunc(s.conn.CloseTimeout(), s.part)
	gate.Say(func(error) {
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
		s.tellEnd(EventError, func(ctx context.Context, v any) error {
			return v.(ErrorHandler).OnError(ctx, s, cause)
		})
	}
	if s.obj.ns.onClose {
		s.tellEnd(EventClose, func(ctx context.Context, v any) error {
			return v.(CloseHandler).OnClose(ctx, s, cause.Code, cause.Reason)
		})
	}
}

// tellEnd runs a handler of the socket's end.
func (s *Socket) tellEnd(kind EventKind, handle work) {
	began := false
	patient := context.WithoutCancel(s.life())
	for !began {
		// If Shutdown runs out of time, it refuses events waiting for a turn,
		// but every socket that joined must get its OnClose. The error is
		// compared without unwrapping: an OnStart that fails with it would fail
		// again and again.
		err := s.event(patient, kind, func(ctx context.Context, v any) error {
			began = true
			return handle(ctx, v)
		})
		if err != ErrShutdown {
			return
		}
	}
}

// release frees the socket's place.
func (s *Socket) release() {
	s.obj.socketSet().exit(s)
	if s.obj.member == nil {
		return
	}
	b := s.obj.member.books
	b.mu.Lock()
	defer b.mu.Unlock()
	b.book.Release(s.place, b.runtime().now())
}
