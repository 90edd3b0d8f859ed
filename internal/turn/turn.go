// Package turn lets the events of one object run one at a time.
//
// A [Lock] is an object's turn, and an [Event] is one run of one of its
// handlers. The turn is a lock, not a goroutine: the goroutine that brings an
// event runs the handler itself, and an idle object costs only memory. Three
// things distinguish it from a mutex:
//
//   - It is handed over in the order of arrival, and waiting for it can be
//     cancelled.
//   - An event can give it up while it waits for something else and take it
//     back afterwards ([Yield], [Wait.Resume]), or keep it across such waits
//     ([Event.Keep]).
//   - Events know which events wait for them, so a circle of kept turns is
//     found when it closes (deadlock.go).
//
// An Event is the [context.Context] of its handler, which carries the turn
// through the caller's code.
//
// It does not know objects, what a handler does, or why an event happens.
package turn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrOutside reports a context that is used after its handler has returned,
	// or by a goroutine that does not own it.
	ErrOutside = errors.New("dog: context used outside its turn")

	// ErrOverloaded reports an event that was refused because too many events
	// were waiting.
	ErrOverloaded = errors.New("dog: overloaded: too many events wait for the object's turn")

	// ErrDeadlock reports an event that could never have got its turn.
	ErrDeadlock = errors.New("dog: deadlock: the call waits for a turn that is kept until the call returns")
)

// A Lock is the turn of one object. The zero value is a free turn.
//
// A lock's mutex is held for a few instructions only, and not at all by an
// event that has the lock to itself (fast.go). While it is held, no other mutex
// is taken except that of running.
type Lock struct {
	// Life is the life of the lock's owner. Nil means that it does not end.
	// Fixed before first use.
	Life context.Context
	// Strict makes events check that their context is used by the goroutine
	// that runs them. Fixed before first use.
	Strict bool
	// Owner is the value that [Event.Owner] returns. Fixed before first use.
	Owner any

	state  atomic.Uint64 // see fast.go
	mu     sync.Mutex
	holder uint64 // number of the event that has the turn; 0 when free; guarded by mu, like all below
	keeper *Event // the event that has the turn, if it has called Keep since it got it
	away   uint64 // number of an event whose fields do not state yet that it waits; 0: none
	head   *waiter
	tail   *waiter
	queued int   // events waiting for their first turn
	events int   // events that have begun and not ended, or are queued
	closed error // why no further event may begin
	stats  Stats
	onEnd  map[*Event]map[*func()]struct{} // functions passed to [Event.OnEnd]
}

// Stats has the counts of a lock since it was made.
type Stats struct {
	Events  uint64        // events that got a turn
	Waits   uint64        // times that an event had to wait for a turn
	Waited  time.Duration // sum of those waits
	Longest time.Duration // the longest of them
}

// Add returns the sum of two counts.
func (s Stats) Add(o Stats) Stats {
	return Stats{
		Events:  s.Events + o.Events,
		Waits:   s.Waits + o.Waits,
		Waited:  s.Waited + o.Waited,
		Longest: max(s.Longest, o.Longest),
	}
}

// A waiter is an event's place in a lock's queue.
type waiter struct {
	event      *Event
	first      bool          // the event has not begun; false: it is taking its turn back
	ready      chan struct{} // closed when the waiter has left the queue, with the turn or with err
	err        error         // written before ready is closed
	queued     bool          // guarded by the lock's mu
	since      time.Time
	prev, next *waiter
}

// An Event is one run of one handler, and the context of that run. The context
// is done when the object is stopped, and has the values of the caller.
type Event struct {
	values context.Context // of the caller; only its values are used; may be nil
	lock   *Lock
	call   Call   // the caller; guarded by graph once the event has begun
	number uint64 // among the events of the lock that have got a turn, from 1; 0 until then, fixed after that

	// guarded by lock.mu. An event has ended if it has no turn, is not waiting,
	// and has no place.
	place   *waiter // its place in the lock's queue, or nil
	waits   int32   // waits under way: the handler's and, within it, those of goroutines it waits for
	keeps   int16   // Keeps under way
	waiting bool    // the handler is waiting, between its Yield and its Resume
}

