package dog

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// object is an object in memory: its identity, and its instance if it has one.
type object struct {
	// fixed
	ns      *namespace
	id      ID
	name    string
	group   *groupState               // of a group; nil otherwise
	replica *replicaState             // of a replica; nil otherwise
	crowd   atomic.Pointer[socketSet] // nil until a socket connects; set once, under mu
	gate    *gate.Gate
	traces  *Trace // the runtime's
	strict  bool   // Options.CheckTurns

	held heldBytes // messages to more than one socket

	leaving atomic.Bool              // OnStop runs, and the instance is dropped after it
	fresh   atomic.Bool              // created for an event that is not queued yet; must not be dropped before
	retired atomic.Bool              // being forgotten: the next event creates another object; set under mu
	wakes   atomic.Int32             // how often OnStart has failed, and kept the sockets, since the object slept
	stores  atomic.Bool              // it has committed something, in this or an earlier life
	current atomic.Pointer[instance] // nil: the next event creates an instance; changed only under mu
	alarm   atomic.Uint64            // the serial number of the alarm that OnAlarm is handling; 0: none

	mu     sync.Mutex
	past   turn.Stats // of earlier instances; guarded by mu
	resets uint64     // guarded by mu

	idle   idleness // owned by the sweeper
	toured uint64   // the latest tour of Stats that has counted it; guarded by namespace.mu
}

var errRetired = errors.New("dog: object retired")

func newObject(ns *namespace, id ID, name string) *object {
	o := &object{ns: ns, id: id, name: name, traces: ns.rt.opts.Trace, strict: ns.rt.opts.CheckTurns}
	o.gate = gate.New(ns.rt.engine, o.lost)
	return o
}

func (o *object) runtime() *Runtime { return o.ns.rt }

func (o *object) trace() *Trace { return o.traces }

func (o *object) log() *slog.Logger {
	l := o.ns.rt.opts.Logger.With("namespace", o.ns.name, "object", o.id.String())
	if o.name != "" {
		l = l.With("name", o.name)
	}
	return l
}

func (o *object) info() ObjectInfo {
	return ObjectInfo{ID: o.id, Kind: o.ns.kind, Namespace: o.ns.name, Name: o.name}
}

// identity returns the object's identity in the store.
func (o *object) identity() store.Identity {
	id := store.Identity{Namespace: o.ns.number, Base: o.id.base(), Name: o.name}
	if o.replica != nil {
		g := o.replica.group.obj
		id.Group = &store.Owner{Namespace: g.ns.number, Base: g.id.base(), Name: g.name}
	}
	return id
}

// lost resets the object because its writes will never be durable.
func (o *object) lost(cause error) {
	o.runtime().work.Spawn(func() {
		for {
			// If the object sleeps, instance creates a new instance, because
			// the object's sockets and gate are still there. If it is falling
			// asleep right now, the next iteration does.
			inst, err := o.instance()
			if err != nil || inst.reset(cause) != errAsleep {
				return
			}
			o.mu.Lock()   // until the sleeping instance is forgotten
			o.mu.Unlock() //nolint:staticcheck // only to wait
		}
	})
}

