package dog

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// How a socket leaves its object.

// finish takes a socket whose connection has ended from its object and reports
// its end.
func (s *Socket) finish(cause *CloseError) {
	rt := s.obj.runtime()
	s.conn.StopHeartbeat()
	if !s.lingers.Load() {
		rt.socketLeft(s, errors.Is(cause, ErrSlowConsumer))
	}
	if cause.Err != nil {
		level := slog.LevelInfo
		if cause.Code == 1006 {
			level = slog.LevelDebug // clients get lost every day
		}
		s.obj.log().Log(context.Background(), level, "socket failed", "socket", s.ID(), "code", cause.Code, "error", cause.Err)
	}
	s.release()
	s.obj.trace().socketClosed(s, cause)
	defer func() { // even when the handler ends its goroutine
		s.obj.socketSet().unreserve() // until here the object is not retired or stopped
		s.conn.OnEnd(func() {         // no goroutine waits for a client that does not hang up
			rt.socketGone(s)
			rt.leave()
		})
	}()
	s.report(cause)
}

// last answers a client that ends the connection when what its object has said
// before has left, or when CloseTimeout has passed. Until then the socket is
// there for that alone.
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

// part takes a socket that lingers off its object.
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
		// A Shutdown that loses patience refuses who waits for a turn, but
		// every socket that joined gets its OnClose. Compared as it is: an
		// OnStart that fails with it would fail again and again.
		err := s.event(patient, kind, func(ctx context.Context, v any) error {
			began = true
			return handle(ctx, v)
		})
		if err != ErrShutdown {
			return
		}
	}
}

// release gives the socket's place back.
func (s *Socket) release() {
	if s.obj.member == nil {
		s.obj.socketSet().exit(s)
		return
	}
	b := s.obj.member.books
	b.mu.Lock()
	defer b.mu.Unlock()
	b.book.Release(s.place, b.runtime().now())
}
