package roster

// loadBuckets keep items sorted by load in a list of buckets, one for each load
// that occurs. Because a load changes by one, an item moves to a neighboring
// bucket and every operation is O(1). Items are the numbers that [slots] gives
// out, starting at 1. Links between numbers are more compact in memory than
// links between items, and cost the garbage collector nothing. The zero value
// is empty.
type loadBuckets struct {
	steps   []step   // by item
	buckets []bucket // buckets[0] is both ends: its up is the bottom bucket, its down the top one
	spare   uint32   // unused buckets, linked by up
}

// step is the position of an item.
type step struct {
	prev, next uint32 // items in the same bucket; 0: none
	bucket     uint32 // 0: the item is in none
}

// bucket holds the items of one load in the order in which they reached it. It
// is never empty while in use.
type bucket struct {
	load        int
	first, last uint32 // items
	down, up    uint32 // buckets
}

// bottom returns the lowest bucket, or nil if there are none.
func (l *loadBuckets) bottom() *bucket {
	if len(l.buckets) == 0 || l.buckets[0].up == 0 {
		return nil
	}
	return &l.buckets[l.buckets[0].up]
}

// least returns the item that was the last to reach the lowest load, or 0 if
// there are none.
func (l *loadBuckets) least() uint32 {
	if b := l.bottom(); b != nil {
		return b.last
	}
	return 0
}

// most returns the item that was the last to reach the highest load, or 0 if
// there are none.
func (l *loadBuckets) most() uint32 {
	if len(l.buckets) == 0 {
		return 0
	}
	return l.buckets[l.buckets[0].down].last // buckets[0] has no items
}

// next returns the item that was the next to reach the bucket of item, or 0 if
// there is none.
func (l *loadBuckets) next(item uint32) uint32 { return l.steps[item].next }

// set moves item to the end of the bucket for load. It must not be on that
// bucket already.
func (l *loadBuckets) set(item uint32, load int) {
	for int(item) >= len(l.steps) {
		l.steps = append(l.steps, step{})
	}
	if len(l.buckets) == 0 {
		l.buckets = append(l.buckets, bucket{})
	}
	to := l.at(l.steps[item].bucket, load)
	l.remove(item)
	r := &l.buckets[to]
	l.steps[item] = step{prev: r.last, bucket: to}
	if r.last == 0 {
		r.first = item
	} else {
		l.steps[r.last].next = item
	}
	r.last = item
}

// remove removes item, if it is there.
func (l *loadBuckets) remove(item uint32) {
	if int(item) >= len(l.steps) || l.steps[item].bucket == 0 {
		return
	}
	s := l.steps[item]
	l.steps[item] = step{}
	r := &l.buckets[s.bucket]
	if s.prev == 0 {
		r.first = s.next
	} else {
		l.steps[s.prev].next = s.next
	}
	if s.next == 0 {
		r.last = s.prev
	} else {
		l.steps[s.next].prev = s.prev
	}
	if r.first == 0 {
		l.buckets[r.down].up, l.buckets[r.up].down = r.up, r.down
		r.up, l.spare = l.spare, s.bucket
	}
}

// at finds or creates the bucket for load. It searches from the bucket near, or
// from the closer end if near is 0.
func (l *loadBuckets) at(near uint32, load int) uint32 {
	below := near
	if below == 0 {
		below = l.buckets[0].down
		if bottom := l.bottom(); bottom != nil && load <= bottom.load {
			below = 0
		}
	}
	for below != 0 && l.buckets[below].load > load {
		below = l.buckets[below].down
	}
	for {
		up := l.buckets[below].up
		if up == 0 || l.buckets[up].load > load {
			break
		}
		below = up
	}
	if below != 0 && l.buckets[below].load == load {
		return below
	}

	fresh := l.spare
	if fresh == 0 {
		fresh = uint32(len(l.buckets))
		l.buckets = append(l.buckets, bucket{})
	} else {
		l.spare = l.buckets[fresh].up
	}
	up := l.buckets[below].up
	l.buckets[fresh] = bucket{load: load, down: below, up: up}
	l.buckets[below].up, l.buckets[up].down = fresh, fresh
	return fresh
}

// slots assigns numbers to items, starting at 1. The zero value is empty.
type slots[T any] struct {
	items []*T // by number; nil: the number is free
	free  []uint32
}

func (t *slots[T]) add(item *T) uint32 {
	if last := len(t.free) - 1; last >= 0 {
		n := t.free[last]
		t.free = t.free[:last]
		t.items[n] = item
		return n
	}
	if t.items == nil {
		t.items = append(t.items, nil)
	}
	t.items = append(t.items, item)
	return uint32(len(t.items) - 1)
}

// get returns the item with the number n, or nil if there is none.
func (t *slots[T]) get(n uint32) *T {
	if int(n) >= len(t.items) {
		return nil
	}
	return t.items[n]
}

// remove frees the number n, which must be in use. When the last item is
// removed, all memory is freed.
func (t *slots[T]) remove(n uint32) {
	t.items[n] = nil
	t.free = append(t.free, n)
	if len(t.free) == len(t.items)-1 {
		*t = slots[T]{}
	}
}
