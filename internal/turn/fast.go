package turn

// Most events find the turn free and end before another event arrives. Such an
// event takes, gives up and returns the turn by compare-and-swap of Lock.state
// alone. It locks no mutex and writes no other field.
//
// Everything else takes the slow path: a second event, a Keep, a Close. It
// calls Lock.lock, which locks the mutex and sets the state to guarded. From
// then on no compare-and-swap succeeds, and the fields that mu guards have the
// truth. When no event runs or waits any more, Lock.unlock sets the state to
// free. So either the state has the truth or the fields have it, never both.
//
// The state is the number of events that have got a turn, and in its lowest
// bits one of these:
const (
	free    = iota // no event runs or waits
	held           // the event with this number has the turn, does not keep it, and is the only event
	away           // the event with this number waits, has not kept the turn, and is the only event
	guarded        // the fields have the truth; the number is in stats

	modeBits = 2
	modeMask = 1<<modeBits - 1
)

// take gives the new event its first turn if no event runs or waits.
func (l *Lock) take(e *Event) bool {
	s := l.state.Load()
	if s&modeMask != free {
		return false
	}
	e.number = s>>modeBits + 1
	if !l.state.CompareAndSwap(s, e.state(held)) {
		e.number = 0 // it is another event's
		return false
	}
	return true
}

// is reports whether the state is this one, with the event's number.
func (e *Event) is(mode uint64) bool { return e.lock.state.Load() == e.state(mode) }

// change changes the state if it is this one, and reports whether it did.
// Callers ask [Event.is] first, because a swap costs much even if it fails.
func (e *Event) change(from, to uint64) bool {
	return e.lock.state.CompareAndSwap(e.state(from), e.state(to))
}

func (e *Event) state(mode uint64) uint64 { return state(e.number, mode) }

func state(number, mode uint64) uint64 { return number<<modeBits | mode }

// lock locks mu and makes the fields that it guards have the truth.
func (l *Lock) lock() {
	l.mu.Lock()
	if l.state.Load() == guarded {
		return
	}
	s := l.state.Swap(guarded)
	l.stats.Events = s >> modeBits
	switch s & modeMask {
	case held:
		l.holder, l.events = l.stats.Events, 1
	case away:
		l.away, l.events = l.stats.Events, 1
	}
}

// enter is lock for an operation on the event.
func (e *Event) enter() {
	l := e.lock
	l.lock()
	if l.away != 0 && l.away == e.number {
		l.away = 0
		e.waiting, e.waits = true, 1
	}
}

// unlock undoes lock and enter.
func (l *Lock) unlock() {
	if l.events == 0 && l.closed == nil {
		l.state.Store(state(l.stats.Events, free))
	}
	l.mu.Unlock()
}
