package dog

import (
	"context"
	"errors"
	"fmt"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/turn"
)

// Output passes the gate of an object: that of the object whose handler's
// context was passed to the call, or of the object that the socket or value
// belongs to. That need not be the object whose handler is really running,
// which only Options.CheckTurns can detect.

// audience returns the audience of a message to all sockets.
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
			// The client of one that connects gets it from the history.
			if s.deliver(o) == nil {
				*reached++
			}
		}
		return false
	}), reached
}

// keep arranges for a message to be kept in r and sent, in its order among what
// the object sends. If the history is durable, the message is part of the
// object's transaction, or of one of its own if no event has the turn.
func (o voice) keep(r *record.Record, d *record.Draft) error {
	size := d.Frame.Len()
	if !r.Durable() {
		// The owner is not being forgotten, or has no sockets.
		return o.sendGated(size, func() { _ = r.Keep(d) })
	}
	cost, err := o.hold(&o.held, o.runtime().queueBytes(), size)
	if err != nil {
		return err
	}
	d.Speaker = o.Gate
	joined, err := o.joins(d, func() {
		o.Gate.Send(func(lost error) {
			o.unhold(&o.held, cost)
			r.Settle(d, lost)
		})
	})
	var commit uint64
	if err == nil && !joined {
		commit, err = r.Store(d)
	}
	if err != nil {
		o.unhold(&o.held, cost)
		return err
	}
	if !joined {
		o.Gate.SendAfter(commit, func(lost error) {
			o.unhold(&o.held, cost)
			if lost == nil {
				r.Settle(d, nil)
				return
			}
			// Perhaps only the object has been reset. What is stored is sent.
			o.runtime().host.Engine.OnDurable(commit, func(lost error) { r.Settle(d, lost) })
		})
	}
	return nil
}

// emit sends v to the object's sockets except sender, which may be nil, when
// the source's gate opens.
func (o *objectState) emit(source voice, sender *Socket, v any, options []SendOption) error {
	out, err := newOutgoing(v, sender, options)
	if err != nil {
		return err
	}
	if err := source.CheckGate(); err != nil {
		return err
	}
	if r := o.ownRecord(); r != nil && !out.transient {
		set := &o.socketSet().set
		return source.keep(r, out.draft(out.audience(), func() bool {
			return set.Queue(out.frame, out.key, out.excepted())
		}))
	}
	return source.sendGated(out.frame.Len(), func() { o.sendOut(out) })
}

// sendOut sends a message that is not kept to the object's sockets.
func (o *objectState) sendOut(out outgoing) {
	if s := o.crowd.Load(); s != nil {
		s.set.Send(out.frame, out.key, out.excepted())
	}
}

// whisper sends v to the object's own sockets of a uid.
func (o voice) whisper(uid string, v any, options []SendOption) (int, error) {
	if err := checkUID(uid); err != nil {
		return 0, err
	}
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return 0, err
	}
	if err := o.CheckGate(); err != nil {
		return 0, err
	}
	if r := o.ownRecord(); r != nil && !out.transient {
		reached := 0
		for _, s := range o.socketsOf(uid) {
			if !s.over() {
				reached++
			}
		}
		d, _ := out.draftFor(uid, o.socketsOf)
		return reached, o.keep(r, d)
	}
	reached, failed := 0, error(nil)
	for _, s := range o.socketsOf(uid) {
		switch err := s.send(o, out); {
		case err == nil:
			reached++
		case errors.Is(err, ErrHeldBack), errors.Is(err, ErrReset):
			failed = err
		}
	}
	switch {
	case failed != nil:
		return reached, failed
	case reached == 0:
		return 0, fmt.Errorf("%w: %q", ErrNoTarget, uid)
	}
	return reached, nil
}

// disconnect closes the object's own sockets of a uid.
func (o voice) disconnect(uid string, code int, reason string) (int, error) {
	if err := checkUID(uid); err != nil {
		return 0, err
	}
	if err := checkClose("Disconnect", code, reason); err != nil {
		return 0, err
	}
	if err := o.CheckGate(); err != nil {
		return 0, err
	}
	closed := 0
	for _, s := range o.socketsOf(uid) {
		if !s.over() {
			if err := s.closeAfter(o, code, reason); err != nil {
				return closed, err
			}
			closed++
		}
	}
	if closed == 0 {
		return 0, fmt.Errorf("%w: %q", ErrNoTarget, uid)
	}
	return closed, nil
}

// sendGatedFrom arranges for send to be called when the gate of the object
// whose handler ctx belongs to opens, and gives up the turn. If ctx belongs to
// no handler, send is called at once.
func sendGatedFrom(ctx context.Context, size int, send func()) error {
	if err := object.MayWait(ctx); err != nil {
		return err
	}
	e := turn.From(ctx)
	if err := object.PastGate(e, nil); err != nil {
		return err
	}
	if e == nil {
		send()
		return nil
	}
	from := runningIn(e).voice()
	if err := object.LifeOf(e).Silenced(); err != nil {
		return err
	}
	// While still in the turn, so that send depends on the writes of this turn.
	if err := from.sendGated(size, send); err != nil {
		return err
	}
	wait, err := object.Yield(ctx, nil)
	if err != nil {
		return err
	}
	wait.Resume()
	return nil
}

