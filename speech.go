package dog

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/godurable/dog/internal/turn"
)

// How what an object says finds its gate. The gate is that of the object whose
// handler's context a call has been given, or the one that a socket or a value
// belongs to. Neither need be the object whose handler speaks in truth, which
// only Options.CheckTurns can see.

// unheard counts what waits at gates.
type unheard struct{ bytes atomic.Int64 }

// heldCost is what the gate needs for an entry, besides the message.
const heldCost = 128

// heldSpare is by how much QueueBytes may be exceeded while the disk is
// written: as much as a client may be behind before anybody looks.
const heldSpare = 1 << 20

// speak has say called when the object's gate opens, unless what the object
// stored before is undone or lost. At most bound bytes wait in u, and a bit,
// and a message that is longer if it waits alone.
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

// say has f called when the object's gate opens, unless what the object stored
// before is undone or lost. Nothing is given up for it.
func (o *object) say(size int, f func()) error {
	if o.gate.Open() {
		f()
		return nil
	}
	return o.speak(&o.held, o.runtime().opts.Sockets.QueueBytes, size, f)
}

// announce has say called when the gate opens of the object whose handler ctx
// belongs to, at once when it belongs to none; and gives up the turn.
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
	// In the turn still, so that it goes with what was stored in it.
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

// heard returns ErrPastGate when the calling goroutine runs a handler of
// another object, whose gate is not open. Only CheckTurns finds it.
func (o *object) heard() error {
	if !o.strict {
		return nil
	}
	return pastGate(nil, o)
}

// pastGate returns ErrPastGate when the calling goroutine runs a handler of an
// object other than speaker, whose gate is not open, in an event other than
// own. Both may be nil.
func pastGate(own *turn.Event, speaker *object) error {
	for _, e := range turn.Running() {
		if o := e.Owner().(*instance).obj; e != own && o != speaker && !o.gate.Open() {
			return fmt.Errorf("%w (by a handler of %q, %s)", ErrPastGate, o.ns.name, o.id)
		}
	}
	return nil
}
