package dog

import (
	"errors"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/tx"
)

// newRecord returns the history of an object or a group. It returns nil if its
// type keeps none.
func (o *objectState) newRecord(drain func()) *record.Record {
	if !o.ns.history.on() {
		return nil
	}
	return record.New(record.Config{
		Config: o.ns.history.config(), Durable: o.ns.history.Durable,
		Engine: o.runtime().host.Engine, Base: o.ID.Base(),
		Reader: func(c *conn.Conn) (history.Reader, bool) {
			s := c.Data.(*Socket)
			return s.reader(), s.v1 != nil
		},
		Drain: drain,
	})
}

// Keeper implements [object.Peers].
func (o *objectState) Keeper() tx.Keeper {
	if o.replica != nil {
		if g := o.replica.group; g.record != nil && g.obj.ns.history.Durable {
			return record.Keeper{Record: g.record}
		}
	} else if r := o.ownHistory(); r != nil && o.ns.history.Durable {
		return record.Keeper{Record: r, Owner: true}
	}
	return nil
}

// reader returns who the socket is to a history. A client without a session is
// known as long as it is connected.
func (s *Socket) reader() history.Reader {
	r := history.Reader{UID: s.uid, Session: string(s.id[:])}
	if s.v1 != nil && s.v1.session != "" {
		r.Session = s.v1.session
	}
	return r
}

// audience returns for whom a message is that is sent to all sockets.
func (o outgoing) audience() history.Audience {
	to := history.Audience{Except: o.except.Owner}
	if o.except.Conn != nil {
		to.ExceptSession = o.except.Conn.Data.(*Socket).reader().Session
	}
	return to
}

// draft returns the message for a history.
func (o outgoing) draft(to history.Audience, queue func() (long bool)) *record.Draft {
	return &record.Draft{Frame: o.frame, Key: o.key, To: to, Queue: queue}
}

// draftFor returns a message to the sockets of a uid, whose number is in
// reached when it has been sent.
func (o outgoing) draftFor(uid string, socketsOf func(uid string) []*Socket) (d *record.Draft, reached *int) {
	reached = new(int)
	return o.draft(history.Audience{Only: uid}, func() bool {
		for _, s := range socketsOf(uid) {
			if s.conn.Send(o.frame, o.key) == nil {
				*reached++
			}
		}
		return false
	}), reached
}

// keep arranges for a message to be kept in r and sent, in its order among what
// the object sends. If the history is durable, the message is part of the
// object's transaction, or of one of its own if no event has the turn.
func (o *objectState) keep(r *record.Record, d *record.Draft) error {
	size := d.Frame.Len()
	if !r.Durable() {
		// The owner is not being forgotten, or has no sockets.
		return o.sendGated(size, func() { _ = r.Keep(d) })
	}
	cost, err := o.hold(&o.held, o.runtime().opts.Sockets.QueueBytes, size)
	if err != nil {
		return err
	}
	joined, err := o.Object.Keep(d)
	var commit uint64
	if err == nil && !joined {
		commit, err = r.Store(d)
	}
	if err != nil {
		o.unhold(&o.held, cost)
		return err
	}
	o.Gate.Send(func(lost error) {
		o.unhold(&o.held, cost)
		if _, undone := errors.AsType[*gate.Undone](lost); joined || lost != nil && !undone {
			r.Settle(d, lost)
			return
		}
		o.runtime().host.Engine.OnDurable(commit, func(lost error) { r.Settle(d, lost) })
	})
	return nil
}
