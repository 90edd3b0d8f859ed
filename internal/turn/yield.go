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
	l := e.lock
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := e.usableLocked(); err != nil {
		return Wait{}, err
	}
	e.waits++
	if e.waiting {
		return Wait{event: e}, nil
	}
	e.waiting = true
	if e.keeps == 0 && l.holder == e {
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
	l := e.lock
	l.mu.Lock()
	e.waits--
	if !w.outer {
		l.mu.Unlock()
		return
	}
	e.waiting = false
	if e.ended || l.holder == e {
		l.mu.Unlock()
		return
	}
	if l.holder == nil {
		l.holder = e
		l.mu.Unlock()
		return
	}
	place, kept := l.pushLocked(e, false)
	l.mu.Unlock()
	if kept {
		breakCycle(place)
	}
	<-place.ready
}

// Keep makes the event keep its turn across waits, until [Event.Unkeep]. Keeps
// nest.
func (e *Event) Keep() error {
	l := e.lock
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.ended || l.holder != e || !e.ownedByCaller() {
		return ErrOutside
	}
	e.keeps++
	return nil
}

// Unkeep ends a Keep.
func (e *Event) Unkeep() {
	e.lock.mu.Lock()
	e.keeps--
	e.lock.mu.Unlock()
}