// instance returns the current instance, or creates one. If the instance ends
// after that, its turn returns the reason.
func (o *object) instance() (*instance, error) {
	if inst := o.current.Load(); inst != nil {
		return inst, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired.Load() {
		return nil, errRetired
	}
	inst := o.current.Load()
	if inst == nil {
		inst = &instance{obj: o, era: o.resets}
		inst.turn.Owner = inst
		inst.turn.Strict = o.ns.rt.opts.CheckTurns
		inst.storage.inst = inst
		inst.storage.tx.Owner = (*txOwner)(inst)
		inst.life, inst.stop = context.WithCancelCause(o.ns.rt.ctx)
		inst.turn.Life = inst.life
		o.gate.Recover() // the new instance does not depend on writes that its predecessors lost
		o.current.Store(inst)
	}
	return inst, nil
}

// queue takes the next place in the queue of the current instance.
func (o *object) queue(from *turn.Origin) (*instance, turn.Ticket, error) {
	for {
		inst, err := o.instance()
		if err != nil {
			return nil, turn.Ticket{}, err
		}
		ticket, err := inst.turn.Queue(*from)
		if errors.Is(err, ErrReset) || err == errAsleep {
			inst.end.Lock()   // the next instance begins once this one has ended completely
			inst.end.Unlock() //nolint:staticcheck // only to wait
			continue
		}
		if o.fresh.Load() {
			o.fresh.Store(false)
		}
		return inst, ticket, err
	}
}

// redeem waits for the turn of a ticket and returns it with the started
// instance. It returns the errors of begin.
func (o *object) redeem(
	wait context.Context, inst *instance, ticket turn.Ticket, from *turn.Origin,
) (*instance, *turn.Event, error) {
	for {
		var e *turn.Event
		var err error
		if inst, e, err = o.await(wait, inst, ticket, from, true); err != nil {
			return nil, nil, err
		}
		if err = inst.started(wait, e); err == nil {
			return inst, e, nil
		}
		if inst.phase.Load() != wakesAgain || wait.Err() != nil {
			return nil, nil, inst.awaitStartOutcome(wait, err)
		}
		if inst, ticket, err = o.queue(from); err != nil {
			return nil, nil, err
		}
	}
}

// await waits for the turn of a ticket and returns it with the instance. If
// starts is set, the event needs a started instance, and fails if a start under
// way fails.
func (o *object) await(
	wait context.Context, inst *instance, ticket turn.Ticket, from *turn.Origin, starts bool,
) (*instance, *turn.Event, error) {
	e, err := ticket.Redeem(wait)
	// wait may have ended because the caller's own object was reset.
	for (errors.Is(err, ErrReset) || err == errAsleep) && wait.Err() == nil {
		if starts && inst.unstartable() {
			return nil, nil, inst.awaitStartOutcome(wait, err) // a failed start fails all events waiting for it
		}
		// The instance ended before the event began, so it is safe to run the
		// event on the next instance.
		if inst, ticket, err = o.queue(from); err != nil {
			return nil, nil, err
		}
		e, err = ticket.Redeem(wait)
	}
	return inst, e, err
}

// begin waits for a turn of the object and returns it with the started
// instance. The error is the cause of wait, ErrDeadlock, ErrOverloaded, a
// ResetError if the start failed, or errRetired.
func (o *object) begin(wait context.Context, from *turn.Origin) (*instance, *turn.Event, error) {
	inst, ticket, err := o.queue(from)
	if err != nil {
		return nil, nil, err
	}
	return o.redeem(wait, inst, ticket, from)
}

// deliver runs a handler as an event of the object. Every event that comes from
// outside of the object is delivered here: calls, requests, gossip, messages of
// sockets, alarms, and the library's own work (EventAdmin), which does not
// start the object. So with several machines this is where an event could leave
// for the one that holds the object (see namespace.holder). wait limits the
// wait for the turn. method is the name of a called method, otherwise "".
func (o *object) deliver(wait context.Context, from *turn.Origin, kind EventKind, method string, handle work) error {
	queued := o.trace().clock()
	inst, ticket, err := o.queue(from)
	if err != nil {
		return err
	}
	var e *turn.Event
	if kind == EventAdmin {
		inst, e, err = o.await(wait, inst, ticket, from, false)
	} else {
		inst, e, err = o.redeem(wait, inst, ticket, from)
	}
	if err != nil {
		return err
	}
	return inst.protect(e, kind, method, queued, true, handle)
}

// admin runs the library's own work on the object's storage.
func (o *object) admin(wait context.Context, from turn.Origin, do func(*Storage) error) error {
	return o.deliver(wait, &from, EventAdmin, "", func(ctx context.Context, _ any) error {
		return do(&turn.From(ctx).Owner().(*instance).storage)
	})
}

// endLocked forgets an instance that has ended. The caller must hold mu.
func (o *object) endLocked(inst *instance) {
	o.past = o.past.Add(inst.turn.Stats())
	o.current.Store(nil)
}

// sleepLocked is endLocked for an instance that has ended normally and whose
// turn is free. The caller must hold mu, and call over later.
func (o *object) sleepLocked(inst *instance) {
	if inst.value != nil {
		o.trace().objectStopped(o) // before the hooks see the next instance
	}
	o.endLocked(inst)
}

// era returns the number of resets so far.
func (o *object) era() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.resets
}

