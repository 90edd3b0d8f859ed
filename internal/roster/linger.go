package roster

import (
	"math/bits"
	"time"
)

const (
	minSlots = 8
	maxSlots = 4096 // per shard, which splits if it needs more
	maxSweep = 64   // shards that one sweep examines
)

// lingers remembers for some time on which replica each uid was last. It
// is a hint, and kept cheap. A hash stands for its id, so two ids with equal
// hashes would share a record, and at worst a replica. (A million ids have such
// a pair once in 37 million times.) The records have no pointers for the
// garbage collector to follow.
//
// It is an extendible hash table. The leading bits of a hash select a shard
// through the directory, and the bits after them a slot of the shard. Shards
// grow, split, shrink and merge one at a time, so no put moves more than a few
// thousand records, however many there are. The directory takes 8 bytes for
// about every thousand records. It keeps its size until only one shard is left.
//
// A record is void when its life is over, to the nanosecond. Its memory is
// freed when its shard needs room, or by sweep.
type lingers struct {
	life time.Duration // of a record; fixed
	// 1<<depth entries, each shard as often as its hashes need; nil while count
	// is 0
	dir    []*shard
	depth  uint8
	count  int    // number of records, including void records
	cursor uint64 // the hash at which sweep continues
	swept  Time   // the time up to which sweep has done its share
}

// record is the record of a lingering id.
type record struct {
	hash  uint64 // 0 in a free slot
	since Time
	on    ref
}

// shard holds the records whose hashes begin with the same depth bits. It uses
// open addressing with linear probing. The slot where probing starts grows with
// the hash, so copying the records of one shard into another keeps them nearly
// in order.
type shard struct {
	slots []record
	used  int // slots with a record, at most 3/4
	depth uint8
}

// find returns the slot with the record of hash, or else the free slot for it.
func (s *shard) find(hash uint64) *record {
	i, _ := bits.Mul64(hash<<s.depth, uint64(len(s.slots)))
	for {
		r := &s.slots[i]
		if r.hash == hash || r.hash == 0 {
			return r
		}
		if i++; i == uint64(len(s.slots)) {
			i = 0
		}
	}
}

func (s *shard) full() bool { return 4*s.used >= 3*len(s.slots) }

// get returns the value last put for hash, and whether it is still valid.
func (t *lingers) get(hash uint64, now Time) (ref, bool) {
	if t.count == 0 {
		return ref{}, false
	}
	r := t.shard(hash).find(hash)
	return r.on, t.valid(r, now)
}

// put records that the id of hash, which must not be 0, lingers on a replica
// from now on.
func (t *lingers) put(hash uint64, on ref, now Time) {
	if t.count == 0 {
		t.dir, t.depth = make([]*shard, 1), 0
		t.cursor, t.swept = 0, now
		t.enter(0, t.gather(0, 0, now))
	}
	s := t.shard(hash)
	r := s.find(hash)
	if r.hash == 0 {
		if s.full() {
			t.makeRoom(s, hash, now)
			s = t.shard(hash)
			r = s.find(hash)
		}
		s.used++
		t.count++
	}
	*r = record{hash: hash, since: now, on: on}
}

// sweep frees the memory of void records. It visits one shard after the other.
// It visits each about once in the life of a record if it is called often
// enough, and never more than maxSweep shards per call.
func (t *lingers) sweep(now Time) {
	t.swept = max(t.swept, now-Time(t.life))
	for n := 0; n < maxSweep && t.count > 0; n++ {
		s := t.shard(t.cursor)
		share := max(Time(t.life)>>s.depth, 1)
		if now-t.swept < share {
			return
		}
		t.swept += share
		t.tidy(s, t.cursor, now)
		t.cursor = (t.cursor | ^uint64(0)>>s.depth) + 1 // the first hash behind s
	}
	if t.count == 0 {
		t.dir = nil
	}
}

// tidy drops the void records of s, the shard of hash, if there are enough of
// them to be worth the copying. It merges s with its siblings while the two
// have few records.
func (t *lingers) tidy(s *shard, hash uint64, now Time) {
	if void := s.used - t.valids(s, now); void > 0 && void >= s.used/4 {
		s = t.replace(s.depth, hash, now, s)
	}
	for s.depth > 0 {
		sibling := t.shard(hash ^ 1<<(64-s.depth))
		if sibling.depth != s.depth || s.used+sibling.used > maxSlots/4 {
			return
		}
		s = t.replace(s.depth-1, hash, now, s, sibling)
	}
	if t.depth > 0 {
		t.dir, t.depth = []*shard{s}, 0
	}
}

// makeRoom enlarges or splits s, the full shard of hash.
func (t *lingers) makeRoom(s *shard, hash uint64, now Time) {
	if 2*t.valids(s, now) <= maxSlots {
		t.replace(s.depth, hash, now, s)
		return
	}
	if s.depth == t.depth {
		dir := make([]*shard, 2*len(t.dir))
		for i := range dir {
			dir[i] = t.dir[i/2]
		}
		t.dir = dir
		t.depth++
	}
	bit := uint64(1) << (63 - s.depth)
	t.replace(s.depth+1, hash, now, s)
	t.enter(hash^bit, t.gather(s.depth+1, hash^bit, now, s))
}

// shard returns the shard of hash.
func (t *lingers) shard(hash uint64) *shard { return t.dir[hash>>(64-t.depth)] }

// replace enters a shard for hash, of the given depth, with the valid records
// of from, which it replaces.
func (t *lingers) replace(depth uint8, hash uint64, now Time, from ...*shard) *shard {
	for _, s := range from {
		t.count -= s.used
	}
	s := t.gather(depth, hash, now, from...)
	t.enter(hash, s)
	return s
}

// gather creates a shard for hash, of the given depth, with the valid records
// of from that belong there.
func (t *lingers) gather(depth uint8, hash uint64, now Time, from ...*shard) *shard {
	wanted := func(r *record) bool { return t.valid(r, now) && (r.hash^hash)>>(64-depth) == 0 }
	n := 0
	for _, s := range from {
		for i := range s.slots {
			if wanted(&s.slots[i]) {
				n++
			}
		}
	}
	fresh := &shard{slots: make([]record, max(2*n, minSlots)), used: n, depth: depth}
	for _, s := range from {
		for i := range s.slots {
			if r := &s.slots[i]; wanted(r) {
				*fresh.find(r.hash) = *r
			}
		}
	}
	return fresh
}

// enter makes s the shard of hash and of all hashes that begin with the same
// s.depth bits.
func (t *lingers) enter(hash uint64, s *shard) {
	n := len(t.dir) >> s.depth
	first := int(hash>>(64-s.depth)) * n
	for i := range n {
		t.dir[first+i] = s
	}
	t.count += s.used
}

// valids counts the valid records of s.
func (t *lingers) valids(s *shard, now Time) (n int) {
	for i := range s.slots {
		if t.valid(&s.slots[i], now) {
			n++
		}
	}
	return n
}

func (t *lingers) valid(r *record, now Time) bool {
	return r.hash != 0 && !passed(t.life, r.since, now)
}
