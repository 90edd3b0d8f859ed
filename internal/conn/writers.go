package conn

import (
	"runtime"
	"sync"
)

// Writers write to the members of any number of Sets, by turns: a large set
// does not keep a small one waiting for longer than one pass over it. There is
// a goroutine only while something is to be written.
//
// There are at most as many goroutines as processors, and one less (if that
// leaves any) while messages come in faster than they are written: the work is
// endless then, and somebody has to read what else comes in. Where all
// processors write, Go's runtime looks for input every 10 ms only, and what
// could have left in one write leaves in many.
//
// It is safe for concurrent use.
type Writers struct {
	spawn      func(func()) // fixed
	processors int          // fixed

	mu      sync.Mutex
	queue   []*shard // guarded by mu: queue[head:] waits to be swept
	head    int      // guarded by mu
	running int      // guarded by mu: goroutines
	piling  bool     // guarded by mu: the latest sweep found more than one message
}

// NewWriters returns Writers that start their goroutines by spawn; nil means a
// go statement.
func NewWriters(spawn func(func())) *Writers {
	if spawn == nil {
		spawn = func(f func()) { go f() }
	}
	return &Writers{spawn: spawn, processors: runtime.GOMAXPROCS(0)}
}

// limitLocked returns how many goroutines there may be. The caller must hold
// mu.
func (w *Writers) limitLocked() int {
	if w.piling {
		return max(w.processors-1, 1)
	}
	return w.processors
}

// enqueue has s swept. s must not be waiting already.
func (w *Writers) enqueue(s *shard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pushLocked(s)
	if w.running < w.limitLocked() {
		w.running++
		w.spawn(w.work)
	}
}

func (w *Writers) pushLocked(s *shard) {
	if len(w.queue) == cap(w.queue) && w.head > len(w.queue)/2 {
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	w.queue = append(w.queue, s)
}

// next returns the shard that has waited longest, nil when the goroutine has to
// end: because none waits, or there are too many goroutines.
func (w *Writers) next() *shard {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head == len(w.queue) || w.running > w.limitLocked() {
		if w.head == len(w.queue) {
			w.queue, w.head = w.queue[:0], 0
		}
		w.running--
		return nil
	}
	s := w.queue[w.head]
	w.queue[w.head] = nil
	w.head++
	return s
}

// swept takes note of a sweep that found so many messages. again, if not nil,
// is queued.
func (w *Writers) swept(messages int, again *shard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if messages > 0 {
		w.piling = messages > 1
	}
	if again != nil {
		w.pushLocked(again)
	}
}

var runs = sync.Pool{New: func() any {
	return &run{owners: make(map[string]struct{}), conns: make(map[*Conn]struct{})}
}}

// work sweeps what waits.
func (w *Writers) work() {
	r := runs.Get().(*run)
	defer runs.Put(r)
	for s := w.next(); s != nil; s = w.next() {
		messages, more := s.sweep(r)
		if !more {
			s = nil
		}
		w.swept(messages, s)
	}
}
