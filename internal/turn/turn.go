// Package turn lets the events of one object run one at a time.
//
// A [Lock] is an object's turn and an [Event] is one run of one of its
// handlers. The turn is a lock, not a goroutine: whoever brings an event runs
// the handler itself, and an idle object costs nothing but memory. Three things
// set it apart from a mutex:
//
//   - it is handed over in the order of arrival, and waiting for it can be
//     cancelled;
//   - an event can give it up while it waits for something else and take it
//     back afterwards ([Yield], [Wait.Resume]), or keep it across such waits
//     ([Event.Keep]);
//   - events know who waits for them, so that a circle of kept turns is found
//     when it closes (deadlock.go).
//
// An Event is the [context.Context] of its handler: that is how the turn finds
// its way through the caller's code.
package turn

import (
	"context"
	"errors"
	"sync"
	"time"
)

var (
	// ErrOutside reports a context that is used after its handler has returned,
	// or by a goroutine that does not own it.
	ErrOutside = errors.New("dog: context used outside its turn")

	// ErrOverloaded reports an event that was refused because too many wait.
	ErrOverloaded = errors.New("dog: overloaded: too many events wait for the object's turn")

	// ErrDeadlock reports an event that could never have had its turn.
	ErrDeadlock = errors.New("dog: deadlock: the call waits for a turn that is kept until the call returns")
)

// A Lock is the turn of one object. The zero value is a free turn.
//
// A lock's mutex is held for a few instructions only and while it is held no
// other mutex is taken.
type Lock struct {
	// Life is the life of what the lock belongs to; nil: it does not end. Fixed
	// before first use.
	Life context.Context
	// Strict makes events check that their context is used by the goroutine
	// that runs them. Fixed before first use.
	Strict bool
	// Owner is what the lock belongs to, for [Event.Owner]. Fixed before first
	// use.
	Owner any

	mu     sync.Mutex
	holder *Event // whose turn it is; nil when free. guarded by mu, like all below
	head   *waiter
	tail   *waiter
	queued int   // events that wait for their first turn
	events int   // begun and not ended, or queued
	closed error // why no further event may begin
	stats  Stats
	onEnd  map[*Event]map[*func()]struct{} // what [Event.OnEnd] was given
}

// Stats counts what happened at a lock since it was made.
type Stats struct {
	Events  uint64        // events that got a turn
	Waits   uint64        // times a turn was not free and had to be waited for
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
	first      bool          // the event has not begun; false: it takes its turn back
	ready      chan struct{} // closed when the waiter has left the queue, with the turn or with err
	err        error         // written before ready is closed
	queued     bool          // guarded by the lock's mu
	since      time.Time
	prev, next *waiter
}

// An Event is one run of one handler, and the context of that run: done when
// its object is stopped, with the values of the caller.
type Event struct {
	values  context.Context // of the caller; only its values count. may be nil
	lock    *Lock
	call    Call   // on whose behalf. guarded by graph once the event has begun
	routine uint64 // the goroutine that runs it, when the lock is strict

	// guarded by lock.mu
	place   *waiter // its place in the lock's queue, while it has one
	waits   int32   // waits under way: the handler's and, within it, those of goroutines it waits for
	keeps   int16   // Keeps under way
	waiting bool    // the handler waits: between its Yield and its Resume
	ended   bool    // the handler has returned, or will never run
}

type eventKey struct{}

// Deadline is that of the object's life: none, as a rule.
func (e *Event) Deadline() (time.Time, bool) { return e.life().Deadline() }

// Done is closed when the object is stopped.
func (e *Event) Done() <-chan struct{} { return e.life().Done() }

// Err says whether it has been.
func (e *Event) Err() error { return e.life().Err() }

func (e *Event) life() context.Context {
	if e.lock.Life == nil {
		return context.Background()
	}
	return e.lock.Life
}

// Value returns the event itself to [From], else what the object's context or
// the caller's has under key. The object's comes first because package context
// finds there what cancels a context, which must not be what cancels the
// caller's.
func (e *Event) Value(key any) any {
	if key == (eventKey{}) {
		return e
	}
	if v := e.life().Value(key); v != nil || e.values == nil {
		return v
	}
	return e.values.Value(key)
}

// From returns the event whose context ctx is or derives from, or nil.
func From(ctx context.Context) *Event {
	switch ctx := ctx.(type) {
	case *Event:
		return ctx
	case *Bounded:
		return ctx.Event
	}
	e, _ := ctx.Value(eventKey{}).(*Event)
	return e
}

// A Ticket is a place in the queue of a lock. The goroutine that redeems it
// runs the event; another may have taken it.
type Ticket struct {
	Event *Event  // not begun
	place *waiter // nil: the turn was free and is the event's already
}

