package roster

// entries holds the entries of all ids that have places.
type entries[R, S any] struct {
	first table[uint64, *entry[R, S]] // by hash; entries with equal hashes are linked by next
	count int
	free  *entry[R, S] // entries for reuse, linked by next
	nfree int
}

const (
	maxFree    = 64 // entries that are kept for reuse
	maxFreeRID = 64 // bytes that a kept entry may have for its next id
)

// find returns the entry of rid, or nil if it has none.
func (t *entries[R, S]) find(hash uint64, rid string) *entry[R, S] {
	e := t.first.m[hash]
	for e != nil && string(e.rid) != rid {
		e = e.next
	}
	return e
}

// add creates the entry of rid, which must have none.
func (t *entries[R, S]) add(hash uint64, rid string) *entry[R, S] {
	e := t.free
	if e != nil {
		t.free = e.next
		t.nfree--
	} else {
		e = new(entry[R, S])
		e.first.entry = e
		e.first.hook.Owner = &e.first
	}
	e.hash, e.rid, e.next = hash, append(e.rid, rid...), t.first.m[hash]
	t.first.put(hash, e)
	t.count++
	return e
}

// remove removes an entry without places.
func (t *entries[R, S]) remove(e *entry[R, S]) {
	before := t.first.m[e.hash]
	switch {
	case before != e:
		for before.next != e {
			before = before.next
		}
		before.next = e.next
	case e.next != nil:
		t.first.put(e.hash, e.next)
	default:
		t.first.delete(e.hash)
	}
	t.count--
	if t.nfree < maxFree && cap(e.rid) <= maxFreeRID {
		e.rid, e.next = e.rid[:0], t.free
		t.free = e
		t.nfree++
	}
}
