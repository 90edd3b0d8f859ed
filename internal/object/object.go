// Package object is one object in memory: its queue of events, its lives, its
// waits, its timers and alarms, and how it leaves memory again.
//
// An [Object] is an identity with an output gate. It has at most one [Life] at
// a time, which begins with the first event and ends with a reset, a
// hibernation or an eviction. A life has the turn, the transaction and the
// user's value. Objects of one type make up a [Class], which answers who holds
// an object ([Class.Holder]). All of them share a [Host]. Events from outside
// reach their object through [Object.Deliver], which names the exceptions.
//
// The package does not know users' types, sockets, groups and HTTP. Of the
// events that these bring it knows only the names ([EventKind]). A class has
// functions for the handlers of its type, an object has [Peers] for the clients
// and objects around it, and a host has functions that make public errors.
package object

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// Peers are the clients and the objects around an object.
type Peers interface {
	// Visited reports whether the object has clients, including those that
	// connect or leave, and Occupied whether it must stay in memory, for them
	// or for what it keeps for those that come back. They may take only locks
	// under which no other is taken.
	Visited() bool
	Occupied() bool
	// Connected reports whether a client of a generation is connected.
	Connected(generation uint64) bool
	// Disconnect cuts off the clients of a generation because of a reset.
	Disconnect(generation uint64)
	// Load is called before OnStart, and Open when OnStart has returned. An
	// error fails the start.
	Load() error
	Open() error
	// Forgotten is called once, when the object has left memory. It may take
	// only locks under which no other is taken.
	Forgotten()
	// Keeper returns what stores the messages of the object, or nil.
	Keeper() tx.Keeper
	// Owner returns the object that this one belongs to, or nil.
	Owner() *store.Owner
	// Revive brings a stored object that belongs to this one into memory. The
	// error may be ErrRetired.
	Revive(ctx context.Context, c *Class, id ID, name string) (*Object, error)
}

// An Object is an object in memory: its identity, and its life if it has one.
// It is safe for concurrent use.
type Object struct {
	// fixed
	Class *Class
	ID    ID
	Name  string     // "" if it has none
	Gate  *gate.Gate // of its output
	peers Peers

	events *stripe // of Class.counts. fixed

	strict  bool         // Config.CheckTurns. fixed
	leaving atomic.Bool  // OnStop runs, and the life is dropped after it
	fresh   atomic.Bool  // created for an event that is not queued yet; must not be dropped before
	retired atomic.Bool  // being forgotten: the next event creates another object; set under mu
	wakes   atomic.Int32 // how often OnStart has failed, and kept the clients, since the object slept
	stores  atomic.Bool  // it has committed something, in this or an earlier life

	current atomic.Pointer[Life] // nil: the next event begins a life; changed only under mu
	alarm   atomic.Uint64        // the serial number of the alarm that OnAlarm is handling; 0: none
	resets  atomic.Uint64        // changed only under mu

	mu   sync.Mutex
	past turn.Stats // of earlier lives; guarded by mu

	idle   idleness // owned by the sweeper
	toured uint64   // the latest tour that has counted it; guarded by Class.mu
}

// Init prepares a new object of a class. The object must not be copied.
func (o *Object) Init(c *Class, id ID, name string, peers Peers) {
	o.Class, o.ID, o.Name, o.peers = c, id, name, peers
	o.strict = c.host.CheckTurns
	o.events = c.counts.stripe(id)
	o.Gate = gate.New(c.host.Engine, o.lost)
}

func (o *Object) host() *Host { return o.Class.host }

// Peers returns the argument of Init.
func (o *Object) Peers() Peers { return o.peers }

// Log returns the host's logger with the identity of the object.
func (o *Object) Log() *slog.Logger {
	l := o.host().Logger.With("namespace", o.Class.Name, "object", o.ID.String())
	if o.Name != "" {
		l = l.With("name", o.Name)
	}
	return l
}

// Report logs the error of a handler that has no caller waiting for it. err may
// be nil.
func (o *Object) Report(kind EventKind, err error) { o.host().Report(o, kind, err) }