// retire marks the object as forgotten, unless an event is running or waiting,
// or some of its writes are not durable yet. An object with OnStop is stopped
// soon instead. The caller must then call over on the ended instance, if there
// is one, and namespace.forget, without holding a lock.
func (o *object) retire() (ended *instance, retired bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired.Load() || !o.gate.Open() || o.occupied() {
		return nil, false
	}
	inst := o.current.Load()
	if inst != nil {
		if o.ns.stops {
			o.stopLater(inst) // and retire after the stop
			return nil, false
		}
		if !inst.turn.CloseIdle(errAsleep, inst.kept) {
			return nil, false
		}
		o.sleepLocked(inst)
	}
	// An event may have written something just before. From here on no event
	// can run while mu is held.
	o.retired.Store(o.gate.Open() && !o.occupied())
	return inst, o.retired.Load()
}

// retireAsleep is retire for an object whose instance has been stopped. It does
// nothing if there is a new instance already.
func (o *object) retireAsleep() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired.Load() || o.current.Load() != nil || !o.gate.Open() || o.occupied() {
		return false
	}
	o.retired.Store(true)
	return true
}

// abort resets the object at the request of code outside it.
func (o *object) abort(reason error) {
	if o.current.Load() == nil && !o.occupied() {
		return // nothing to reset
	}
	if inst, err := o.instance(); err == nil { // a new instance if the object sleeps, since its sockets are still open
		_ = inst.reset(abortedBy(reason))
	}
}

// turnStats returns the sum of the counts of all instances of the object.
func (o *object) turnStats() turn.Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	if inst := o.current.Load(); inst != nil {
		return o.past.Add(inst.turn.Stats())
	}
	return o.past
}

// report logs the error of a handler that has no caller waiting for it.
func (o *object) report(kind EventKind, err error) {
	level := slog.LevelError
	var reset *ResetError
	switch {
	case err == nil:
		return
	case errors.As(err, &reset) && reset.Object == o.id:
		return // logged already, with its cause
	case errors.Is(err, ErrShutdown) && o.runtime().ctx.Err() != nil:
		return
	case kind == EventReceive && HTTPStatus(err) != http.StatusInternalServerError:
		level = slog.LevelDebug // the client has the error
	case errors.Is(err, ErrSocketClosed), errors.Is(err, ErrSlowConsumer):
		level = slog.LevelDebug // clients leave at any time
	}
	o.log().Log(context.Background(), level, "handler failed", "event", kind.String(), "error", err)
}

func abortedBy(reason error) error {
	if reason == nil {
		return errors.New("aborted")
	}
	return reason
}

// A LiveObject is an object that is in memory or has open sockets.
type LiveObject struct {
	ObjectInfo
	Sockets    int
	Hibernated bool // only its sockets are still in memory
}

// state describes the object as it is now.
func (o *object) state() LiveObject {
	l := LiveObject{ObjectInfo: o.info(), Hibernated: o.current.Load() == nil}
	if s := o.crowd.Load(); s != nil {
		l.Sockets = s.set.Len()
	}
	return l
}

// address returns the object's address.
func (o *object) address() *address {
	a := &address{ns: o.ns, id: o.id, name: o.name, known: true}
	a.seen.Store(o)
	return a
}
