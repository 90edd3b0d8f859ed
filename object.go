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

// Object is embedded in a type of yours to make it a durable object: one of
// many that have an identity, handle one event at a time, and own sockets and
// storage. A document, a device, a game, one user's tabs: each is an Object.
// See [RegisterObject].
//
// Its handlers need no mutex for the fields of their own type, as long as only
// handlers touch them. The turn passes on only while a handler waits, and the
// signature shows where: a method or function that takes a context may give up
// the turn, none other does.
//
// An object with open sockets stays in memory, unless its type hibernates
// (ObjectOptions.Hibernate). Its methods may be called from any goroutine.
type Object struct{ crowd }

func (o *Object) embedsObject() {}

func (o *Object) embedsOne() {}

// Broadcast sends v (see [Encode]) to all of the object's sockets. It does not
// wait for a client, and keeps the turn.
func (o *Object) Broadcast(v any, options ...SendOption) error {
	obj, err := o.speaker()
	if err != nil {
		return err
	}
	return obj.emit(obj, nil, v, options)
}

// Whisper sends v (see [Encode]) to the object's sockets of a uid and returns
// their number; ErrNoTarget if there are none. It keeps the turn.
func (o *Object) Whisper(uid string, v any, options ...SendOption) (int, error) {
	obj, err := o.speaker()
	if err != nil {
		return 0, err
	}
	return obj.whisper(uid, v, options)
}

// Disconnect closes the object's sockets of a uid, as [Socket.Close] does, and
// returns their number; ErrNoTarget if there are none. It keeps the turn.
func (o *Object) Disconnect(uid string, code int, reason string) (int, error) {
	obj, err := o.speaker()
	if err != nil {
		return 0, err
	}
	return obj.disconnect(uid, code, reason)
}

// object is an object that is in memory: its identity, and its instance if it
// has one.
type object struct {
	// fixed
	ns     *namespace
	id     ID
	name   string
	books  *books                    // of a group, else nil
	member *member                   // of a replica, else nil
	crowd  atomic.Pointer[socketSet] // nil until a socket connects. set once, under mu
	gate   *gate.Gate
	traces *Trace // the runtime's
	strict bool   // Options.CheckTurns

	held unheard // messages to more than one socket

	leaving atomic.Bool              // OnStop runs, and then the instance is dropped
	fresh   atomic.Bool              // it was made for an event that is not in its queue yet, and must not be dropped before
	retired atomic.Bool              // it is to be forgotten: the next event makes another object. set under mu
	wakes   atomic.Int32             // OnStart has failed so often since the object slept, and kept its sockets
	stores  atomic.Bool              // it has committed something, now or in an earlier life
	current atomic.Pointer[instance] // nil: the next event makes one. changed under mu only
	alarm   atomic.Uint64            // the serial of the alarm for which OnAlarm runs; 0: none

	mu     sync.Mutex
	past   turn.Stats // of earlier instances. guarded by mu
	resets uint64     // guarded by mu

	idle   idleness // owned by the sweeper
	toured uint64   // the latest tour of Stats that has counted it. guarded by namespace.mu
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

// identity returns the object's identity as the store knows it.
func (o *object) identity() store.Identity {
	id := store.Identity{Namespace: o.ns.number, Base: o.id.base(), Name: o.name}
	if o.member != nil {
		g := o.member.books.group
		id.Group = &store.Owner{Namespace: g.ns.number, Base: g.id.base(), Name: g.name}
	}
	return id
}

// lost resets the object because what it wrote will never be durable.
func (o *object) lost(cause error) {
	o.runtime().spawn(func() {
		for {
			// A new one if the object sleeps, since its sockets and its gate do
			// not; the next when it falls asleep just now.
			inst, err := o.instance()
			if err != nil || inst.reset(cause) != errAsleep {
				return
			}
			o.mu.Lock()   // until the one that sleeps is forgotten
			o.mu.Unlock() //nolint:staticcheck // to wait is all
		}
	})
}

// instance returns the present instance, or a new one. When it ends meanwhile,
// its turn says so.
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
		inst.life, inst.stop = context.WithCancelCause(o.ns.rt.ctx)
		inst.turn.Life = inst.life
		o.gate.Recover() // it knows nothing of what its predecessors have lost
		o.current.Store(inst)
	}
	return inst, nil
}

// queue takes the next place in the queue of the present instance.
func (o *object) queue(from *turn.Origin) (*instance, turn.Ticket, error) {
	for {
		inst, err := o.instance()
		if err != nil {
			return nil, turn.Ticket{}, err
		}
		ticket, err := inst.turn.Queue(*from)
		if errors.Is(err, ErrReset) || err == errAsleep {
			inst.end.Lock()   // the next instance begins when this one is quite over
			inst.end.Unlock() //nolint:staticcheck // to wait is all
			continue
		}
		if o.fresh.Load() {
			o.fresh.Store(false)
		}
		return inst, ticket, err
	}
}

// redeem waits for the turn of a ticket and returns it with the instance,
// started. Errors are those of begin.
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
			return nil, nil, inst.toldStart(wait, err)
		}
		if inst, ticket, err = o.queue(from); err != nil {
			return nil, nil, err
		}
	}
}

