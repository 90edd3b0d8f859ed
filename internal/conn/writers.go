package conn

import (
	"runtime"
	"sync"
)

// Writers write to the members of any number of Sets, by turns: a large set does not keep a small one waiting for longer than one pass
// over it. There is a goroutine only while something is to be written, and, if possible, one processor more than there are of them: the work
// is endless when more is sent than the machine can write, and somebody has to read what comes in meanwhile.
//
// It is safe for concurrent use.
type Writers struct {
	spawn func(func()) // fixed
	limit int          // fixed: of goroutines

	mu      sync.Mutex
	queue   []*shard // guarded by mu: queue[head:] waits to be swept
	head    int      // guarded by mu
	running int      // guarded by mu: goroutines
}

// NewWriters returns Writers that start their goroutines by spawn; nil means a go statement.
func NewWriters(spawn func(func())) *Writers {
	if spawn == nil {
		spawn = func(f func()) { go f() }
	}
	return &Writers{spawn: spawn, limit: max(runtime.GOMAXPROCS(0)-1, 1)}
}

// enqueue has s swept. s must not be waiting already.
func (w *Writers) enqueue(s *shard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pushLocked(s)
	if w.running < w.limit {
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

// next returns the shard that has waited longest, nil when none waits and the goroutine has to end. again, if not nil, is queued first.
func (w *Writers) next(again *shard) *shard {
	w.mu.Lock()
	defer w.mu.Unlock()
	if again != nil {
		w.pushLocked(again)
	}
	if w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
		w.running--
		return nil
	}
	s := w.queue[w.head]
	w.queue[w.head] = nil
	w.head++
	return s
}

var runs = sync.Pool{New: func() any { return &run{except: make(map[string]struct{})} }}

// work sweeps what waits.
func (w *Writers) work() {
	r := runs.Get().(*run)
	defer runs.Put(r)
	var again *shard
	for {
		s := w.next(again)
		if s == nil {
			return
		}
		if again = nil; s.sweep(r) {
			again = s
		}
	}
}
