package replog

import (
	"slices"

	"github.com/tidwall/btree"

	"github.com/godurable/dog/internal/store"
)

// An overlay has the changes that the local engine may not have yet: the latest
// of each key, and the ranges that were deleted. It is not safe for concurrent
// use.
type overlay struct {
	points btree.Map[string, point]
	ranges []deletedRange // in the order of their commits
}

// A point is the latest change of a key since the deleted ranges that it is in.
type point struct {
	value   []byte // immutable; nil: deleted
	deleted bool
	commit  uint64
}

type deletedRange struct {
	lower, upper string
	commit       uint64
}

func (r deletedRange) has(key string) bool { return r.lower <= key && key < r.upper }

// apply adds a change of a commit. It keeps the value.
func (o *overlay) apply(c change, commit uint64) {
	switch c.act {
	case actSet:
		o.points.Set(string(c.key), point{value: c.value, commit: commit})
	case actDelete:
		o.points.Set(string(c.key), point{deleted: true, commit: commit})
	case actDeleteRange:
		r := deletedRange{lower: string(c.key), upper: string(c.value), commit: commit}
		var covered []string
		o.points.Ascend(r.lower, func(key string, _ point) bool {
			if r.has(key) {
				covered = append(covered, key)
			}
			return r.has(key)
		})
		for _, key := range covered {
			o.points.Delete(key)
		}
		o.ranges = append(o.ranges, r)
	}
}

// get returns the value of a key. known is false if the local engine has it, or
// has none.
func (o *overlay) get(key []byte) (value []byte, found, known bool) {
	if p, ok := o.points.Get(string(key)); ok {
		return p.value, !p.deleted, true
	}
	for _, r := range o.ranges {
		if r.has(string(key)) {
			return nil, false, true
		}
	}
	return nil, false, false
}

// drop forgets the changes of commits up to a number. keys are those of the
// changes.
func (o *overlay) drop(commit uint64, keys []string) {
	for _, key := range keys {
		if p, ok := o.points.Get(key); ok && p.commit <= commit {
			o.points.Delete(key)
		}
	}
	n := 0
	for n < len(o.ranges) && o.ranges[n].commit <= commit {
		n++
	}
	o.ranges = slices.Delete(o.ranges, 0, n)
}

// A view is a copy of a part of an overlay.
type view struct {
	points []viewed // in the order of a scan
	ranges []deletedRange
}

type viewed struct {
	key string
	point
}

// view copies the part that a scan needs. A nil upper means no bound.
func (o *overlay) view(lower, upper []byte, reverse bool) view {
	v := view{ranges: slices.Clone(o.ranges)}
	end := string(upper)
	o.points.Ascend(string(lower), func(key string, p point) bool {
		if upper != nil && key >= end {
			return false
		}
		v.points = append(v.points, viewed{key, p})
		return true
	})
	if reverse {
		slices.Reverse(v.points)
	}
	return v
}

// deletes reports whether a key is in a deleted range.
func (v *view) deletes(key []byte) bool {
	return slices.ContainsFunc(v.ranges, func(r deletedRange) bool { return r.has(string(key)) })
}

// before yields the points of the view that come before a key of the local
// engine in the order of the scan, and reports whether the scan goes on.
// replaced is whether the view has a point for the key.
func (v *view) before(key []byte, reverse bool, yield func(store.Pair, error) bool) (replaced, goesOn bool) {
	for len(v.points) > 0 {
		p := v.points[0]
		if p.key == string(key) {
			return true, true
		}
		if (p.key < string(key)) == reverse {
			return false, true
		}
		v.points = v.points[1:]
		if !p.deleted && !yield(p.pair(), nil) {
			return false, false
		}
	}
	return false, true
}

// rest yields all points that are left.
func (v *view) rest(yield func(store.Pair, error) bool) {
	for _, p := range v.points {
		if !p.deleted && !yield(p.pair(), nil) {
			return
		}
	}
}

func (p viewed) pair() store.Pair {
	return store.Pair{Key: []byte(p.key), Value: slices.Clone(p.value)}
}
