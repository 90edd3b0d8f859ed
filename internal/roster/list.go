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

// table is a map that gives memory back, which Go's does not.
type table[K comparable, V any] struct {
	m    map[K]V
	peak int // most entries since m was made
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
// left: the deletions since pay for the copy.
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
