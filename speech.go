package dog

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/godurable/dog/internal/turn"
)

// This file finds the gate for an object's output. It is the gate of the object
// whose handler's context was passed to the call, or of the object that the
// socket or value belongs to. That need not be the object whose handler is
// really running, which only Options.CheckTurns can detect.

// unheard counts the bytes waiting at gates.
type unheard struct{ bytes atomic.Int64 }

// heldCost is the cost of an entry in a gate, in addition to the message.
const heldCost = 128

// heldSpare is how far QueueBytes may be exceeded during a write to the disk.
// It equals what a client may be behind before the limits are checked.
const heldSpare = 1 << 20

// speak arranges for say to be called when the object's gate opens, unless the
// object's earlier writes are undone or lost. At most bound bytes plus
// heldSpare wait in u, or a single message that is longer. Beyond that, speak
// returns ErrHeldBack.
func (o *object) speak(u *unheard, bound, size int, say func()) error {
	cost := int64(size + heldCost)
	if waiting := u.bytes.Add(cost); waiting > cost && waiting-heldSpare > int64(bound) {
		u.bytes.Add(-cost)
		return ErrHeldBack
	}
	held := &o.runtime().held
	held.Add(cost)
	o.gate.Say(func(lost error) {
		u.bytes.Add(-cost)
		held.Add(-cost)
		if lost == nil {
			say()
		}
	})
	return nil
}

// say arranges for f to be called when the object's gate opens, unless the
// object's earlier writes are undone or lost. It keeps the turn.
func (o *object) say(size int, f func()) error {
	if o.gate.Open() {
		f()
		return nil
	}
	return o.speak(&o.held, o.runtime().opts.Sockets.QueueBytes, size, f)
}

// announce arranges for say to be called when the gate of the object whose
// handler ctx belongs to opens, and gives up the turn. If ctx belongs to no
// handler, say is called at once.
func announce(ctx context.Context, size int, say func()) error {
	if err := mayWait(ctx); err != nil {
		return err
	}
	e := turn.From(ctx)
	if err := pastGate(e, nil); err != nil {
		return err
	}
	if e == nil {
		say()
		return nil
	}
	// While still in the turn, so that say depends on the writes of this turn.
	if err := e.Owner().(*instance).obj.say(size, say); err != nil {
		return err
	}
	wait, err := giveUp(ctx, nil)
	if err != nil {
		return err
	}
	wait.Resume()
	return nil
}

// heard returns ErrPastGate if the calling goroutine runs a handler of another
// object and that object's gate is not open. It detects that only with
// CheckTurns.
func (o *object) heard() error {
	if !o.strict {
		return nil
	}
	return pastGate(nil, o)
}

// pastGate returns ErrPastGate if the calling goroutine runs a handler of an
// object other than speaker, in an event other than own, and that object's gate
// is not open. Both own and speaker may be nil.
func pastGate(own *turn.Event, speaker *object) error {
	for _, e := range turn.Running() {
		if o := e.Owner().(*instance).obj; e != own && o != speaker && !o.gate.Open() {
			return fmt.Errorf("%w (by a handler of %q, %s)", ErrPastGate, o.ns.name, o.id)
		}
	}
	return nil
}
