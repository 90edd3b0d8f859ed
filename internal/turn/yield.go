package turn

import (
	"context"
)

// A Wait is a wait of an event, begun by [Yield].
type Wait struct {
	event *Event // nil: no event
	outer bool   // the handler's own wait; false: that of a goroutine that the handler waits for
}

// Yield gives up the turn of the event that ctx belongs to, until
// [Wait.Resume]. If ctx belongs to no event, neither does anything. While the
// turn is given up, any goroutine that the handler waits for may use ctx.
func Yield(ctx context.Context) (Wait, error) {
	e := From(ctx)
	if e == nil {
		return Wait{}, nil
	}
	if e.is(held) && e.ownedByCaller() && e.change(held, away) {
		return Wait{event: e, outer: true}, nil
	}
	l := e.lock
	e.enter()
	defer l.unlock()
	if err := e.usableLocked(); err != nil {
		return Wait{}, err
	}
	e.waits++
	if e.waiting {
		return Wait{event: e}, nil
	}
	e.waiting = true
	if e.keeps == 0 && e.hasTurnLocked() {
		l.handOverLocked()
	}
	return Wait{event: e, outer: true}, nil
}

// Event returns the event that waits, or nil.
func (w Wait) Event() *Event { return w.event }

// Resume takes back the turn that [Yield] gave up. It cannot be cancelled,
// because the code after it in the handler relies on the turn.
func (w Wait) Resume() {
	e := w.event
	if e == nil {
		return
	}
	if w.outer && e.is(away) && e.change(away, held) {
		return
	}
	l := e.lock
	e.enter()
	e.waits--
	if !w.outer || !e.waiting { // if it is not waiting, End has ended the wait
		l.unlock()
		return
	}
	e.waiting = false
	if e.hasTurnLocked() {
		l.unlock()
		return
	}
	if l.holder == 0 {
		l.holder = e.number
		l.unlock()
		return
	}
	place, kept := l.pushLocked(e, false)
	l.unlock()
	if kept {
		breakCycle(place)
	}
	<-place.ready
}

// Keep makes the event keep its turn across waits, until [Event.Unkeep]. Keeps
// nest.
func (e *Event) Keep() error {
	l := e.lock
	e.enter()
	defer l.unlock()
	if !e.hasTurnLocked() || !e.ownedByCaller() {
		return ErrOutside
	}
	e.keeps++
	l.keeper = e
	return nil
}

// Unkeep ends a Keep.
func (e *Event) Unkeep() {
	e.enter()
	e.keeps--
	e.lock.unlock()
}
