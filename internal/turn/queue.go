package turn

import (
	"context"
	"time"
)

// closeLocked closes the lock. The caller must hold mu, and the lock must not
// be closed.
func (l *Lock) closeLocked(reason error) {
	l.closed = reason
	l.refuseAllLocked(reason)
}

// refuseAllLocked ends the waits of all events that have not begun. The caller
// must hold mu.
func (l *Lock) refuseAllLocked(reason error) {
	for w := l.head; w != nil; {
		next := w.next
		if w.first {
			l.refuseLocked(w, reason)
		}
		w = next
	}
}

// await waits for w to leave the queue. If wait is done first, the event gives
// up its place.
func (l *Lock) await(wait context.Context, w *waiter) error {
	select {
	case <-w.ready:
		return w.err
	case <-wait.Done():
	}
	l.lock()
	defer l.unlock()
	switch {
	case w.queued:
		l.refuseLocked(w, context.Cause(wait))
	case w.err == nil: // it got its turn at the same moment
		w.err = context.Cause(wait)
		l.events--
		l.handOverLocked()
	}
	return w.err
}

// pushLocked queues e and reports whether the turn is held by an event that
// keeps it. The caller must hold mu.
func (l *Lock) pushLocked(e *Event, first bool) (w *waiter, kept bool) {
	w = &waiter{event: e, first: first, ready: make(chan struct{}), queued: true, since: time.Now(), prev: l.tail}
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
	e.place = w
	if first {
		l.queued++
	}
	return w, l.keptLocked()
}

// keptLocked reports whether the turn is held by an event that keeps it. The
// caller must hold mu.
func (l *Lock) keptLocked() bool { return l.keeper != nil && l.keeper.keeps > 0 }

// removeLocked takes w out of the queue. The caller must hold mu and close
// w.ready.
func (l *Lock) removeLocked(w *waiter) {
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	w.queued = false
	if w.first {
		l.queued--
	}
	w.event.place = nil
}

// refuseLocked ends the wait of an event that has not begun. The caller must
// hold mu.
func (l *Lock) refuseLocked(w *waiter, reason error) {
	l.removeLocked(w)
	w.err = reason
	l.events--
	close(w.ready)
}

// handOverLocked gives the turn to the next waiter in the queue, if any. The
// caller must hold mu.
func (l *Lock) handOverLocked() {
	l.holder, l.keeper = 0, nil
	w := l.head
	if w == nil {
		return
	}
	l.removeLocked(w)
	waited := time.Since(w.since)
	l.stats.Waits++
	l.stats.Waited += waited
	l.stats.Longest = max(l.stats.Longest, waited)
	if w.first {
		l.grantLocked(w.event)
	} else {
		l.holder = w.event.number
	}
	close(w.ready)
}

// grantLocked gives e its first turn. The caller must hold mu.
func (l *Lock) grantLocked(e *Event) {
	l.stats.Events++
	e.number = l.stats.Events
	l.holder = e.number
}