func (o *Object) pastGate() error {
	return fmt.Errorf("%w (by a handler of %q, %s)", ErrPastGate, o.Class.Name, o.ID)
}

// identity returns the object's identity in the store.
func (o *Object) identity() store.Identity {
	return store.Identity{Namespace: o.Class.Number, Base: o.ID.Base(), Name: o.Name, Group: o.peers.Owner()}
}

// lost resets the object because its writes will never be durable.
func (o *Object) lost(cause error) {
	o.host().Work.Spawn(func() {
		for {
			// If the object sleeps, life begins a new life, because the
			// object's clients and gate are still there. If it is falling
			// asleep right now, the next iteration does.
			life, err := o.life()
			if err != nil || life.Reset(cause) != errAsleep {
				return
			}
			o.mu.Lock()   // until the sleeping life is forgotten
			o.mu.Unlock() //nolint:staticcheck // only to wait
		}
	})
}

// life returns the current life, or begins one. If the life ends after that,
// its turn returns the reason.
func (o *Object) life() (*Life, error) {
	if life := o.current.Load(); life != nil {
		return life, nil
	}
	return o.begin()
}

// begin is life for an object without a life, apart so that life is cheap.
func (o *Object) begin() (*Life, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired.Load() {
		return nil, ErrRetired
	}
	life := o.current.Load()
	if life == nil {
		life = newLife(o, o.resets.Load())
		o.Gate.Recover() // the new life does not depend on writes that its predecessors lost
		o.current.Store(life)
	}
	return life, nil
}

// queue takes the next place in the queue of the current life.
func (o *Object) queue(from *turn.Origin) (*Life, turn.Ticket, error) {
	for {
		life, err := o.life()
		if err != nil {
			return nil, turn.Ticket{}, err
		}
		ticket, err := life.turn.Queue(*from)
		if ended(err) {
			life.end.Lock()   // the next life begins once this one has ended completely
			life.end.Unlock() //nolint:staticcheck // only to wait
			continue
		}
		if o.fresh.Load() {
			o.fresh.Store(false)
		}
		return life, ticket, err
	}
}

// TryQueue takes the next place in the queue of the current life. It returns no
// life if that is ending, since it does not wait for the next one.
func (o *Object) TryQueue(from turn.Origin) (*Life, turn.Ticket, error) {
	life, err := o.life()
	if err != nil {
		return nil, turn.Ticket{}, err
	}
	ticket, err := life.turn.Queue(from)
	switch {
	case ended(err):
		return nil, turn.Ticket{}, nil
	case err != nil:
		return nil, turn.Ticket{}, err
	}
	return life, ticket, nil
}

// redeem waits for the turn of a ticket and returns it with the started life.
// It returns the errors of begin.
func (o *Object) redeem(
	wait context.Context, life *Life, ticket turn.Ticket, from *turn.Origin,
) (*Life, *turn.Event, error) {
	for {
		var e *turn.Event
		var err error
		if life, e, err = o.await(wait, life, ticket, from, true); err != nil {
			return nil, nil, err
		}
		if err = life.started(wait, e); err == nil {
			return life, e, nil
		}
		if life.phase.Load() != wakesAgain || wait.Err() != nil {
			return nil, nil, life.AwaitStart(wait, err)
		}
		if life, ticket, err = o.queue(from); err != nil {
			return nil, nil, err
		}
	}
}

// await waits for the turn of a ticket and returns it with the life. If starts
// is set, the event needs a started life, and fails if a start under way fails.
func (o *Object) await(
	wait context.Context, life *Life, ticket turn.Ticket, from *turn.Origin, starts bool,
) (*Life, *turn.Event, error) {
	e, err := ticket.Redeem(wait)
	// wait may have ended because the caller's own object was reset.
	for ended(err) && wait.Err() == nil {
		if starts && life.unstartable() {
			return nil, nil, life.AwaitStart(wait, err) // a failed start fails all events waiting for it
		}
		// The life ended before the event began, so it is safe to run the event
		// in the next one.
		if life, ticket, err = o.queue(from); err != nil {
			return nil, nil, err
		}
		e, err = ticket.Redeem(wait)
	}
	return life, e, err
}