// Queue takes the next place in the queue, or the turn itself if it is free,
// for an event. Every ticket must be redeemed. Errors are the reason given to
// [Lock.Close], and [ErrOverloaded].
func (l *Lock) Queue(from Origin) (Ticket, error) {
	e := &Event{values: from.Values, lock: l, call: from.Call}
	l.mu.Lock()
	if l.closed != nil {
		err := l.closed
		l.mu.Unlock()
		return Ticket{}, err
	}
	if from.Limit > 0 && l.queued >= from.Limit {
		l.mu.Unlock()
		return Ticket{}, ErrOverloaded
	}
	l.events++
	if l.holder == nil {
		l.grantLocked(e)
		l.mu.Unlock()
		return Ticket{Event: e}, nil
	}
	w, kept := l.pushLocked(e, true)
	l.mu.Unlock()
	if kept {
		breakCycle(w)
	}
	return Ticket{Event: e, place: w}, nil
}

// QueueIdle takes the turn for an event if no other is under way or waits, and
// unless says nothing against it, as in CloseIdle. ok is false when one is, and
// when the lock has been closed.
func (l *Lock) QueueIdle(from Origin, unless func() bool) (t Ticket, ok bool) {
	e := &Event{values: from.Values, lock: l, call: from.Call}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events > 0 || l.closed != nil || unless != nil && unless() {
		return Ticket{}, false
	}
	l.events++
	l.grantLocked(e)
	return Ticket{Event: e}, true
}

// Redeem waits for the turn until wait is done and returns the event that has
// it. Errors are wait's cause, [ErrDeadlock], and the reason given to
// [Lock.Close].
func (t Ticket) Redeem(wait context.Context) (*Event, error) {
	if t.place != nil {
		if err := t.Event.lock.await(wait, t.place); err != nil {
			return nil, err
		}
	}
	if t.Event.lock.Strict {
		t.Event.own()
		t.Event.enlist()
	}
	return t.Event, nil
}

// Owner returns what the lock of the event belongs to.
func (e *Event) Owner() any { return e.lock.Owner }

// Usable returns [ErrOutside] when the event's context may not be used here and
// now: its handler has returned, or runs in another goroutine (which only a
// strict lock notices).
func (e *Event) Usable() error {
	e.lock.mu.Lock()
	defer e.lock.mu.Unlock()
	return e.usableLocked()
}

// Holds reports whether the event has its turn and does not wait.
func (e *Event) Holds() bool {
	e.lock.mu.Lock()
	defer e.lock.mu.Unlock()
	return e.lock.holder == e && !e.waiting && e.usableLocked() == nil
}

// Own lets the calling goroutine run the event from now on. The one that ran it
// must not use it any more.
func (e *Event) Own() {
	if !e.lock.Strict {
		return
	}
	e.delist()
	e.lock.mu.Lock()
	e.own()
	e.lock.mu.Unlock()
	e.enlist()
}

// Orphan says that nobody waits for the event any more, though it goes on.
func (e *Event) Orphan() {
	graph.Lock()
	defer graph.Unlock()
	e.call = Call{}
}

// usableLocked is Usable. The caller must hold lock.mu.
func (e *Event) usableLocked() error {
	if e.ended || (!e.waiting && !e.ownedByCaller()) {
		return ErrOutside
	}
	return nil
}

// A Wait is a wait of an event, begun by [Yield].
type Wait struct {
	event *Event // nil: of no event
	outer bool   // the handler's own; else that of a goroutine that the handler waits for
}

// Yield gives up the turn of the event that ctx belongs to, until
// [Wait.Resume]; when ctx belongs to none, neither does anything. While the
// turn is given up, ctx may be used by any goroutine that the handler waits
// for.
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

// Resume takes the turn back that [Yield] gave up. It cannot be cancelled: what
// follows it in the handler relies on the turn.
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

// Close lets no further event begin: those that wait for their first turn and
// those to come get the reason. Events that have begun go on, still one at a
// time. A lock is closed once: Close returns the reason of the earlier time, or
// nil.
func (l *Lock) Close(reason error) (earlier error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed != nil {
		return l.closed
	}
	l.closeLocked(reason)
	return nil
}

// Refuse gives the reason to the events that wait for their first turn now.
// Those to come are not affected.
func (l *Lock) Refuse(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuseAllLocked(reason)
}

// CloseIdle closes the lock only if no event is under way or waits, and unless
// says nothing against it, which may be nil and must not block. It reports
// whether it did.
func (l *Lock) CloseIdle(reason error, unless func() bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events > 0 || l.closed != nil || unless != nil && unless() {
		return false
	}
	l.closeLocked(reason)
	return true
}

// Idle reports whether no event is under way or waits.
func (l *Lock) Idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events == 0
}

// Running returns nil while an event has the turn and does not wait, so that
// what the turn owns may be touched. Otherwise it returns the reason given to
// Close, or [ErrOutside].
func (l *Lock) Running() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed != nil:
		return l.closed
	case l.holder == nil || l.holder.waiting:
		return ErrOutside
	}
	return nil
}

// Closed returns the reason given to Close, or nil.
func (l *Lock) Closed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Stats returns the counts so far.
func (l *Lock) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}
