package store

import (
	"iter"
	"slices"
)

// A Space is a kind of data that an object stores.
type Space byte

// The spaces of an object.
const (
	About  Space = 'a' // the object's identity, and the library's notes about it
	Keys   Space = 'k' // the user's keys
	Sheets Space = 'p' // pages of the SQLite database
	Alarms Space = 't' // alarms by name
	Times  Space = 'u' // alarms by time

	// notes

	Histories Space = 'h' // messages for clients that come back
	Sessions  Space = 's' // the messages of clients that were handled
	Crowd     Space = 'm' // the members of the object
)

// smallObject is the maximum number of keys that DeleteAll deletes
// individually. It deletes more as a range, which slows down later reads
// slightly.
const smallObject = 64

// Object is the stored data of an object as seen by its current transaction.
// Changes are kept in memory until Commit. It is owned by the object's turn.
type Object struct {
	engine Engine
	id     Identity
	prefix []byte // of all its keys

	writes map[string]change // indexed by space and key
	sorted []string          // sorted keys of writes; nil if out of date
	wiped  bool              // the engine's data is deleted

	presence presence  // of the object in the engine
	was      *Identity // the stored identity if the next commit has to complete it, otherwise nil

	notes []note // of the transaction, in their order

	near nearTimes

	undo  []undo // undo log; kept while there are savepoints
	saves []int  // lengths of undo at the savepoints

	reverts uint64 // see Reverts
}

// presence is what is known of an object in the engine.
type presence uint8

const (
	unknown presence = iota
	absent           // it has no identity, so there is nothing in the spaces that transactions read
	present
)

type change struct {
	value   []byte
	deleted bool
}

type undo struct {
	key    string
	before change
	had    bool              // there was an earlier change of key
	writes map[string]change // of a wipe: the earlier writes; else nil
	wiped  bool
}

// NewObject returns the storage of an object, which may not have stored
// anything yet.
func NewObject(engine Engine, id Identity) *Object {
	return &Object{engine: engine, id: id, prefix: id.Base.prefix(), writes: make(map[string]change)}
}

// Identity returns the identity of the object.
func (o *Object) Identity() Identity { return o.id }

// Dirty reports whether there is anything to commit.
func (o *Object) Dirty() bool { return o.wiped || len(o.writes) > 0 || len(o.notes) > 0 }

// Wiped reports whether the transaction has deleted all data stored before it.
func (o *Object) Wiped() bool { return o.wiped }

// Get returns a copy of a value.
func (o *Object) Get(space Space, key string) (value []byte, found bool, err error) {
	if len(o.writes) > 0 {
		if c, ok := o.writes[string(space)+key]; ok {
			return slices.Clone(c.value), !c.deleted, nil
		}
	}
	if !o.readable() {
		return nil, false, nil
	}
	var scratch [128]byte
	return o.engine.Get(o.appendKey(scratch[:0], space, key))
}

// readable reports whether the engine may have data that the transaction sees.
func (o *Object) readable() bool { return !o.wiped && o.presence != absent }

func (o *Object) appendKey(b []byte, space Space, key string) []byte {
	b = append(b, o.prefix...)
	b = append(b, byte(space))
	return append(b, key...)
}

// Put stores a copy of a value.
func (o *Object) Put(space Space, key string, value []byte) {
	if value = slices.Clone(value); value == nil {
		value = []byte{}
	}
	o.change(string(space)+key, change{value: value})
}

// Delete deletes a key, which need not exist.
func (o *Object) Delete(space Space, key string) { o.change(string(space)+key, change{deleted: true}) }

func (o *Object) change(key string, to change) {
	before, had := o.writes[key]
	if len(o.saves) > 0 {
		o.undo = append(o.undo, undo{key: key, before: before, had: had})
	}
	if !had {
		o.sorted = nil
	}
	o.writes[key] = to
}

// DeleteAll deletes everything in all spaces.
func (o *Object) DeleteAll() {
	o.reverts++
	if len(o.saves) > 0 {
		o.undo = append(o.undo, undo{writes: o.writes, wiped: o.wiped})
	}
	o.writes, o.sorted, o.wiped = make(map[string]change), nil, true
}

// A Range is a part of a space: lower <= key < upper.
type Range struct {
	Lower, Upper string
	Unbounded    bool // ignore Upper
	Reverse      bool
}

// An Entry is a key of a space and its value. The caller owns both.
type Entry struct {
	Key   string
	Value []byte
}

