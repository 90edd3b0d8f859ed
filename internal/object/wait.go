package object

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// Await gives up the turn of the handler that ctx belongs to, waits until the
// earlier writes of its object are durable, and runs f. If ctx belongs to no
// handler, it waits at the gate of source, or at none if source is nil.
func Await(ctx context.Context, source *Object, f func() error) error {
	wait, err := Yield(ctx, source)
	if err != nil {
		return err
	}
	defer wait.Resume()
	if err := wait.Durable(ctx); err != nil {
		return err
	}
	return f()
}

// AwaitDurable is Await for an f that may only start while ctx is not done.
func AwaitDurable(ctx context.Context, source *Object, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return Await(ctx, source, f)
}

// MayWait returns an error if the holder of ctx may not wait.
func MayWait(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e := turn.From(ctx)
	if e == nil {
		return nil
	}
	if t := &LifeOf(e).Tx; t.Used() && e.Holds() && t.Nested() {
		return tx.ErrNested
	}
	return e.Usable()
}

// A Wait is a wait of a handler that has given up its turn until Resume, or of
// a goroutine without a handler.
type Wait struct {
	turn.Wait
	keeps   *Life        // the life of the handler if its messages are stored, otherwise nil
	who     *Object      // the source; nil: its earlier writes are durable
	outcome <-chan error // of these; nil: the wait is no handler's
}

// patience is how long a wait without a handler's context waits for an event of
// the source that has written and goes on. Such an event may be the caller's
// own, which would then wait for itself without end. It cannot be distinguished
// from others: see docs/design.md.
const patience = 30 * time.Second

// Resume takes back the turn.
func (w Wait) Resume() {
	w.Wait.Resume()
	if w.keeps != nil && w.Event().Holds() {
		w.keeps.Tx.Collect()
	}
}

// Yield ends the transaction of the handler that ctx belongs to and gives up
// its turn. The outcome of the transaction is returned by Durable. If ctx
// belongs to no handler, Durable reports on the writes of source, or on none if
// source is nil.
func Yield(ctx context.Context, source *Object) (Wait, error) {
	e := turn.From(ctx)
	if err := PastGate(e, nil); err != nil {
		return Wait{}, err
	}
	var w Wait
	if e != nil {
		life := LifeOf(e)
		if t := &life.Tx; (t.Used() || t.Keeper != nil) && e.Holds() {
			if err := t.Pause(); err != nil {
				return Wait{}, err
			}
		}
		source = life.obj
		if life.Tx.Keeper != nil {
			w.keeps = life
		}
	}
	if source != nil && !source.Gate.Open() {
		w.who = source
		if e != nil { // while still in the turn, so that writes of the next event do not count
			w.outcome = source.Gate.Outcome()
		}
	}
	var err error
	w.Wait, err = turn.Yield(ctx)
	return w, err
}

// Durable waits until the writes before the wait are durable. If they will not
// be, it returns ErrReset. If ctx ends first, it returns the cause. For a wait
// that is no handler's it returns ErrPastGate if it has to wait too long for an
// event to end.
func (w Wait) Durable(ctx context.Context) error {
	if w.who == nil {
		return nil
	}
	if w.outcome == nil {
		return w.who.awaitEvent(ctx)
	}
	select {
	case lost := <-w.outcome:
		// Undone by another event, since this event's own transaction has
		// ended.
		if _, undone := errors.AsType[*gate.Undone](lost); undone {
			lost = w.who.Gate.Wait(ctx)
			if lost != nil && ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		return w.who.lostError(lost)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// awaitEvent waits until an object's writes are durable, on behalf of no
// handler. The errors are those of Durable.
func (o *Object) awaitEvent(ctx context.Context) error {
	lost := o.Gate.WaitWithin(ctx, patience)
	switch {
	case lost == gate.ErrUnended:
		return fmt.Errorf("%w (an event of %q, %s, has written and not ended for %v, for which the call waited: "+
			"nothing was done)", ErrPastGate, o.Class.Name, o.ID, patience)
	case lost != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return o.lostError(lost)
}

// Settle ends the transaction of a handler and waits until all writes of its
// object so far are durable. It keeps the turn.
func Settle(e *turn.Event) error {
	life := LifeOf(e)
	o := life.obj
	if t := &life.Tx; (t.Used() || t.Keeper != nil) && e.Holds() {
		if err := t.Pause(); err != nil {
			return err
		}
		defer t.Collect()
	}
	lost := o.Gate.Wait(e)
	if lost != nil && e.Err() != nil {
		return context.Cause(e)
	}
	return o.lostError(lost)
}

// Running returns the life whose handler ctx belongs to, or turn.ErrOutside.
func Running(ctx context.Context) (*Life, error) {
	e := turn.From(ctx)
	if e == nil {
		return nil, turn.ErrOutside
	}
	if err := e.Usable(); err != nil {
		return nil, err
	}
	return LifeOf(e), nil
}

// Go runs f as a separate event of the life, after the event that ctx belongs
// to or while that waits. The event is dropped when the life ends before it
// begins, and when the transaction of the current event is undone.
func (life *Life) Go(ctx context.Context, f func(ctx context.Context) error) error {
	e := turn.From(ctx)
	if err := PastGate(e, nil); err != nil {
		return err
	}
	var undone *bool
	if e.Holds() {
		undone = life.Tx.Fate()
	}
	h := life.obj.host()
	from := turn.Follow(ctx)
	from.Limit = h.MaxWaiting
	ticket, err := life.turn.Queue(from)
	if err != nil {
		return err
	}
	began, starter := life.obj.Clock(), h.Starter(ctx)
	h.Work.Spawn(func() {
		e, err := ticket.Redeem(life.ctx)
		if err == nil {
			err = life.Run(e, EventGo, began, starter, func(ctx context.Context, _ any) error {
				if undone != nil && *undone {
					return nil
				}
				return f(ctx)
			})
		}
		life.obj.Report(EventGo, err)
	})
	return nil
}

// Block runs f and keeps the turn of the event that ctx belongs to, even while
// f waits. An error or a panic of f resets the object. The panic continues.
func (life *Life) Block(ctx context.Context, f func(ctx context.Context) error) error {
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
		_ = life.Reset(life.obj.host().Errors.Panic(p, debug.Stack()))
		if p != nil {
			panic(p)
		}
	}()
	err := f(ctx)
	returned = true
	if err != nil {
		return life.Reset(err)
	}
	return nil
}
