package conn

import (
	"runtime"
	"sync"
)

// Writers write to the members of any number of Sets, taking turns: a large set
// delays a small one by at most one pass over the large set. There are
// goroutines only while there is something to write.
//
// There are at most as many goroutines as processors. While messages arrive
// faster than they are written, there is one less, if that leaves any, because
// then there is always more to write and another goroutine must read other
// input. If all processors write, Go's runtime checks for input only every 10
// ms, and data that could be sent in one write is sent in many.
//
// Writers are safe for concurrent use.
type Writers struct {
	spawn      func(func()) // fixed
	processors int          // fixed

	mu      sync.Mutex
	queue   []*shard // guarded by mu: queue[head:] are to be swept
	head    int      // guarded by mu
	running int      // guarded by mu: number of goroutines
	piling  bool     // guarded by mu: the latest sweep found more than one message
}

// NewWriters returns Writers that start their goroutines with spawn. If spawn
// is nil, they use a go statement.
func NewWriters(spawn func(func())) *Writers {
	if spawn == nil {
		spawn = func(f func()) { go f() }
	}
	return &Writers{spawn: spawn, processors: runtime.GOMAXPROCS(0)}
}

// limitLocked returns the maximum number of goroutines. The caller must hold
// mu.
func (w *Writers) limitLocked() int {
	if w.piling {
		return max(w.processors-1, 1)
	}
	return w.processors
}

// enqueue queues s to be swept. s must not be queued already.
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

// next returns the shard that has been queued longest. It returns nil if the
// goroutine must end because none is queued or there are too many goroutines.
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

// swept records that a sweep found this number of messages. It queues again if
// that is not nil.
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

// work sweeps queued shards until next returns nil.
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