type eventKey struct{}

// Deadline returns the deadline of the object's life, which usually has none.
func (e *Event) Deadline() (time.Time, bool) { return e.life().Deadline() }

// Done is closed when the object is stopped.
func (e *Event) Done() <-chan struct{} { return e.life().Done() }

// Err returns nil until then, and after that the reason.
func (e *Event) Err() error { return e.life().Err() }

func (e *Event) life() context.Context {
	if e.lock.Life == nil {
		return context.Background()
	}
	return e.lock.Life
}

// Value returns the event itself to [From]. For other keys it returns the value
// of the object's context, or else that of the caller's. The object's context
// comes first because package context uses Value to find the canceler of a
// context, which must not be that of the caller's context.
func (e *Event) Value(key any) any {
	if key == (eventKey{}) {
		return e
	}
	if v := e.life().Value(key); v != nil || e.values == nil {
		return v
	}
	return e.values.Value(key)
}

// From returns the event whose context ctx is or is derived from, or nil.
func From(ctx context.Context) *Event {
	switch ctx := ctx.(type) {
	case *Event:
		return ctx
	case *Valued:
		return ctx.Event
	case *Bounded:
		return ctx.Event
	}
	e, _ := ctx.Value(eventKey{}).(*Event)
	return e
}

// A Ticket is a place in the queue of a lock. The goroutine that redeems it
// runs the event. Another goroutine may have taken it.
type Ticket struct {
	Event *Event  // not begun
	place *waiter // nil: the turn was free, and the event has it
}

// Queue takes the next place in the queue for an event, or the turn itself if
// it is free. Every ticket must be redeemed. The error is the reason given to
// [Lock.Close], or [ErrOverloaded].
func (l *Lock) Queue(from Origin) (Ticket, error) {
	e := &Event{values: from.Values, lock: l, call: from.Call}
	if l.take(e) {
		return Ticket{Event: e}, nil
	}
	l.lock()
	if l.closed != nil {
		err := l.closed
		l.unlock()
		return Ticket{}, err
	}
	if from.Limit > 0 && l.queued >= from.Limit {
		l.unlock()
		return Ticket{}, ErrOverloaded
	}
	l.events++
	if l.holder == 0 {
		l.grantLocked(e)
		l.unlock()
		return Ticket{Event: e}, nil
	}
	w, kept := l.pushLocked(e, true)
	l.unlock()
	if kept {
		breakCycle(w)
	}
	return Ticket{Event: e, place: w}, nil
}

// QueueIdle takes the turn for an event if no other event is running or waiting
// and unless, if not nil, returns false, as in CloseIdle. Otherwise, or if the
// lock has been closed, ok is false.
func (l *Lock) QueueIdle(from Origin, unless func() bool) (t Ticket, ok bool) {
	e := &Event{values: from.Values, lock: l, call: from.Call}
	l.lock()
	defer l.unlock()
	if l.events > 0 || l.closed != nil || unless != nil && unless() {
		return Ticket{}, false
	}
	l.events++
	l.grantLocked(e)
	return Ticket{Event: e}, true
}

// Granted reports whether the event has the turn already and [Ticket.Redeem]
// has nothing to do.
func (t Ticket) Granted() bool { return t.place == nil && !t.Event.lock.Strict }

// Redeem waits for the turn until wait is done and returns the event that has
// it. The error is wait's cause, [ErrDeadlock], or the reason given to
// [Lock.Close].
func (t Ticket) Redeem(wait context.Context) (*Event, error) {
	if t.place != nil {
		if t.Event.lock.runsHere() {
			wait = deadlocked
		}
		if err := t.Event.lock.await(wait, t.place); err != nil {
			return nil, err
		}
	}
	if t.Event.lock.Strict {
		t.Event.own()
	}
	return t.Event, nil
}

// Owner returns the Owner of the event's lock.
func (e *Event) Owner() any { return e.lock.Owner }

