package roster

// node is a hook by which its owner hangs in one list at a time.
type node[T any] struct {
	prev, next *node[T]
	owner      *T // fixed
}

// list is an intrusive doubly linked list. The zero value is empty.
type list[T any] struct {
	head, tail *node[T]
}

func (l *list[T]) push(n *node[T]) {
	n.prev, n.next = l.tail, nil
	if l.tail == nil {
		l.head = n
	} else {
		l.tail.next = n
	}
	l.tail = n
}

// remove unlinks n, which must hang in l.
func (l *list[T]) remove(n *node[T]) {
	if n.prev == nil {
		l.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		l.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
}

// ladder keeps items sorted by load: a rung for each load that occurs, in a linked list. Because a load changes by one,
// an item moves to a neighbouring rung and every operation is O(1); memory follows the items, not the range of loads.
type ladder[T any] struct {
	bottom, top *rung[T]
	spare       *rung[T] // unused rungs, linked by up
}

// rung holds the items of one load in the order in which they reached it. A rung in a ladder is never empty.
type rung[T any] struct {
	load     int
	items    list[T]
	down, up *rung[T]
}

// step is an item's place in a ladder; rung is nil while it is in none.
type step[T any] struct {
	node[T]
	rung *rung[T]
}

// least returns, of the items with the lowest load, the one that reached it last; nil when the ladder is empty.
func (l *ladder[T]) least() *T {
	if l.bottom == nil {
		return nil
	}
	return l.bottom.items.tail.owner
}

// set moves s to the rung of load.
func (l *ladder[T]) set(s *step[T], load int) {
	to := l.at(s.rung, load)
	l.remove(s)
	to.items.push(&s.node)
	s.rung = to
}

// remove takes s off the ladder, if it is on it.
func (l *ladder[T]) remove(s *step[T]) {
	r := s.rung
	if r == nil {
		return
	}
	s.rung = nil
	r.items.remove(&s.node)
	if r.items.head != nil {
		return
	}
	if r.down == nil {
		l.bottom = r.up
	} else {
		r.down.up = r.up
	}
	if r.up == nil {
		l.top = r.down
	} else {
		r.up.down = r.down
	}
	r.down, r.up = nil, l.spare
	l.spare = r
}

// at finds or makes the rung of load, searching from the rung near, or from the nearer end when that is nil.
func (l *ladder[T]) at(near *rung[T], load int) *rung[T] {
	below := near
	if below == nil {
		below = l.top
		if l.bottom != nil && load <= l.bottom.load {
			below = l.bottom
		}
	}
	for below != nil && below.load > load {
		below = below.down
	}
	for below != nil && below.up != nil && below.up.load <= load {
		below = below.up
	}
	if below != nil && below.load == load {
		return below
	}

	r := l.spare
	if r == nil {
		r = new(rung[T])
	} else {
		l.spare = r.up
	}
	r.load, r.down, r.up = load, below, l.bottom
	if below != nil {
		r.up = below.up
		below.up = r
	} else {
		l.bottom = r
	}
	if r.up != nil {
		r.up.down = r
	} else {
		l.top = r
	}
	return r
}

// table is a map that gives memory back, which Go's does not.
type table[V any] struct {
	m    map[string]V
	peak int // most entries since m was made
}

// smallTable is the peak below which a table is not worth rebuilding.
const smallTable = 256

func (t *table[V]) put(key string, v V) {
	if t.m == nil {
		t.m = make(map[string]V)
	}
	t.m[key] = v
	t.peak = max(t.peak, len(t.m))
}

// delete removes key. It rebuilds the map when only a quarter of the peak is left: the deletions since pay for the copy.
func (t *table[V]) delete(key string) {
	delete(t.m, key)
	if t.peak < smallTable || len(t.m) > t.peak/4 {
		return
	}
	m := make(map[string]V, len(t.m))
	for k, v := range t.m {
		m[k] = v
	}
	t.m, t.peak = m, len(m)
}
