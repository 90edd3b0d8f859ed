package dog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/session"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/wire"
)

// This file serves clients that speak the subprotocol dog.v1, which
// docs/dog.v1.md describes.

// v1Client is what a socket has whose client speaks dog.v1.
type v1Client struct {
	// fixed by Connect
	session string        // "" if the client has none
	link    *session.Link // nil if the client has no session
	asked   Position      // "" if the client has none
	latest  bool          // the client wants new messages only
	ping    time.Duration // 0: none
	max     int64

	resume atomic.Pointer[Resume] // nil until the socket has joined

	// acks keeps acknowledgements in their order, although several goroutines
	// send them, and hello before them. Nothing is taken under it but the locks
	// of package conn.
	acks    sync.Mutex
	greeted bool   // hello has been sent; guarded by acks
	acked   uint64 // the greatest number that the client was told of; guarded by acks
}

// v1Of returns what a request says in dog.v1. It returns nil if the client does
// not offer the subprotocol.
func v1Of(r *http.Request) (*v1Client, error) {
	if !wire.Offered(r.Header) {
		return nil, nil
	}
	q := r.URL.Query()
	v := &v1Client{session: q.Get("session"), latest: !q.Has("after")}
	v.asked = Position(q.Get("after"))
	if v.asked != "" {
		if _, err := wire.ParsePosition(string(v.asked)); err != nil {
			return nil, &StatusError{Status: http.StatusBadRequest, Text: "after is not a position", Err: err}
		}
	}
	if q.Has("session") && !wire.ValidSession(v.session) {
		return nil, &StatusError{
			Status: http.StatusBadRequest, Text: "session must be 8 to 64 letters, digits, - or _",
		}
	}
	return v, nil
}

// hello is the payload of the first frame to a client.
type hello struct {
	Version int       `json:"v"`
	From    Position  `json:"pos"`
	Gap     GapReason `json:"gap"`
	Handled uint64    `json:"in"`
	Ping    int64     `json:"ping"` // ms
	Max     int64     `json:"max"`
}

// greet sends hello.
func (s *Socket) greet(res Resume) {
	s.v1.resume.Store(&res)
	if res.Gap != "" && res.Gap != GapFirst {
		s.countGap()
	}
	handled := s.v1.handled()
	data, err := json.Marshal(hello{
		Version: 1, From: res.From, Gap: res.Gap, Handled: handled,
		Ping: s.v1.ping.Milliseconds(), Max: s.v1.max,
	})
	if err != nil {
		panic(err) // there is nothing that cannot be encoded
	}
	s.v1.acks.Lock()
	_ = s.conn.Send(conn.NewControl(append([]byte{wire.Hello}, data...)), "")
	s.v1.greeted, s.v1.acked = true, handled
	s.v1.acks.Unlock()
	if now := s.v1.handled(); now > handled { // confirmed since, by another connection of the session
		s.ack(now)
	}
}

// handled returns the greatest number of the client's messages that were
// handled for good.
func (v *v1Client) handled() uint64 {
	if v.link == nil {
		return 0
	}
	return v.link.Handled()
}

// joinSet lets the socket receive the messages to all sockets of its object,
// and before them those that it has missed.
func (s *Socket) joinSet(set *socketSet) {
	r := s.obj.record()
	if r == nil {
		if s.v1 != nil {
			res := Resume{Asked: s.v1.asked, Gap: GapFirst}
			if res.Asked != "" {
				res.Gap = GapEpoch
			}
			s.greet(res)
		}
		set.join(s)
		return
	}
	release := r.Hold()
	defer release()
	if s.v1 != nil {
		res := r.ResumeLocked(string(s.v1.asked), s.v1.latest)
		s.greet(resumeOf(s.v1.asked, res))
		s.conn.Follow(res.After, res.Last)
	}
	set.join(s)
}

// handle passes a message of the client to the object.
func (s *Socket) handle(op conn.Op, data []byte) {
	if s.v1 == nil {
		s.handleAny(op, data)
		return
	}
	f, err := wire.Parse(data)
	switch {
	case err != nil || f.ID != 0 && f.Kind == wire.Message && s.v1.link == nil:
		s.close(closeMalformed, "not dog.v1", true)
	case f.Kind != wire.Message:
	case f.ID == 0:
		s.handleAny(op, f.Payload)
	default:
		s.handleOnce(op, f)
	}
}

// handleAny passes a message without a number to the object.
func (s *Socket) handleAny(op conn.Op, data []byte) {
	_ = s.event(s.life(), EventMessage, func(ctx context.Context, v any) error {
		if s.outdated(ctx) {
			return nil
		}
		return s.onMessage(ctx, v, op, data)
	})
}

// handleOnce passes a message with a number to the object, unless that has been
// done before. From Begin on the message counts as handled, whatever becomes of
// the connection.
func (s *Socket) handleOnce(op conn.Op, f wire.Frame) {
	link, verdict, exited := s.v1.link, session.Refused, true
	defer func() {
		if exited && verdict == session.Handle { // the handler called runtime.Goexit
			s.abandon(f.ID)
		}
	}()
	err := s.event(s.life(), EventMessage, func(ctx context.Context, v any) error {
		if s.outdated(ctx) {
			return nil
		}
		if verdict = link.Begin(f.ID); verdict != session.Handle {
			return nil
		}
		tx := &object.LifeOf(turn.From(ctx)).Tx
		commits := tx.Commits()
		err := s.onMessage(ctx, v, op, f.Payload)
		if err != nil && s.obj.ns.RollbackOnError {
			return err
		}
		return cmp.Or(err, s.note(tx, commits, f.ID))
	})
	exited = false
	switch verdict {
	case session.Repeated:
		s.ack(link.Handled())
	case session.Refused:
		link.Refuse()
		s.again()
	case session.Busy:
		s.again()
	case session.Handle:
		s.conclude(f.ID, err)
	}
}

// conclude records how the handling of a message with a number has ended.
func (s *Socket) conclude(number uint64, err error) {
	link := s.v1.link
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrStalled) || errors.Is(err, store.ErrFailed) {
		link.Retry()
		s.close(1013, "nothing can be stored now", true)
		return
	}
	if reset, ok := errors.AsType[*ResetError](err); ok && reset.Object == s.obj.id() {
		s.abandon(number)
		return
	}
	link.End(number, true)
	s.obj.Gate.Send(func(lost error) {
		if _, undone := errors.AsType[*gate.Undone](lost); lost != nil && !undone {
			link.Lost()
			return
		}
		link.Confirm(number)
	})
}

// abandon records that the handling of a message with a number has reset the
// object.
func (s *Socket) abandon(number uint64) {
	if s.v1.link.End(number, false) {
		s.obj.Log().Error("message is dropped after three resets", "session", s.v1.session, "number", number)
	}
}

// again closes the connection, so that the client sends its messages again.
func (s *Socket) again() { s.close(1013, "an earlier message has not been handled", true) }

// ack acknowledges the client's messages up to a number, unless the client
// knows of a greater one.
func (s *Socket) ack(number uint64) {
	s.v1.acks.Lock()
	defer s.v1.acks.Unlock()
	if !s.v1.greeted || number < s.v1.acked {
		return
	}
	s.v1.acked = number
	_ = s.conn.Send(conn.NewControl(strconv.AppendUint([]byte{wire.Ack}, number, 10)), "")
}

// The codes with which dog.v1 closes a connection whose client should not come
// back.
const (
	closeReplaced  = 4001
	closeMalformed = 4003
)
