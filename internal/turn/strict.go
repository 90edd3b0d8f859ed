package turn

import (
	"bytes"
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
	any    atomic.Int64 // len(events)
	mu     sync.Mutex
	events map[uint64][]*Event // the innermost is last; guarded by mu
}

// own records the goroutine that runs the event. It is called by that
// goroutine, while no other uses the event.
func (e *Event) own() {
	if e.lock.Strict {
		e.routine = goroutine()
	}
}

// enlist makes the event of a strict lock the innermost event of the goroutine
// that runs it.
func (e *Event) enlist() {
	running.mu.Lock()
	defer running.mu.Unlock()
	if running.events == nil {
		running.events = make(map[uint64][]*Event)
	}
	running.events[e.routine] = append(running.events[e.routine], e)
	running.any.Store(int64(len(running.events)))
}

// delist undoes enlist.
func (e *Event) delist() {
	running.mu.Lock()
	defer running.mu.Unlock()
	events := running.events[e.routine]
	i := slices.Index(events, e)
	if i < 0 {
		return
	}
	if events = slices.Delete(events, i, i+1); len(events) > 0 {
		running.events[e.routine] = events
	} else {
		delete(running.events, e.routine)
	}
	running.any.Store(int64(len(running.events)))
}

// Running returns the events of strict locks that the calling goroutine runs
// and that are not waiting, the innermost first.
func Running() []*Event {
	if running.any.Load() == 0 {
		return nil
	}
	routine := goroutine()
	running.mu.Lock()
	all := slices.Clone(running.events[routine])
	running.mu.Unlock()
	slices.Reverse(all)
	return slices.DeleteFunc(all, (*Event).isWaiting)
}

// isWaiting reports whether the handler is waiting.
func (e *Event) isWaiting() bool {
	e.lock.mu.Lock()
	defer e.lock.mu.Unlock()
	return e.waiting
}

// ownedByCaller reports whether the calling goroutine runs the event. It
// returns true if the lock is not strict.
func (e *Event) ownedByCaller() bool {
	return !e.lock.Strict || e.routine == goroutine()
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
