package turn

import (
	"slices"
	"sync"
)

// The events that wait for an event are its caller, until the call is over, the
// events that joined it, and, while it keeps the turn of its object, all events
// in that turn's queue. A circle of these waits never ends. A wait in it begins
// when an event queues for a turn that is kept (breakCycle), when an event
// joins another (Join), or when a caller waits for the remainder of its call
// (Remainder.Wait), so it is enough to search at these points.

// graph orders the searches: if two waits close a circle together, the second
// search sees both. It is taken before any lock's mu, never while one is held.
var graph sync.Mutex

// joined has the additional events that wait for an event. It is guarded by
// graph. It is not a field of Event because few events have any.
var joined = map[*Event][]*Event{}

// breakCycle looks for a circle that w closes and refuses one event of it with
// ErrDeadlock: w's own event if it has not begun, or else another event that
// has not. There always is one: an event that takes its turn back had it before
// the current holder took and kept it, which cannot be true for all events of a
// circle.
func breakCycle(w *waiter) {
	graph.Lock()
	defer graph.Unlock()
	l := w.event.lock
	for { // one wait may close several circles
		l.lock()
		holder := l.keeper
		kept := w.queued && l.keptLocked()
		l.unlock()
		if !kept || !slices.ContainsFunc(path(w.event, holder), func(e *Event) bool { return e.refuse(ErrDeadlock) }) {
			return
		}
	}
}

// Join records that waiting waits for e, although waiting did not cause e. It
// returns ErrDeadlock if e already waits for waiting. [Event.Part] undoes it.
func (e *Event) Join(waiting *Event) error {
	if waiting == nil {
		return nil
	}
	graph.Lock()
	defer graph.Unlock()
	if path(waiting, e) != nil {
		return ErrDeadlock
	}
	joined[e] = append(joined[e], waiting)
	return nil
}

// Part records that waiting has stopped waiting for e.
func (e *Event) Part(waiting *Event) {
	if waiting == nil {
		return
	}
	graph.Lock()
	defer graph.Unlock()
	rest := joined[e]
	if i := slices.Index(rest, waiting); i >= 0 {
		rest = slices.Delete(rest, i, i+1)
	}
	if len(rest) == 0 {
		delete(joined, e)
		return
	}
	joined[e] = rest
}

// shared has the events that others may join at any time. It is guarded by
// graph.
var shared = map[*Event]struct{}{}

// Share records that other events may join the event, now or later, until
// [Event.Unshare].
func (e *Event) Share() {
	graph.Lock()
	defer graph.Unlock()
	shared[e] = struct{}{}
}

// Unshare undoes Share.
func (e *Event) Unshare() {
	graph.Lock()
	defer graph.Unlock()
	delete(shared, e)
}

// Pinned reports whether an event that keeps its turn waits for this one,
// directly or through other events, or may begin to. In that case the goroutine
// that runs this event must not wait for arbitrary things.
func (e *Event) Pinned() bool {
	graph.Lock()
	defer graph.Unlock()
	for behind := e; behind != nil; behind = behind.call.caller() {
		if _, ok := shared[behind]; ok || behind != e && behind.HasTurn() {
			return true
		}
	}
	return false
}

// path returns the events between from and target, including both, where each
// event is waited for by the next. It returns nil if there is no path. The
// caller must hold graph.
func path(from, target *Event) []*Event {
	came := map[*Event]*Event{from: nil}
	todo := []*Event{from}
	visit := func(e, via *Event) {
		if _, seen := came[e]; !seen {
			came[e] = via
			todo = append(todo, e)
		}
	}
	for len(todo) > 0 {
		e := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if e == target {
			var way []*Event
			for ; e != nil; e = came[e] {
				way = append(way, e)
			}
			slices.Reverse(way)
			return way
		}
		if caller := e.call.caller(); caller != nil {
			visit(caller, e)
		}
		for _, j := range joined[e] {
			visit(j, e)
		}
		for _, q := range e.queueBehind() {
			visit(q, e)
		}
	}
	return nil
}

// queueBehind returns the events that wait for the turn that e keeps.
func (e *Event) queueBehind() []*Event {
	l := e.lock
	e.enter()
	defer l.unlock()
	if !e.hasTurnLocked() || e.keeps == 0 {
		return nil
	}
	var queue []*Event
	for w := l.head; w != nil; w = w.next {
		queue = append(queue, w.event)
	}
	return queue
}

// refuse ends the event's wait for its first turn with err, and reports whether
// the event was waiting for it.
func (e *Event) refuse(err error) bool {
	l := e.lock
	e.enter()
	defer l.unlock()
	if e.place == nil || !e.place.first {
		return false
	}
	l.refuseLocked(e.place, err)
	return true
}