// await waits for the turn of a ticket and returns it with the instance. When
// starts is set, the event needs a started instance: it shares the fate of a
// start under way.
func (o *object) await(
	wait context.Context, inst *instance, ticket turn.Ticket, from *turn.Origin, starts bool,
) (*instance, *turn.Event, error) {
	e, err := ticket.Redeem(wait)
	// wait may have ended because the caller's own object was reset.
	for (errors.Is(err, ErrReset) || err == errAsleep) && wait.Err() == nil {
		if starts && inst.unstartable() {
			return nil, nil, inst.toldStart(wait, err) // one failed start answers all that waited for it
		}
		// The instance ended before the event began, so nothing is lost by
		// taking the next one.
		if inst, ticket, err = o.queue(from); err != nil {
			return nil, nil, err
		}
		e, err = ticket.Redeem(wait)
	}
	return inst, e, err
}

// begin waits for a turn of the object and returns it with the instance,
// started. Errors: wait's, ErrDeadlock, ErrOverloaded, a ResetError when the
// start failed, errRetired.
func (o *object) begin(wait context.Context, from *turn.Origin) (*instance, *turn.Event, error) {
	inst, ticket, err := o.queue(from)
	if err != nil {
		return nil, nil, err
	}
	return o.redeem(wait, inst, ticket, from)
}

// event runs handle as an event of the object.
func (o *object) event(wait context.Context, from turn.Origin, kind EventKind, handle work) error {
	began := o.trace().clock()
	inst, e, err := o.begin(wait, &from)
	if err != nil {
		return err
	}
	return inst.run(e, kind, began, handle)
}

// admin runs what the library itself does with what the object has stored, as
// an event that does not start the object.
func (o *object) admin(wait context.Context, from turn.Origin, do func(*Storage) error) error {
	began := o.trace().clock()
	inst, ticket, err := o.queue(&from)
	if err != nil {
		return err
	}
	inst, e, err := o.await(wait, inst, ticket, &from, false)
	if err != nil {
		return err
	}
	return inst.run(e, EventAdmin, began, func(context.Context, any) error { return do(&inst.storage) })
}

// endLocked forgets an instance that is over. The caller must hold mu.
func (o *object) endLocked(inst *instance) {
	o.past = o.past.Add(inst.turn.Stats())
	o.current.Store(nil)
}

// sleepLocked is endLocked for an instance that has ended in good order, whose
// turn is nobody's any more. The caller must hold mu, and call over later.
func (o *object) sleepLocked(inst *instance) {
	if inst.value != nil {
		o.trace().objectStopped(o) // before the next one is told of
	}
	o.endLocked(inst)
}

// era returns the number of resets so far.
func (o *object) era() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.resets
}

// retire lets the object be forgotten, unless an event is under way or waits,
// or something it stored is not durable yet. One that has OnStop is stopped
// instead, soon. The caller calls over of the instance that has ended, if any,
// and namespace.forget, holding no lock.
func (o *object) retire() (ended *instance, retired bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired.Load() || !o.gate.Open() || o.occupied() {
		return nil, false
	}
	inst := o.current.Load()
	if inst != nil {
		if o.ns.stops {
			o.stopLater(inst) // and retire once it has stopped
			return nil, false
		}
		if !inst.turn.CloseIdle(errAsleep, inst.kept) {
			return nil, false
		}
		o.sleepLocked(inst)
	}
	// An event may have stored something just before. From here on there is
	// none while mu is held.
	o.retired.Store(o.gate.Open() && !o.occupied())
	return inst, o.retired.Load()
}

// kept reports whether the instance must stay in memory although it is idle.
func (inst *instance) kept() bool {
	return inst.timers.pending() || !inst.obj.ns.hibernates && inst.obj.occupied()
}

// retireAsleep is retire for an object whose instance has been stopped: not
// when the next one has come.
func (o *object) retireAsleep() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired.Load() || o.current.Load() != nil || !o.gate.Open() || o.occupied() {
		return false
	}
	o.retired.Store(true)
	return true
}

// abort resets the object from outside.
func (o *object) abort(reason error) {
	if o.current.Load() == nil && !o.occupied() {
		return // nothing is there
	}
	if inst, err := o.instance(); err == nil { // a new one if it sleeps, since its sockets do not
		_ = inst.reset(abortedBy(reason))
	}
}

// turnStats returns the counts of all instances the object has had.
func (o *object) turnStats() turn.Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	if inst := o.current.Load(); inst != nil {
		return o.past.Add(inst.turn.Stats())
	}
	return o.past
}

// report logs the error of a handler that nobody waits for.
func (o *object) report(kind EventKind, err error) {
	level := slog.LevelError
	var reset *ResetError
	switch {
	case err == nil:
		return
	case errors.As(err, &reset) && reset.Object == o.id:
		return // logged with its cause
	case errors.Is(err, ErrShutdown) && o.runtime().ctx.Err() != nil:
		return
	case kind == EventReceive && HTTPStatus(err) != http.StatusInternalServerError:
		level = slog.LevelDebug // the client was told
	case errors.Is(err, ErrSocketClosed), errors.Is(err, ErrSlowConsumer):
		level = slog.LevelDebug // clients go whenever they like
	}
	o.log().Log(context.Background(), level, "handler failed", "event", kind.String(), "error", err)
}
