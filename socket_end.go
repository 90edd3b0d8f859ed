package dog

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// How a socket leaves its replica.

// finish takes a socket whose connection has ended from its replica and reports
// its end.
func (s *Socket) finish(cause *CloseError) {
	rt := s.member.obj.runtime()
	rt.heart.Remove(s.conn)
	s.member.leaving.Add(1) // before it is off the replica: that is not retired or stopped until OnClose has returned
	if !s.lingers.Load() {
		rt.socketLeft(s, errors.Is(cause, ErrSlowConsumer))
	}
	if cause.Err != nil {
		level := slog.LevelInfo
		if cause.Code == 1006 {
			level = slog.LevelDebug // clients get lost every day
		}
		s.member.obj.log().Log(context.Background(), level, "socket failed", "socket", s.ID(), "code", cause.Code, "error", cause.Err)
	}
	s.member.books.releaseSocket(s)
	s.member.obj.trace().socketClosed(s, cause)
	defer func() { // even when the handler ends its goroutine
		s.member.leaving.Add(-1)
		s.conn.OnEnd(func() { // no goroutine waits for a client that does not hang up
			rt.socketGone(s)
			rt.leave()
		})
	}()
	s.report(cause)
}

// last answers a client that ends the connection when what its replica has said
// before has left, or when CloseTimeout has passed. Until then the socket is
// there for that alone.
func (s *Socket) last() {
	gate := s.member.obj.gate
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

// part takes a socket that lingers off its replica.
func (s *Socket) part() {
	s.member.obj.runtime().socketLeft(s, false)
	s.conn.Depart()
}

// report runs OnClose or OnError.
func (s *Socket) report(cause *CloseError) {
	kind := EventClose
	if cause.Err != nil && s.member.obj.ns.onError {
		kind = EventError
	}
	began := false
	handle := func(ctx context.Context, v any) error {
		began = true
		if kind == EventError {
			return v.(ErrorHandler).OnError(ctx, s, cause)
		}
		if h, ok := v.(CloseHandler); ok {
			return h.OnClose(ctx, s, cause.Code, cause.Reason)
		}
		return nil
	}
	patient := context.WithoutCancel(s.life())
	for !began {
		// A Shutdown that loses patience refuses who waits for a turn, but
		// every socket that joined gets its OnClose. Compared as it is: an
		// OnStart that fails with it would fail again and again.
		if err := s.event(patient, kind, handle); err != ErrShutdown {
			return
		}
	}
}

func (b *books) releaseSocket(s *Socket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.book.Release(s.place, b.runtime().now())
}
