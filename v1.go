package dog

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/session"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
	"github.com/godurable/dog/internal/wire"
)

// This file serves clients that speak the subprotocol dog.v1, which
// docs/dog.v1.md describes.

// v1Request is the request of a client that speaks dog.v1, with values for its
// hello.
type v1Request struct {
	*wire.Request

	// set by Connect
	ping time.Duration // 0: none
	max  int64
}

// v1Client is the part of a socket for a client that speaks dog.v1. Many
// sockets are idle, so it has nothing that is needed only at the beginning.
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

func newV1Client(r *v1Request) *v1Client { return &v1Client{asked: r.Asked, gap: gapNumber(GapFirst)} }

// v1Of parses the dog.v1 parameters of a request. It returns nil if the client
// does not offer the subprotocol.
func v1Of(r *http.Request) (*v1Request, error) {
	asks, err := wire.ParseRequest(r)
	if malformed, ok := errors.AsType[*wire.RequestError](err); ok {
		return nil, &StatusError{Status: http.StatusBadRequest, Text: malformed.Text, Err: malformed}
	}
	if asks == nil || err != nil {
		return nil, err
	}
	return &v1Request{Request: asks}, nil
}

// greet sends hello. from is the position after which the client gets all
// messages.
func (s *Socket) greet(v1 *v1Request, from wire.Packed, gap GapReason) {
	switch gap {
	case "":
		s.obj.sessionOwner().ns.counts.resumed.Add(1)
	case GapFirst:
	default:
		s.countGap()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v1.from, s.v1.gap, s.v1.greeted = from, gapNumber(gap), true
	hello := wire.AppendHello(nil, wire.Greeting{
		From: from.String(), Gap: string(gap), Handled: s.v1.handled(), Ping: v1.ping.Milliseconds(), Max: v1.max,
	})
	_ = s.conn.Send(conn.NewControl(hello), "")
}

// greeted reports whether the client may get messages: a client of dog.v1 takes
// none before hello.
func (s *Socket) greeted() bool {
	if s.v1 == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.v1.greeted
}

// handled returns the number of the client's last message that was handled for
// good.
func (v *v1Client) handled() uint64 {
	if v.link == nil {
		return 0
	}
	return v.link.Handled()
}

// joinSet lets the socket receive the messages to all sockets of its object,
// after those that it has missed.
func (s *Socket) joinSet(set *socketSet, v1 *v1Request) {
	r := s.obj.record()
	if r == nil {
		if v1 != nil {
			gap := GapFirst
			if v1.Asked != (wire.Packed{}) {
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
		res := r.ResumeLocked(s.reader(), v1.Asked.String(), v1.Latest)
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
		s.close(wire.CloseMalformed, "not dog.v1")
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

// A numbered is a message with a number, which is passed to the object once.
type numbered struct {
	*Socket // from which it comes
	link    *session.Link
	number  uint64
}

// handleOnce passes a message with a number to the object, unless that has been
// done before. From Begin on the message counts as handled, even if the
// connection breaks.
func (s *Socket) handleOnce(op conn.Op, f wire.Frame) {
	m := numbered{s, s.v1.link, f.ID}
	verdict, exited := session.Refused, true
	var settles *settling
	var life *object.Life
	defer func() {
		if exited && verdict == session.Handle { // the handler called runtime.Goexit
			m.abandon()
		}
	}()
	err := s.event(s.life(), EventMessage, func(ctx context.Context, v any) error {
		if s.outdated(ctx) {
			return nil
		}
		if verdict = m.link.Begin(m.number); verdict != session.Handle {
			return nil
		}
		life = object.LifeOf(turn.From(ctx))
		// A handler may go on after a reset for as long as it likes.
		defer context.AfterFunc(life.Context(), func() { m.cutShort(life) })()
		tx := &life.Tx
		commits := tx.Commits()
		err := s.onMessage(ctx, v, op, f.Payload)
		if err == nil || !s.obj.ns.RollbackOnError {
			err = cmp.Or(err, m.note(tx, commits))
		}
		settles = m.settle()
		return err
	})
	exited = false
	switch verdict {
	case session.Repeated:
		s.ack()
	case session.Refused:
		m.link.Refuse()
		s.again()
	case session.Busy:
		s.again()
	case session.Handle:
		m.conclude(err, life, settles)
	}
}

// note adds to the transaction of the handler that the message was handled.
func (m numbered) note(tx *tx.Tx, commits uint64) error {
	until := unixNow() + m.obj.sessionAge()
	return m.link.Note(tx, commits, m.obj.sessionOwner().ID.Base(), m.number, until)
}

// cutShort records that the handling has failed, if the life of the handler has
// been reset. The later result of the handler has no effect.
func (m numbered) cutShort(life *object.Life) {
	if err := life.Silenced(); err != nil {
		m.conclude(err, life, nil)
	}
}

// A settling waits until the event of a message with a number has succeeded and
// its writes are durable or lost.
type settling struct {
	numbered
	left atomic.Int32 // of the two
	lost error        // why the writes are lost; set before left falls
}

// settle begins a settling. It is called in the turn, because the gate would
// otherwise include the writes of later events.
func (m numbered) settle() *settling {
	t := &settling{numbered: m}
	t.left.Store(2)
	m.obj.Gate.Notify(func(lost error) {
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

// conclude records the result of the handling in a life. The handler may return
// the error of an earlier reset of the object, which it got from another call.
func (m numbered) conclude(err error, life *object.Life, settles *settling) {
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrStalled) || errors.Is(err, store.ErrFailed) {
		m.link.Retry()
		m.close(1013, "nothing can be stored now")
		return
	}
	if reset := life.Silenced(); reset != nil && errors.Is(err, reset) {
		m.abandon()
		return
	}
	m.link.End(m.number, true)
	settles.step()
}

// abandon records that the handling has reset the object.
func (m numbered) abandon() {
	if m.link.End(m.number, false) {
		m.obj.Log().Error("message is dropped after three resets", "session", m.link.Name(), "number", m.number)
	}
}

// again closes the connection, so that the client sends its messages again.
func (s *Socket) again() { s.close(1013, "an earlier message has not been handled") }

// ack acknowledges the client's messages. Several goroutines do so. Reading and
// sending the number under one lock keeps the acknowledgements in order and
// after hello.
func (s *Socket) ack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.v1.greeted {
		_ = s.conn.Send(conn.NewControl(strconv.AppendUint([]byte{wire.Ack}, s.v1.handled(), 10)), "")
	}
}

// sessionClient is a socket as its session sees it.
type sessionClient Socket

func (c *sessionClient) Acknowledge() { (*Socket)(c).ack() }
func (c *sessionClient) Again()       { (*Socket)(c).again() }

// excepted returns the connections that do not get a message. If the sender's
// client has reconnected since it sent the message being handled, its new
// connection is one of them.
func (o outgoing) excepted() conn.Except {
	except := o.except
	if except.Conn == nil {
		return except
	}
	if s := except.Conn.Data.(*Socket); s.v1 != nil && s.v1.link != nil {
		if newest := s.v1.link.Newest(); newest != nil && newest != (*sessionClient)(s) {
			except.Also = newest.(*sessionClient).conn
		}
	}
	return except
}

// ownSessions returns the sessions of the clients of a plain object or a group.
// It returns nil if there are none.
func (o *objectState) ownSessions() *session.Book {
	if o.group != nil {
		return o.group.sessions.Load()
	}
	if set := o.crowd.Load(); set != nil && o.replica == nil {
		return set.sessions.Load()
	}
	return nil
}

// sessionOwner returns the object that keeps the sessions of the object's
// clients: its group if it is a replica.
func (o *objectState) sessionOwner() *objectState {
	if o.replica != nil {
		return o.replica.group.obj
	}
	return o
}

// sessionBook returns the sessions of the object's clients, after reading the
// stored ones. It returns nil if the client has no session.
func (o *objectState) sessionBook(v1 *v1Request) (*session.Book, error) {
	if v1 == nil || v1.Session == "" {
		return nil, nil
	}
	owner := o.sessionOwner()
	at := &owner.socketSet().sessions
	if owner.group != nil {
		at = &owner.group.sessions
	}
	book := at.Load()
	if book == nil {
		at.CompareAndSwap(nil, &session.Book{})
		book = at.Load()
	}
	if err := book.Load(owner.runtime().host.Engine, owner.ID.Base(), unixNow()); err != nil {
		return nil, err
	}
	return book, nil
}

// closeSession ends the connection of the client's session.
func (s *Socket) closeSession() {
	if s.v1 != nil && s.v1.link != nil {
		s.v1.link.Close(unixNow() + s.obj.sessionAge())
	}
}

// sessionAge returns how many seconds the session of a disconnected client is
// remembered.
func (o *objectState) sessionAge() int64 { return o.sessionOwner().ns.history.config().Age }

// unixNow returns the time in seconds, the unit of session ages.
func unixNow() int64 { return time.Now().Unix() }
