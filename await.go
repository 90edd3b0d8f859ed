package dog

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/turn"
)

// Await gives up the turn and runs f. It is for slow work such as a request to
// another service. Other events of the object run in the meantime, so state
// read before the call may have changed after it. f may use ctx and call
// anything, but must not access the object's fields and storage. Because f may
// pass on the object's state, it starts only when the object's earlier writes
// are durable.
//
// Await returns f's error. It returns one of these errors without running f:
// ErrOutsideTurn if ctx's handler has returned, [ErrReset] if earlier writes
// could not be made durable, ErrInTransaction inside [Storage.Transaction], and
// a [UsageError] if f is nil. If ctx belongs to no handler, Await just runs f.
func Await(ctx context.Context, f func() error) error {
	if f == nil {
		return misuse("Await", "f is nil")
	}
	return await(ctx, nil, f)
}

// awaitDurable is Await for an f that may only start while ctx is not done.
// speaker is as in await.
func awaitDurable(ctx context.Context, speaker *object, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return await(ctx, speaker, f)
}

// await is Await. If ctx belongs to no handler, it waits at the gate of
// speaker, or at none if speaker is nil.
func await(ctx context.Context, speaker *object, f func() error) error {
	wait, err := yieldTurn(ctx, speaker)
	if err != nil {
		return err
	}
	defer wait.Resume()
	if err := wait.durable(ctx); err != nil {
		return err
	}
	return f()
}

// mayWait returns an error if the holder of ctx may not wait.
func mayWait(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e := turn.From(ctx)
	if e == nil {
		return nil
	}
	if t := &e.Owner().(*instance).storage.tx; t.Used() && e.Holds() && t.Nested() {
		return ErrInTransaction
	}
	return e.Usable()
}

// wait is a wait of a handler that has given up its turn until Resume, or of a
// goroutine without a handler.
type wait struct {
	turn.Wait
	who     *object      // nil if outcome is nil
	outcome <-chan error // of the speaker's earlier writes; nil: they are durable
}

// yieldTurn ends the transaction of the handler that ctx belongs to and gives
// up its turn. The outcome of the transaction is returned by durable. If ctx
// belongs to no handler, durable reports on the writes of speaker, or on none
// if speaker is nil.
func yieldTurn(ctx context.Context, speaker *object) (wait, error) {
	e := turn.From(ctx)
	if err := pastGate(e, nil); err != nil {
		return wait{}, err
	}
	if e != nil {
		inst := e.Owner().(*instance)
		if t := &inst.storage.tx; t.Used() && e.Holds() {
			if err := t.Pause(); err != nil {
				return wait{}, err
			}
		}
		speaker = inst.obj
	}
	var w wait
	// While still in the turn, so that writes of the next event do not count.
	if speaker != nil && !speaker.gate.Open() {
		w.who, w.outcome = speaker, speaker.gate.Outcome()
	}
	var err error
	w.Wait, err = turn.Yield(ctx)
	return w, err
}

// durable waits until the writes before the wait are durable. If they will not
// be, it returns ErrReset. If ctx ends first, it returns the cause.
func (w wait) durable(ctx context.Context) error {
	if w.outcome == nil {
		return nil
	}
	select {
	case lost := <-w.outcome:
		// Undone by another event, since this event's own transaction has
		// ended.
		if _, undone := errors.AsType[*gate.Undone](lost); undone {
			lost = w.who.gate.Wait(ctx)
			if lost != nil && ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		return w.who.lostError(lost)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settle ends the transaction of a handler and waits until all writes of its
// object so far are durable. It keeps the turn.
func settle(e *turn.Event) error {
	inst := e.Owner().(*instance)
	o := inst.obj
	if t := &inst.storage.tx; t.Used() && e.Holds() {
		if err := t.Pause(); err != nil {
			return err
		}
	}
	lost := o.gate.Wait(e)
	if lost != nil && e.Err() != nil {
		return context.Cause(e)
	}
	return o.lostError(lost)
}

// lostError returns the error for callers that relied on lost writes of the
// object. It returns nil if lost is nil.
func (o *object) lostError(lost error) error {
	if lost == nil || errors.Is(lost, ErrReset) {
		return lost
	}
	return &ResetError{Object: o.id, Cause: lost}
}

// Go runs f as a separate event of the object whose handler ctx belongs to,
// after the current event or while it waits. The event runs in a goroutine that
// [Runtime.Shutdown] waits for. Events begin in the order of the calls to Go.
// Events that have not begun when the object is reset are dropped. So are those
// of a transaction that is rolled back because the handler returns an error
// (RollbackOnError). f's context has the values of the call or request that
// caused the first event, not those that handlers added. An error from f is
// logged.
//
// Go returns ErrOutsideTurn if ctx belongs to no handler or to one that has
// returned, ErrOverloaded if Options.MaxWaiting events are waiting already, and
// a [UsageError] if f is nil.
func Go(ctx context.Context, f func(ctx context.Context) error) error {
	inst, err := running(ctx)
	if err != nil {
		return err
	}
	if f == nil {
		return misuse("Go", "f is nil")
	}
	e := turn.From(ctx)
	if err := pastGate(e, nil); err != nil {
		return err
	}
	var undone *bool
	if e.Holds() {
		undone = inst.storage.tx.Fate()
	}
	from := turn.Follow(ctx)
	from.Limit = inst.obj.runtime().opts.MaxWaiting
	ticket, err := inst.turn.Queue(from)
	if err != nil {
		return err
	}
	began := inst.obj.trace().clock()
	inst.obj.runtime().work.Spawn(func() {
		e, err := ticket.Redeem(inst.life)
		if err == nil {
			err = inst.run(e, EventGo, began, func(ctx context.Context, _ any) error {
				if undone != nil && *undone {
					return nil
				}
				return f(ctx)
			})
		}
		inst.obj.report(EventGo, err)
	})
	return nil
}

// BlockConcurrencyWhile runs f and keeps the turn, even while f waits: no other
// event of the object runs until f returns. If f returns an error or panics,
// the object is reset. The error returned is then [ErrReset], and a panic
// continues. A call that could never return because it needs a turn kept in
// this way fails with [ErrDeadlock]. If ctx belongs to no handler that has its
// turn, BlockConcurrencyWhile returns ErrOutsideTurn and does not run f. A nil f
// is a [UsageError], and does not reset the object.
func BlockConcurrencyWhile(ctx context.Context, f func(ctx context.Context) error) error {
	inst, err := running(ctx)
	if err != nil {
		return err
	}
	if f == nil {
		return misuse("BlockConcurrencyWhile", "f is nil")
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
		// The handler may recover from the panic, but the partial effects of f
		// must not stay.
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