// Usable returns [ErrOutside] if the event's context may not be used: its
// handler has returned, or runs in another goroutine. Only a strict lock
// detects the latter.
func (e *Event) Usable() error {
	if e.is(held) && e.ownedByCaller() {
		return nil
	}
	e.enter()
	defer e.lock.unlock()
	return e.usableLocked()
}

// Holds reports whether the event has its turn and is not waiting.
func (e *Event) Holds() bool {
	if e.is(held) {
		return e.ownedByCaller()
	}
	e.enter()
	defer e.lock.unlock()
	return e.hasTurnLocked() && !e.waiting && e.usableLocked() == nil
}

// Own makes the calling goroutine the one that runs the event. The goroutine
// that ran it before must no longer use it.
func (e *Event) Own() {
	if e.lock.Strict {
		e.own()
	}
}

// Orphan records that the event's caller no longer waits for it. The event
// continues.
func (e *Event) Orphan() {
	graph.Lock()
	defer graph.Unlock()
	e.call = Call{}
}

// usableLocked is Usable. The caller must hold lock.mu.
func (e *Event) usableLocked() error {
	if e.endedLocked() || (!e.waiting && !e.ownedByCaller()) {
		return ErrOutside
	}
	return nil
}

// hasTurnLocked reports whether the event has its turn. The caller must hold
// lock.mu.
func (e *Event) hasTurnLocked() bool { return e.number != 0 && e.lock.holder == e.number }

// endedLocked reports whether the handler has returned or will never run. The
// caller must hold lock.mu.
func (e *Event) endedLocked() bool { return !e.hasTurnLocked() && !e.waiting && e.place == nil }

// Close prevents further events from beginning: events waiting for their first
// turn, and later events, fail with the reason. Events that have begun
// continue, still one at a time. A lock is closed only once: further calls
// return the first reason and have no effect. The first call returns nil.
func (l *Lock) Close(reason error) (earlier error) {
	l.lock()
	defer l.unlock()
	if l.closed != nil {
		return l.closed
	}
	l.closeLocked(reason)
	return nil
}

// Refuse fails the events that are now waiting for their first turn with the
// reason. Later events are not affected.
func (l *Lock) Refuse(reason error) {
	l.lock()
	defer l.unlock()
	l.refuseAllLocked(reason)
}

// CloseIdle closes the lock if no event is running or waiting and unless
// returns false. unless may be nil and must not block. CloseIdle reports
// whether it closed the lock.
func (l *Lock) CloseIdle(reason error, unless func() bool) bool {
	l.lock()
	defer l.unlock()
	if l.events > 0 || l.closed != nil || unless != nil && unless() {
		return false
	}
	l.closeLocked(reason)
	return true
}

// Idle reports whether no event is running or waiting.
func (l *Lock) Idle() bool {
	if s := l.state.Load(); s != guarded {
		return s&modeMask == free
	}
	l.lock()
	defer l.unlock()
	return l.events == 0
}

// Running returns nil while an event has the turn and is not waiting, so that
// state owned by the turn may be accessed. Otherwise it returns the reason
// given to Close, or [ErrOutside].
func (l *Lock) Running() error {
	if l.state.Load()&modeMask == held {
		return nil
	}
	l.lock()
	defer l.unlock()
	switch {
	case l.closed != nil:
		return l.closed
	case l.holder == 0 || l.keeper != nil && l.keeper.waiting:
		return ErrOutside
	}
	return nil
}

// Closed returns the reason given to Close, or nil.
func (l *Lock) Closed() error {
	if l.state.Load() != guarded {
		return nil
	}
	return l.closedReason()
}

// closedReason is Closed, apart so that the check in it can be inlined.
func (l *Lock) closedReason() error {
	l.lock()
	defer l.unlock()
	return l.closed
}

// Stats returns the counts so far.
func (l *Lock) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.state.Load(); s != guarded { // the holder can stay on the fast path
		l.stats.Events = s >> modeBits
	}
	return l.stats
}
