// Package tally counts what happens often, on many goroutines at once: how long
// things took, how many had which code, and what connections have sent. Reading
// a tally holds nobody up. It does not know what is counted.
package tally

import (
	"maps"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shortest = 6  // log2 of the bound of the first bucket, in nanoseconds
	longest  = 42 // log2 of the bound from which on durations share the last one: 73 minutes
	parts    = 4  // buckets for each power of two

	// Buckets is the number of buckets of a [Histogram].
	Buckets = (longest-shortest)*parts + 2
)

// A Histogram counts durations. Each power of two of nanoseconds has four
// buckets, so that a bound is at most a quarter above the duration. The zero
// value is empty. It is safe for concurrent use.
type Histogram struct {
	sum    atomic.Int64
	counts [Buckets]atomic.Uint64
}

// Add counts a duration. Those below 0, which a clock that is set back makes,
// count as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(d)].Add(1)
	for {
		old := h.sum.Load()
		sum := old + int64(d)
		if sum < old { // more than 292 years
			sum = math.MaxInt64
		}
		if h.sum.CompareAndSwap(old, sum) {
			return
		}
	}
}

// Read returns the sum of the durations and how many are in each bucket.
func (h *Histogram) Read() (sum time.Duration, counts [Buckets]uint64) {
	for i := range counts {
		counts[i] = h.counts[i].Load()
	}
	return time.Duration(h.sum.Load()), counts
}

// bucket returns the number of the bucket of a duration, which is not below 0.
func bucket(d time.Duration) int {
	octave := bits.Len64(uint64(d)) - 1 // of d
	switch {
	case octave < shortest:
		return 0
	case octave >= longest:
		return Buckets - 1
	}
	part := int(d>>(octave-2)) & (parts - 1)
	return (octave-shortest)*parts + part + 1
}

// Bound returns the duration below which those in a bucket and in all before it
// are. The last bucket has none, and 0 is returned.
func Bound(bucket int) time.Duration {
	if bucket >= Buckets-1 {
		return 0
	}
	octave := shortest + bucket/parts
	return 1<<octave + time.Duration(bucket%parts)<<(octave-2)
}

// firstChosen is the first of the close codes that peers are free to choose.
// There are few others, and few statuses of HTTP, so all of those are
// distinguished.
const firstChosen = 3000

// maxChosen is how many of the codes that peers choose a [Codes] distinguishes.
const maxChosen = 50

// Counts counts how many had which key, of a few keys. The zero value is empty.
// It is safe for concurrent use.
type Counts[K comparable] struct {
	mu     sync.Mutex
	counts map[K]uint64 // guarded by mu
}

// Add counts one more with a key.
func (c *Counts[K]) Add(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(key)
}

func (c *Counts[K]) addLocked(key K) {
	if c.counts == nil {
		c.counts = make(map[K]uint64)
	}
	c.counts[key]++
}

// Read returns how many had each key, nil if there are none.
func (c *Counts[K]) Read() map[K]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

// Codes is Counts for codes of which peers choose some. Of those from 3000 on,
// the ones that come after fifty others are counted as 0.
type Codes struct {
	Counts[int]
	chosen int // guarded by mu: codes from firstChosen on in counts
}

// Add counts one more with a code.
func (c *Codes) Add(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.counts[code]; !known && code >= firstChosen {
		if c.chosen == maxChosen {
			code = 0
		} else {
			c.chosen++
		}
	}
	c.addLocked(code)
}
