package roster

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
