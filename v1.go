package dog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
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

// v1Request is what a client asks for that speaks dog.v1.
type v1Request struct {
	session string      // "" if the client has none
	asked   wire.Packed // none if the client has none
	latest  bool        // the client wants new messages only

	// what it is told, set by Connect
	ping time.Duration // 0: none
	max  int64
}

// v1Client is what a socket has whose client speaks dog.v1. There are many of
// them that are idle, so it has nothing that is needed only at the beginning.
type v1Client struct {
	link *session.Link // nil if the client has no session. fixed by Connect

	// Of Resume. guarded by Socket.mu, except asked, which is fixed
	asked, from wire.Packed
	gap         uint8 // in gapReasons

	greeted bool // hello has been sent. guarded by Socket.mu
}

// gapReasons are those of a [Resume].
var gapReasons = [...]GapReason{"", GapFirst, GapExpired, GapEpoch, GapAhead}

func gapNumber(why GapReason) uint8 { return uint8(slices.Index(gapReasons[:], why)) }

func newV1Client(r *v1Request) *v1Client { return &v1Client{asked: r.asked, gap: gapNumber(GapFirst)} }

// v1Of returns what a request says in dog.v1. It returns nil if the client does
// not offer the subprotocol.
func v1Of(r *http.Request) (*v1Request, error) {
	if !wire.Offered(r.Header) {
		return nil, nil
	}
	q := r.URL.Query()
	// The session is remembered for long, and must not keep the URL.
	v := &v1Request{session: strings.Clone(q.Get("session")), latest: !q.Has("after")}
	if asked := q.Get("after"); asked != "" {
		p, err := wire.ParsePosition(asked)
		if err != nil {
			return nil, &StatusError{Status: http.StatusBadRequest, Text: "after is not a position", Err: err}
		}
		v.asked = p.Pack()
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

// greet sends hello. from is the position after which the client gets all
// messages.
func (s *Socket) greet(v1 *v1Request, from wire.Packed, gap GapReason) {
	if gap != "" && gap != GapFirst {
		s.countGap()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v1.from, s.v1.gap, s.v1.greeted = from, gapNumber(gap), true
	data, err := json.Marshal(hello{
		Version: 1, From: Position(from.String()), Gap: gap, Handled: s.v1.handled(),
		Ping: v1.ping.Milliseconds(), Max: v1.max,
	})
	if err != nil {
		panic(err) // there is nothing that cannot be encoded
	}
	_ = s.conn.Send(conn.NewControl(append([]byte{wire.Hello}, data...)), "")
}

// greeted reports whether the client may get messages: one of dog.v1 takes none
// before hello.
func (s *Socket) greeted() bool {
	if s.v1 == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.v1.greeted
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
func (s *Socket) joinSet(set *socketSet, v1 *v1Request) {
	r := s.obj.record()
	if r == nil {
		if v1 != nil {
			gap := GapFirst
			if v1.asked != (wire.Packed{}) {
				gap = GapEpoch
			}
			s.greet(v1, wire.Packed{}, gap)
		}
		set.join(s)
		return
	}
	release := r.Hold()
	defer release()
	if v1 != nil {
		res := r.ResumeLocked(v1.asked.String(), v1.latest)
		s.greet(v1, res.Chapter.Position(res.After).Pack(), GapReason(res.Gap))
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
		s.handleFrame(op, f)
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
	var settles *settling
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
		if err == nil || !s.obj.ns.RollbackOnError {
			err = cmp.Or(err, s.note(tx, commits, f.ID))
		}
		settles = s.settle(f.ID)
		return err
	})
	exited = false
	switch verdict {
	case session.Repeated:
		s.ack()
	case session.Refused:
		link.Refuse()
		s.again()
	case session.Busy:
		s.again()
	case session.Handle:
		s.conclude(f.ID, err, settles)
	}
}

// A settling is how the handling of a message with a number turns out, once its
// event has ended well and its writes are durable or lost.
type settling struct {
	link   *session.Link // fixed
	number uint64        // fixed
	left   atomic.Int32  // of the two
	lost   error         // why the writes are lost; set before left falls
}

// settle begins a settling. It is called in the turn, because the gate has what
// other events have written afterwards.
func (s *Socket) settle(number uint64) *settling {
	t := &settling{link: s.v1.link, number: number}
	t.left.Store(2)
	s.obj.Gate.Notify(func(lost error) {
		t.lost = lost
		t.step()
	})
	return t
}

func (t *settling) step() {
	if t.left.Add(-1) > 0 {
		return
	}
	if _, undone := errors.AsType[*gate.Undone](t.lost); t.lost != nil && !undone {
		t.link.Lost()
		return
	}
	t.link.Confirm(t.number)
}

// conclude records how the handling of a message with a number has ended.
func (s *Socket) conclude(number uint64, err error, settles *settling) {
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
	settles.step()
}

// abandon records that the handling of a message with a number has reset the
// object.
func (s *Socket) abandon(number uint64) {
	if s.v1.link.End(number, false) {
		s.obj.Log().Error("message is dropped after three resets", "session", s.v1.link.Name(), "number", number)
	}
}

// again closes the connection, so that the client sends its messages again.
func (s *Socket) again() { s.close(1013, "an earlier message has not been handled", true) }

// ack acknowledges the client's messages. Several goroutines do so, in the
// order of the numbers and after hello, because a number is read under the lock
// under which it is sent.
func (s *Socket) ack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.v1.greeted {
		_ = s.conn.Send(conn.NewControl(strconv.AppendUint([]byte{wire.Ack}, s.v1.handled(), 10)), "")
	}
}

// sessionClient is a socket as its session knows it.
type sessionClient Socket

func (c *sessionClient) Acknowledge() { (*Socket)(c).ack() }
func (c *sessionClient) Again()       { (*Socket)(c).again() }

// The codes with which dog.v1 closes a connection whose client should not come
// back.
const (
	closeReplaced  = 4001
	closeMalformed = 4003
)