// broadcast sends v to every socket of the group except sender, which may be
// nil. It is sent when the source's gate opens.
func (g *groupState) broadcast(source voice, sender *Socket, v any, options []SendOption) error {
	out, err := newOutgoing(v, sender, options)
	if err != nil {
		return err
	}
	if err := source.CheckGate(); err != nil {
		return err
	}
	if g.record != nil && !out.transient {
		return source.keep(g.record, g.draft(out))
	}
	return source.sendGated(out.frame.Len(), func() { g.send(out) })
}

// broadcast sends v to every socket of the group that a refers to, on behalf of
// the holder of ctx.
func (a *address) broadcast(ctx context.Context, v any, options []SendOption) error {
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return err
	}
	if a.keeps(out) {
		return a.inGroup(ctx, func(g *groupState) error { return g.record.KeepNow(ctx, g.draft(out)) })
	}
	return sendGatedFrom(ctx, out.frame.Len(), func() {
		if o := a.ns.holder(a.id); o != nil {
			o.group.send(out)
		}
	})
}

// keeps reports whether the group that a refers to keeps a message.
func (a *address) keeps(out outgoing) bool { return a.ns.history.on() && !out.transient }

// inGroup calls f for the state of the group that a refers to, once the holder
// of ctx has nothing pending. It starts the group, since that has the messages
// that were kept before. f returns object.ErrRetired if the group is being
// forgotten.
func (a *address) inGroup(ctx context.Context, f func(*groupState) error) error {
	return object.AwaitDurable(ctx, nil, func() error {
		return on(ctx, a, func(o *objectState) error {
			if err := o.group.start(ctx); err != nil {
				return err
			}
			return f(o.group)
		})
	})
}

// send sends a message that is not kept to all sockets of the group.
func (g *groupState) send(out outgoing) {
	for _, r := range g.replicaStates() {
		r.obj.sendOut(out)
	}
}

// draft returns a message to all sockets of the group, to be kept.
func (g *groupState) draft(out outgoing) *record.Draft {
	return out.draft(out.audience(), func() (long bool) {
		except := out.excepted()
		for _, r := range g.replicaStates() {
			if s := r.obj.crowd.Load(); s != nil {
				long = s.set.Queue(out.frame, out.key, except) || long
			}
		}
		return long
	})
}

// whisper sends v to every socket with this uid.
func (g *groupState) whisper(
	ctx context.Context, source voice, uid string, v any, options []SendOption,
) (reached int, err error) {
	if err := checkUID(uid); err != nil {
		return 0, err
	}
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return 0, err
	}
	err = source.await(ctx, func() error {
		reached, err = g.sendTo(ctx, uid, out)
		return err
	})
	return reached, err
}

// whisper sends v to every socket with this uid of the group that a refers to.
func (a *address) whisper(ctx context.Context, uid string, v any, options []SendOption) (reached int, err error) {
	if err := checkUID(uid); err != nil {
		return 0, err
	}
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return 0, err
	}
	send := func(g *groupState) error {
		reached, err = g.sendTo(ctx, uid, out)
		return err
	}
	if a.keeps(out) {
		err = a.inGroup(ctx, send)
		return reached, err
	}
	err = object.AwaitDurable(ctx, nil, func() error {
		if o := a.ns.holder(a.id); o != nil {
			return send(o.group)
		}
		return fmt.Errorf("%w: %q", ErrNoTarget, uid)
	})
	return reached, err
}

// sendTo sends a message to the sockets of a uid, keeps it if it is one to be
// kept, and returns their number.
func (g *groupState) sendTo(ctx context.Context, uid string, out outgoing) (reached int, err error) {
	if g.record != nil && !out.transient {
		d, reached := out.draftFor(uid, g.socketsOf)
		if err := g.record.KeepNow(ctx, d); err != nil {
			return 0, err
		}
		return *reached, nil
	}
	for _, s := range g.socketsOf(uid) {
		if s.deliver(out) == nil {
			reached++
		}
	}
	if reached == 0 {
		return 0, fmt.Errorf("%w: %q", ErrNoTarget, uid)
	}
	return reached, nil
}

// emit sends v to every socket of one replica on behalf of the group.
func (g *groupState) emit(source voice, replica ID, v any, options []SendOption) error {
	r, err := g.replica(replica)
	if err != nil {
		return err
	}
	return r.obj.emit(source, nil, v, options)
}

// emitFrom is emit on behalf of the holder of ctx.
func (g *groupState) emitFrom(ctx context.Context, replica ID, v any, options []SendOption) error {
	r, err := g.replica(replica)
	if err != nil {
		return err
	}
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return err
	}
	return sendGatedFrom(ctx, out.frame.Len(), func() { r.obj.sendOut(out) })
}

// disconnect closes every open socket with this uid, and counts those that it
// closes.
func (g *groupState) disconnect(
	ctx context.Context, source voice, uid string, code int, reason string,
) (closed int, err error) {
	if err := checkUID(uid); err != nil {
		return 0, err
	}
	if err := checkClose("Disconnect", code, reason); err != nil {
		return 0, err
	}
	err = source.await(ctx, func() error {
		for _, s := range g.socketsOf(uid) {
			if s.conn.Over() {
				continue
			}
			// Now, also where its own object's gate holds a Close back that may
			// yet be undone.
			if err := s.conn.Close(code, reason); err != nil {
				return err
			}
			closed++
		}
		if closed == 0 {
			return fmt.Errorf("%w: %q", ErrNoTarget, uid)
		}
		return nil
	})
	return closed, err
}
