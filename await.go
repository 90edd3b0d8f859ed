package dog

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/turn"
)

// Await gives up the turn while f runs, for slow work of one's own such as a
// request to another service: other events of the object run meanwhile, so
// state read before may have changed after. f may run what it likes, with ctx
// too, but must not touch the object's fields and storage. f runs when what the
// object stored before is durable, since it may tell others of it.
//
// Await returns f's error. It does not run f and returns ErrOutsideTurn when
// ctx's handler has returned, [ErrReset] when what was stored could not be made
// durable, and ErrInTransaction inside [Storage.Transaction]. With a context
// that belongs to no handler it just runs f.
func Await(ctx context.Context, f func() error) error { return await(ctx, nil, f) }

// awaitDurable is Await for what may begin only while ctx lasts, on behalf of
// speaker, as in await.
func awaitDurable(ctx context.Context, speaker *object, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return await(ctx, speaker, f)
}

// await is Await. When ctx belongs to no handler, it waits at the gate of
// speaker, nil for nobody.
func await(ctx context.Context, speaker *object, f func() error) error {
	wait, err := giveUp(ctx, speaker)
	if err != nil {
		return err
	}
	defer wait.Resume()
	if err := wait.durable(ctx); err != nil {
		return err
	}
	return f()
}

// mayWait returns why the holder of ctx may not wait.
func mayWait(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e := turn.From(ctx)
	if e == nil {
		return nil
	}
	if s := &e.Owner().(*instance).storage; s.used.Load() && e.Holds() && s.data.Saves() > 0 {
		return ErrInTransaction
	}
	return e.Usable()
}

// wait is a wait of a handler that has given up its turn until Resume, or of
// somebody else.
type wait struct {
	turn.Wait
	who     *object      // nil when outcome is
	outcome <-chan error // of what the speaker has stored before; nil: it is durable
}

// giveUp ends the transaction of the handler that ctx belongs to and gives up
// its turn. What becomes of the transaction is for durable to say. When ctx
// belongs to no handler, that is about what speaker, nil for nobody, has
// stored.
func giveUp(ctx context.Context, speaker *object) (wait, error) {
	e := turn.From(ctx)
	if err := pastGate(e, nil); err != nil {
		return wait{}, err
	}
	if e != nil {
		inst := e.Owner().(*instance)
		if s := &inst.storage; s.used.Load() && e.Holds() {
			if err := s.pause(); err != nil {
				return wait{}, err
			}
		}
		speaker = inst.obj
	}
	var w wait
	if speaker != nil && !speaker.gate.Open() { // in the turn still: what the next event stores is none of this one's
		w.who, w.outcome = speaker, speaker.gate.Outcome()
	}
	var err error
	w.Wait, err = turn.Yield(ctx)
	return w, err
}

// durable returns when what was stored before the wait is durable, or why it
// will not be: ErrReset, or the cause of ctx's end.
func (w wait) durable(ctx context.Context) error {
	if w.outcome == nil {
		return nil
	}
	select {
	case lost := <-w.outcome:
		if _, undone := errors.AsType[*gate.Undone](lost); undone { // by another event, since this one's own has ended
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

// settle ends the transaction of a handler and returns when what its object has
// stored so far is durable. It keeps the turn meanwhile.
func settle(e *turn.Event) error {
	inst := e.Owner().(*instance)
	o := inst.obj
	if s := &inst.storage; s.used.Load() && e.Holds() {
		if err := s.pause(); err != nil {
			return err
		}
	}
	lost := o.gate.Wait(e)
	if lost != nil && e.Err() != nil {
		return context.Cause(e)
	}
	return o.lostError(lost)
}

// lostError returns the error of those who relied on what the object stored and
// was lost; nil when it was not.
func (o *object) lostError(lost error) error {
	if lost == nil || errors.Is(lost, ErrReset) {
		return lost
	}
	return &ResetError{Object: o.id, Cause: lost}
}

// Go runs f as an event of its own of the object whose handler ctx belongs to:
// after the present one, or while that waits, in a goroutine that
// [Runtime.Shutdown] waits for. Events started so begin in the order of the
// calls; those that have not begun when the object is reset are dropped, and
// those of a transaction that is undone because the handler returns an error
// (RollbackOnError) as well. f's context has the values of whatever brought the
// first event about, not those that handlers added. f's error is logged. Go
// returns ErrOutsideTurn when ctx belongs to no handler, or to one that has
// returned, and ErrOverloaded when Options.MaxWaiting events wait already.
func Go(ctx context.Context, f func(ctx context.Context) error) error {
	inst, err := running(ctx)
	if err != nil {
		return err
	}
	e := turn.From(ctx)
	if err := pastGate(e, nil); err != nil {
		return err
	}
	var undone *bool
	if e.Holds() {
		undone = inst.storage.fate()
	}
	from := turn.Follow(ctx)
	from.Limit = inst.obj.runtime().opts.MaxWaiting
	ticket, err := inst.turn.Queue(from)
	if err != nil {
		return err
	}
	began := inst.obj.trace().clock()
	inst.obj.runtime().spawn(func() {
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

// BlockConcurrencyWhile runs f and keeps the turn meanwhile, even where f
// waits: no other event of the object runs until f returns. An error or a panic
// of f resets the object; the error returned is then [ErrReset], and the panic
// goes on. A call that could never return because it needs a turn that is kept
// so fails with [ErrDeadlock]. BlockConcurrencyWhile returns ErrOutsideTurn,
// and does not run f, when ctx belongs to no handler that has its turn.
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
		// The handler may recover from the panic, but what f left half done
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
