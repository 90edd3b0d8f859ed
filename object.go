package dog

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// noCopy makes go vet report copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// Object is what [Group] and [Replica] have in common: an identity and turns.
//
// An object handles one event at a time. Its handlers need no mutex for the fields of their own type, as long as only handlers
// touch them. The turn passes on only while a handler waits, and the signature shows where: a method or function that takes a
// context may wait, one that takes none never does.
type Object struct {
	_    noCopy
	core *instance // set by the runtime before setup runs; nil in a zero value
}

func (o *Object) base() *Object { return o }

// ID returns the object's identity; zero when the object is not running.
func (o *Object) ID() ID {
	if o.core == nil {
		return ID{}
	}
	return o.core.obj.id
}

// Name returns the name by which the object is addressed, or that Clusterize gave it; "" when it has none.
func (o *Object) Name() string {
	if o.core == nil {
		return ""
	}
	return o.core.obj.name
}

// Log returns the runtime's logger with the object's namespace and ID.
func (o *Object) Log() *slog.Logger {
	if o.core == nil {
		return slog.Default()
	}
	return o.core.obj.log()
}

// object is an object that is in memory: its identity, and its instance if it has one.
type object struct {
	// fixed
	ns     *namespace
	id     ID
	name   string
	books  *books  // of a group, else nil
	member *member // of a replica, else nil

	current atomic.Pointer[instance] // nil: the next event makes one. changed under mu only

	mu      sync.Mutex
	retired bool       // the namespace has forgotten it. guarded by mu
	past    turn.Stats // of earlier instances. guarded by mu
}

// instance is the life of an object from its start to its reset or retirement.
type instance struct {
	obj  *object
	turn turn.Lock
	life context.Context // of its handlers; done when the instance ends
	stop context.CancelCauseFunc

	value any // the user's object; nil until started. owned by the turn
}

var errRetired = errors.New("dog: object retired")

func (o *object) runtime() *Runtime { return o.ns.rt }

func (o *object) trace() *Trace { return o.ns.rt.opts.Trace }

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