// Scan returns an iterator over the entries of a range, as they are at the time
// of the call. It may be used for one iteration in the same turn.
func (o *Object) Scan(space Space, r Range) iter.Seq2[Entry, error] {
	if !r.Unbounded && r.Lower >= r.Upper {
		return func(func(Entry, error) bool) {}
	}
	changes, readable := o.changes(space, r), o.readable()
	return func(yield func(Entry, error) bool) {
		before := func(a, b string) bool { return a < b != r.Reverse && a != b }
		i := 0
		// pass yields the changes before key, and reports whether to continue.
		pass := func(key string, all bool) bool {
			for ; i < len(changes) && (all || before(changes[i].key, key)); i++ {
				c := changes[i]
				if !c.deleted && !yield(Entry{c.key, slices.Clone(c.value)}, nil) {
					return false
				}
			}
			return true
		}
		if readable {
			lower := o.appendKey(nil, space, r.Lower)
			upper := o.appendKey(nil, space+1, "")
			if !r.Unbounded {
				upper = o.appendKey(nil, space, r.Upper)
			}
			for pair, err := range o.engine.Scan(lower, upper, r.Reverse) {
				if err != nil {
					yield(Entry{}, err)
					return
				}
				key := string(pair.Key[len(o.prefix)+1:])
				if !pass(key, false) {
					return
				}
				if i < len(changes) && changes[i].key == key {
					continue // the next pass yields it
				}
				if !yield(Entry{key, slices.Clone(pair.Value)}, nil) {
					return
				}
			}
		}
		pass("", true)
	}
}

type keyChange struct {
	key string
	change
}

// changes returns the changes in a range, in its order.
func (o *Object) changes(space Space, r Range) []keyChange {
	if len(o.writes) == 0 {
		return nil
	}
	if o.sorted == nil {
		o.sorted = make([]string, 0, len(o.writes))
		for key := range o.writes {
			o.sorted = append(o.sorted, key)
		}
		slices.Sort(o.sorted)
	}
	lower, upper := string(space)+r.Lower, string(space+1)
	if !r.Unbounded {
		upper = string(space) + r.Upper
	}
	from, _ := slices.BinarySearch(o.sorted, lower)
	to, _ := slices.BinarySearch(o.sorted, upper)
	list := make([]keyChange, 0, to-from)
	for _, key := range o.sorted[from:to] {
		list = append(list, keyChange{key[1:], o.writes[key]})
	}
	if r.Reverse {
		slices.Reverse(list)
	}
	return list
}

// Save begins a nested transaction.
func (o *Object) Save() { o.saves = append(o.saves, len(o.undo)) }

// Saves returns the number of open nested transactions.
func (o *Object) Saves() int { return len(o.saves) }

// Release ends the innermost nested transaction and keeps its changes.
func (o *Object) Release() {
	o.saves = o.saves[:len(o.saves)-1]
	if len(o.saves) == 0 {
		o.undo = nil
	}
}

// Restore ends the innermost nested transaction and undoes its changes.
func (o *Object) Restore() {
	o.reverts++
	from := o.saves[len(o.saves)-1]
	for i := len(o.undo) - 1; i >= from; i-- {
		switch u := o.undo[i]; {
		case u.writes != nil:
			o.writes, o.wiped = u.writes, u.wiped
		case u.had:
			o.writes[u.key] = u.before
		default:
			delete(o.writes, u.key)
		}
	}
	o.undo, o.sorted = o.undo[:from], nil
	o.Release()
}

// Rollback undoes everything since the last commit.
func (o *Object) Rollback() {
	o.reverts++
	o.reset()
	o.presence, o.was, o.near = unknown, nil, nearTimes{} // all are looked up again
}

// Reverts returns how often DeleteAll, Restore and Rollback have been called.
// While the number stays the same, what has been stored and not changed since
// is still stored.
func (o *Object) Reverts() uint64 { return o.reverts }

func (o *Object) reset() {
	if len(o.writes) > 1024 {
		o.writes = make(map[string]change)
	} else {
		clear(o.writes)
	}
	o.sorted, o.wiped, o.undo, o.saves, o.notes = nil, false, nil, nil, nil
}

// PrefixRange returns the range of keys that begin with prefix.
func PrefixRange(prefix string) Range {
	end := successor([]byte(prefix))
	return Range{Lower: prefix, Upper: string(end), Unbounded: end == nil}
}

// successor returns the first key after all keys that begin with prefix, or nil
// if there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := slices.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}
