package roster

// node is a hook for its owner, which is in at most one list through it.
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

// remove unlinks n, which must be in l.
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

// table is a map that frees memory when it shrinks, which Go's does not.
type table[K comparable, V any] struct {
	m    map[K]V
	peak int // largest number of entries since m was made
}

// smallTable is the peak below which a table is not worth rebuilding.
const smallTable = 256

func (t *table[K, V]) put(key K, v V) {
	if t.m == nil {
		t.m = make(map[K]V)
	}
	t.m[key] = v
	t.peak = max(t.peak, len(t.m))
}

// delete removes key. It rebuilds the map when only a quarter of the peak is
// left, so the cost of the copy is spread over the deletions.
func (t *table[K, V]) delete(key K) {
	delete(t.m, key)
	if t.peak < smallTable || len(t.m) > t.peak/4 {
		return
	}
	m := make(map[K]V, len(t.m))
	for k, v := range t.m {
		m[k] = v
	}
	t.m, t.peak = m, len(m)
}
