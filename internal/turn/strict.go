package turn

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// running records the events of strict locks by the goroutines that run them.
// Its mutex is held for a few instructions only. While it is held, no other
// mutex is taken.
var running struct {
	any      atomic.Int64 // len(events)
	mu       sync.Mutex
	events   map[uint64][]*Event // the innermost is last; guarded by mu
	routines map[*Event]uint64   // the inverse; guarded by mu
}

// own makes the calling goroutine the one that runs the event of a strict lock,
// as its innermost event.
func (e *Event) own() {
	routine := goroutine()
	running.mu.Lock()
	defer running.mu.Unlock()
	e.disownLocked()
	if running.events == nil {
		running.events = make(map[uint64][]*Event)
		running.routines = make(map[*Event]uint64)
	}
	running.events[routine] = append(running.events[routine], e)
	running.routines[e] = routine
	running.any.Store(int64(len(running.events)))
}

// disown undoes own.
func (e *Event) disown() {
	running.mu.Lock()
	defer running.mu.Unlock()
	e.disownLocked()
}

// disownLocked is disown. The caller must hold running.mu.
func (e *Event) disownLocked() {
	routine, ok := running.routines[e]
	if !ok {
		return
	}
	delete(running.routines, e)
	events := running.events[routine]
	i := slices.Index(events, e)
	if events = slices.Delete(events, i, i+1); len(events) > 0 {
		running.events[routine] = events
	} else {
		delete(running.events, routine)
	}
	running.any.Store(int64(len(running.events)))
}

// Running returns the events of strict locks that the calling goroutine runs
// and that are not waiting, the innermost first.
func Running() []*Event {
	if running.any.Load() == 0 {
		return nil
	}
	return runningHere()
}

// deadlocked is a context that has ended with ErrDeadlock.
var deadlocked = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(ErrDeadlock)
	return ctx
}()

// runsHere reports whether the calling goroutine runs an event that has the
// turn and is not waiting, so that it must not wait for the turn. Only a strict
// lock detects that.
func (l *Lock) runsHere() bool {
	return l.Strict && slices.ContainsFunc(Running(), func(e *Event) bool { return e.lock == l })
}

// RunsHere reports whether the calling goroutine runs an event of the same lock
// that has the turn and is not waiting, so that it must not wait for this one.
// Only a strict lock detects that.
func (e *Event) RunsHere() bool { return e.lock.runsHere() }

// runningHere is Running, apart so that the check in it can be inlined.
func runningHere() []*Event {
	routine := goroutine()
	running.mu.Lock()
	all := slices.Clone(running.events[routine])
	running.mu.Unlock()
	slices.Reverse(all)
	return slices.DeleteFunc(all, (*Event).isWaiting)
}

// isWaiting reports whether the handler is waiting.
func (e *Event) isWaiting() bool {
	e.enter()
	defer e.lock.unlock()
	return e.waiting
}

// ownedByCaller reports whether the calling goroutine runs the event. It
// returns true if the lock is not strict.
func (e *Event) ownedByCaller() bool {
	if !e.lock.Strict {
		return true
	}
	caller := goroutine()
	running.mu.Lock()
	defer running.mu.Unlock()
	routine, ok := running.routines[e]
	return ok && routine == caller
}

// goroutine returns the number of the calling goroutine. The runtime provides
// it only in the first line of a stack trace, which takes about 3 µs. That is
// too slow for every wait of every program, but fine for a test.
func goroutine() uint64 {
	var buf [64]byte
	head := buf[:runtime.Stack(buf[:], false)]
	head = bytes.TrimPrefix(head, []byte("goroutine "))
	number, _, _ := bytes.Cut(head, []byte(" "))
	n, _ := strconv.ParseUint(string(number), 10, 64)
	return n
}