// Start starts the object, as its first event does. The error is the cause of
// wait, ErrDeadlock, ErrOverloaded, the error of a reset if the start failed,
// or ErrRetired.
func (o *Object) Start(wait context.Context, from *turn.Origin) error {
	life, ticket, err := o.queue(from)
	if err != nil {
		return err
	}
	_, e, err := o.redeem(wait, life, ticket, from)
	if err != nil {
		return err
	}
	_, _ = e.End() // only the start was needed
	return nil
}

// Deliver runs a handler as an event of the object. Calls, requests, gossip,
// the events of sockets, alarms, and the library's own work (EventAdmin), which
// does not start the object, are delivered here. So with several machines this
// is where an event could leave for the one that holds the object (see
// [Class.Holder]). Two kinds of events from outside are not delivered here, and
// need the holder's memory: [Object.Start], by which an object that owns others
// is started, and those that several callers join ([Object.TryQueue],
// [Life.Begin], [Life.Run]). [Object.Abort] is no event. What an object queues
// for itself (Go, timers, OnStop) never leaves it.
//
// wait limits the wait for the turn.
func (o *Object) Deliver(wait context.Context, from *turn.Origin, kind EventKind, handle Work) error {
	h := handling{kind: kind, ends: true}
	return o.deliver(wait, from, &h, handle)
}

// deliver is Deliver for a handling, whose time queued it sets.
func (o *Object) deliver(wait context.Context, from *turn.Origin, h *handling, handle Work) error {
	h.queued = o.Clock()
	life, ticket, err := o.queue(from)
	if err != nil {
		return err
	}
	e := ticket.Event
	switch {
	case ticket.Granted() && life.value != nil: // the usual case, without a call
	case h.kind == EventAdmin:
		life, e, err = o.await(wait, life, ticket, from, false)
	default:
		life, e, err = o.redeem(wait, life, ticket, from)
	}
	if err != nil {
		return err
	}
	return life.protect(e, h, handle)
}

// Admin runs the library's own work on the object, which it does not start.
func (o *Object) Admin(wait context.Context, from turn.Origin, do func(*Life) error) error {
	return o.Deliver(wait, &from, EventAdmin, func(ctx context.Context, _ any) error {
		return do(LifeOf(turn.From(ctx)))
	})
}

// Call runs a method of the object on behalf of the holder of ctx, and returns
// when the earlier writes of the object are durable.
func (o *Object) Call(ctx context.Context, from *turn.Origin, method string, run Work) error {
	h := handling{kind: EventCall, method: method, caller: turn.BoundOf(ctx), ends: true, answers: true}
	err := o.deliver(ctx, from, &h, run)
	if h.outcome != nil {
		err = o.AwaitOutcome(ctx, h.outcome, err)
	}
	return err
}

// AwaitOutcome waits until a handler's result may be returned to the holder of
// ctx. err is the handler's error. It returns err, or the reason why the result
// cannot be returned.
func (o *Object) AwaitOutcome(ctx context.Context, outcome <-chan error, err error) error {
	lost, known := receive(ctx, outcome)
	if !known {
		return context.Cause(ctx)
	}
	return o.outcomeError(lost, err)
}

// receive receives from a channel until ctx is done. What can be received by
// then is received.
func receive[T any](ctx context.Context, from <-chan T) (v T, received bool) {
	select {
	case v = <-from:
		return v, true
	case <-ctx.Done():
	}
	select {
	case v = <-from:
		return v, true
	default:
		return v, false
	}
}

// outcomeError returns the error to return for a handler that has returned err.
// That is err, unless earlier writes are lost.
func (o *Object) outcomeError(lost, err error) error {
	if _, undone := errors.AsType[*gate.Undone](lost); lost == nil || undone { // undone because of err
		return err
	}
	return o.lostError(lost)
}

// Abort resets the object at the request of code outside it.
func (o *Object) Abort(reason error) {
	if o.current.Load() == nil && !o.peers.Occupied() {
		return // nothing to reset
	}
	if life, err := o.life(); err == nil { // a new life if the object sleeps, since its clients are still connected
		_ = life.Reset(reason)
	}
}