// instance returns the present instance, or a new one. When it ends meanwhile, its turn says so.
func (o *object) instance() (*instance, error) {
	if inst := o.current.Load(); inst != nil {
		return inst, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired {
		return nil, errRetired
	}
	inst := o.current.Load()
	if inst == nil {
		inst = &instance{obj: o}
		inst.turn.Owner = inst
		inst.turn.Strict = o.ns.rt.opts.CheckTurns
		inst.life, inst.stop = context.WithCancelCause(o.ns.rt.ctx)
		o.current.Store(inst)
	}
	return inst, nil
}

// queue takes the next place in the queue of the present instance.
func (o *object) queue(from turn.Origin) (*instance, turn.Ticket, error) {
	for {
		inst, err := o.instance()
		if err != nil {
			return nil, turn.Ticket{}, err
		}
		ticket, err := inst.turn.Queue(inst.life, from)
		if errors.Is(err, ErrReset) {
			continue
		}
		return inst, ticket, err
	}
}

// redeem waits for the turn of a ticket and returns it with the instance, started. Errors are those of begin.
func (o *object) redeem(wait context.Context, inst *instance, ticket turn.Ticket, from turn.Origin) (*instance, *turn.Event, error) {
	e, err := ticket.Redeem(wait)
	for errors.Is(err, ErrReset) && wait.Err() == nil { // wait may have ended because the caller's own object was reset
		// The instance was reset before the event began, so nothing is lost by taking the next one.
		if inst, ticket, err = o.queue(from); err != nil {
			return nil, nil, err
		}
		e, err = ticket.Redeem(wait)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := inst.started(e); err != nil {
		return nil, nil, err
	}
	return inst, e, nil
}

// begin waits for a turn of the object and returns it with the instance, started. Errors: wait's, ErrDeadlock, a ResetError
// when the start failed, errRetired.
func (o *object) begin(wait context.Context, from turn.Origin) (*instance, *turn.Event, error) {
	inst, ticket, err := o.queue(from)
	if err != nil {
		return nil, nil, err
	}
	return o.redeem(wait, inst, ticket, from)
}

// event runs handle as an event of the object.
func (o *object) event(wait context.Context, from turn.Origin, kind EventKind, handle func(ctx context.Context, v any) error) error {
	began := o.trace().clock()
	inst, e, err := o.begin(wait, from)
	if err != nil {
		return err
	}
	return inst.run(e, kind, began, handle)
}

// started starts the instance if this is its first event. When that fails, the event has ended.
func (inst *instance) started(e *turn.Event) error {
	if inst.value != nil {
		return nil
	}
	began := inst.obj.trace().clock()
	return inst.protect(e, EventStart, began, false, func(ctx context.Context, _ any) error {
		if err := e.Keep(); err != nil {
			return inst.reset(err)
		}
		defer e.Unkeep()
		v := inst.obj.ns.build(inst)
		if s, ok := v.(Starter); ok {
			if err := s.OnStart(ctx); err != nil {
				return inst.reset(err)
			}
		}
		if b := inst.obj.books; b != nil { // from here on the group admits
			if err := b.open(inst.obj.ns.groupOf(v)); err != nil {
				return inst.reset(err)
			}
		}
		inst.value = v
		inst.obj.trace().objectStarted(inst.obj)
		return nil
	})
}

// run runs a handler in the event's turn and ends the event.
func (inst *instance) run(e *turn.Event, kind EventKind, began time.Time, handle func(ctx context.Context, v any) error) error {
	return inst.protect(e, kind, began, true, handle)
}

// protect runs a handler, turns a panic into a reset, and ends the event when told to or when the instance has been reset.
func (inst *instance) protect(e *turn.Event, kind EventKind, queued time.Time, end bool, handle func(ctx context.Context, v any) error) (err error) {
	trace := inst.obj.trace()
	began := trace.clock()
	returned := false
	defer func() {
		if !returned {
			cause := &PanicError{Value: recover(), Stack: debug.Stack()}
			if kind == EventReceive && cause.Value == http.ErrAbortHandler { // net/http's own way to break off an answer
				err = http.ErrAbortHandler
			} else {
				err = inst.reset(cause)
			}
		}
		if end || errors.Is(err, ErrReset) {
			closed, misuse := e.End()
			if closed != nil {
				err = closed
			}
			if misuse != nil {
				inst.obj.log().Error("a handler returned while another goroutine used its context: use dog.Go", "event", kind.String())
			}
		}
		trace.eventDone(inst.obj, kind, queued, began, err)
	}()
	err = handle(e, inst.value)
	returned = true
	return err
}

// reset ends the instance: its memory is dropped, its sockets are closed with 1011, and calls under way get the error it returns.
// The first cause stays. A nil panic value means that the handler's goroutine exits (runtime.Goexit).
func (inst *instance) reset(cause error) error {
	o := inst.obj
	err := &ResetError{Object: o.id, Cause: cause}
	o.mu.Lock()
	if o.current.Load() == inst { // first of all, so that events that are refused below find the next instance
		o.current.Store(nil)
		o.past = o.past.Add(inst.turn.Stats())
	}
	o.mu.Unlock()
	if first := inst.turn.Close(err); first != nil {
		return first
	}
	inst.stop(err)
	attrs := []any{"cause", cause}
	if p, ok := errors.AsType[*PanicError](cause); ok {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	o.log().Error("object reset", attrs...)
	if o.member != nil {
		o.member.closeSocketsOf(inst)
	}
	o.trace().objectStopped(o, err)
	return err
}

// retire drops the object from memory unless an event is under way or waits.
func (o *object) retire() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if inst := o.current.Load(); inst != nil {
		if !inst.turn.CloseIdle(errRetired) {
			return false
		}
		inst.stop(errRetired)
		o.past = o.past.Add(inst.turn.Stats())
		o.current.Store(nil)
	}
	o.retired = true
	return true
}

// abandon refuses the events that wait and cuts the connections.
func (o *object) abandon(reason error) {
	if inst := o.current.Load(); inst != nil {
		inst.turn.Refuse(reason)
	}
	if o.member != nil {
		for c := range o.member.sockets.Each() {
			c.Abort(reason)
		}
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
	case errors.Is(err, ErrSocketClosed), errors.Is(err, ErrSlowConsumer):
		level = slog.LevelDebug // clients go whenever they like
	}
	o.log().Log(context.Background(), level, "handler failed", "event", kind.String(), "error", err)
}

// Await gives up the turn while f runs, for slow work of one's own such as a request to another service: other events of the
// object run meanwhile, so state read before may have changed after. f may run what it likes, with ctx too, but must not touch
// the object's fields. Await returns f's error, or ErrOutsideTurn and does not run f when ctx's handler has returned. With a
// context that belongs to no handler it just runs f.
func Await(ctx context.Context, f func() error) error {
	wait, err := turn.Yield(ctx)
	if err != nil {
		return err
	}
	defer wait.Resume()
	return f()
}

// Go runs f as an event of its own of the object whose handler ctx belongs to: after the present one, or while that waits, in a
// goroutine that [Runtime.Shutdown] waits for. Events started so begin in the order of the calls; those that have not begun when the
// object is reset are dropped. f's context has the values of whatever brought the first event about, not those that handlers added.
// f's error is logged. Go returns ErrOutsideTurn when ctx belongs to no handler, or to one that has returned.
func Go(ctx context.Context, f func(ctx context.Context) error) error {
	inst, err := running(ctx)
	if err != nil {
		return err
	}
	ticket, err := inst.turn.Queue(inst.life, turn.Follow(ctx))
	if err != nil {
		return err
	}
	began := inst.obj.trace().clock()
	inst.obj.runtime().spawn(func() {
		e, err := ticket.Redeem(inst.life)
		if err == nil {
			err = inst.run(e, EventGo, began, func(ctx context.Context, _ any) error { return f(ctx) })
		}
		inst.obj.report(EventGo, err)
	})
	return nil
}

// BlockConcurrencyWhile runs f and keeps the turn meanwhile, even where f waits: no other event of the object runs until f
// returns. An error or a panic of f resets the object; the error returned is then [ErrReset], and the panic goes on. A call that
// could never return because it needs a turn that is kept so fails with [ErrDeadlock]. BlockConcurrencyWhile returns
// ErrOutsideTurn, and does not run f, when ctx belongs to no handler that has its turn.
func BlockConcurrencyWhile(ctx context.Context, f func(ctx context.Context) error) error {
	inst, err := running(ctx)
	if err != nil {
		return err
	}
	e := turn.From(ctx)
	if err := e.Keep(); err != nil {
		return err
	}
	defer e.Unkeep()
	returned := false
	defer func() {
		if returned {
			return
		}
		// The handler may recover from the panic, but what f left half done must not stay.
		p := recover()
		_ = inst.reset(&PanicError{Value: p, Stack: debug.Stack()})
		if p != nil {
			panic(p)
		}
	}()
	err = f(ctx)
	returned = true
	if err != nil {
		return inst.reset(err)
	}
	return nil
}

// running returns the instance whose handler ctx belongs to.
func running(ctx context.Context) (*instance, error) {
	e := turn.From(ctx)
	if e == nil {
		return nil, ErrOutsideTurn
	}
	if err := e.Usable(); err != nil {
		return nil, err
	}
	return e.Owner().(*instance), nil
}
