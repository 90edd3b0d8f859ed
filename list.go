package dog

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/godurable/dog/internal/store"
)

// ObjectListOptions select objects of a namespace. The zero value selects all
// of them.
//
// To continue where an earlier listing ended, set After if the last object had
// a name, and AfterID if it had none. Replicas count as objects without a name
// here, since different groups may give the same name.
type ObjectListOptions struct {
	Prefix  string // only objects whose names have this prefix; "": all, including objects without a name
	After   string // only objects after the object with this name, whether it exists or not
	AfterID ID     // only objects without a name, after the object with this ID
	Limit   int    // maximum number of objects; 0: no limit
}

// An ObjectEntry is an object in a listing.
type ObjectEntry struct {
	ObjectInfo
	Live   bool // it is in memory
	Stored bool // it has stored something, which may not be durable yet
}

// listPage is the number of stored objects that are read at a time, so that a
// listing keeps nothing in the store open while its caller works.
const listPage = 256

// entries implements List, see [Namespace.List]. ns may be nil.
func (ns *namespace) entries(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	return func(yield func(ObjectEntry, error) bool) {
		if ns == nil {
			yield(ObjectEntry{}, notRunning("Namespace.List"))
			return
		}
		if options.Limit < 0 {
			yield(ObjectEntry{}, misuse("Namespace.List", "Limit is %d", options.Limit))
			return
		}
		listed := 0
		for entry, err := range ns.list(ctx, options) {
			if !yield(entry, err) || err != nil {
				return
			}
			if listed++; listed == options.Limit {
				return
			}
		}
	}
}

// A series is the part of a listing that has one kind of key.
type series struct {
	// live holds the objects that were in memory when the listing began and
	// have not been listed yet, in the order of their keys.
	live   []*object
	key    func(*object) string
	stored func(from string) iter.Seq2[string, error] // keys of the stored objects, starting with from
	// entry describes the object with a key. If stored is false, entry looks up
	// whether the object is stored.
	entry func(key string, stored bool) (entry ObjectEntry, list bool, err error)
}

// listName returns the object's name if it is unique in its namespace,
// otherwise "".
func (o *object) listName() string {
	if o.replica != nil {
		return ""
	}
	return o.name
}

func (ns *namespace) list(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	named := series{
		key: (*object).listName,
		stored: func(from string) iter.Seq2[string, error] {
			return store.Named(ns.rt.engine, ns.number, options.Prefix, from)
		},
		entry: ns.namedEntry,
	}
	unnamed := series{
		key:    func(o *object) string { return baseKey(o.id.base()) },
		stored: ns.storedBases,
		entry:  ns.unnamedEntry,
	}
	for _, o := range ns.live() {
		switch name := o.listName(); {
		case name == "" && o.id.String() > options.AfterID.String():
			unnamed.live = append(unnamed.live, o)
		case name > options.After && strings.HasPrefix(name, options.Prefix):
			named.live = append(named.live, o)
		}
	}
	return func(yield func(ObjectEntry, error) bool) {
		if options.AfterID.IsZero() && !named.list(ctx, ns, after(options.After), yield) {
			return
		}
		if options.Prefix != "" {
			return
		}
		from := ""
		if !options.AfterID.IsZero() {
			from = after(baseKey(options.AfterID.base()))
		}
		unnamed.list(ctx, ns, from, yield)
	}
}

// after returns the first key after key. It returns "" for "", which is not a
// key.
func after(key string) string {
	if key == "" {
		return ""
	}
	return key + "\x00"
}

func baseKey(base store.Base) string { return string(base[:]) }

// storedBases returns the stored objects without a name. from is a key, or a
// key and a zero byte.
func (ns *namespace) storedBases(from string) iter.Seq2[string, error] {
	var base store.Base
	copy(base[:], from)
	return func(yield func(string, error) bool) {
		for base, err := range store.Unnamed(ns.rt.engine, ns.number, base) {
			key := baseKey(base)
			if err == nil && key < from {
				continue
			}
			if !yield(key, err) || err != nil {
				return
			}
		}
	}
}

// list yields the objects of the series whose keys are from or later, and
// reports whether to continue.
func (s *series) list(ctx context.Context, ns *namespace, from string, yield func(ObjectEntry, error) bool) bool {
	slices.SortFunc(s.live, func(a, b *object) int { return cmp.Compare(s.key(a), s.key(b)) })
	for {
		entries, next, err := s.page(ctx, ns, from)
		if err != nil {
			yield(ObjectEntry{}, err)
			return false
		}
		for _, entry := range entries {
			if !yield(entry, nil) {
				return false
			}
		}
		if next == "" {
			return true
		}
		from = next
	}
}

// page returns the next objects, and the key at which the page after them
// begins. next is "" after the last page.
func (s *series) page(ctx context.Context, ns *namespace, from string) (entries []ObjectEntry, next string, err error) {
	if ctx.Err() != nil {
		return nil, "", context.Cause(ctx)
	}
	leave, err := ns.rt.enterFrom(ctx)
	if err != nil {
		return nil, "", err
	}
	defer leave()
	add := func(key string, stored bool) error {
		entry, list, err := s.entry(key, stored)
		if err == nil && list {
			entries = append(entries, entry)
		}
		return err
	}
	// pass adds the objects in memory that come before a key, and skips the
	// object with that key.
	pass := func(key string, all bool) error {
		for len(s.live) > 0 && (all || s.key(s.live[0]) <= key) {
			live := s.key(s.live[0])
			s.live = s.live[1:]
			if live == key && !all {
				continue
			}
			if err := add(live, false); err != nil {
				return err
			}
		}
		return nil
	}
	n := 0
	for key, err := range s.stored(from) {
		if err != nil {
			return nil, "", err
		}
		if n++; n > listPage {
			return entries, key, nil
		}
		if err := pass(key, false); err != nil {
			return nil, "", err
		}
		if err := add(key, true); err != nil {
			return nil, "", err
		}
	}
	return entries, "", pass("", true)
}

// namedEntry describes the object with a name.
func (ns *namespace) namedEntry(name string, stored bool) (entry ObjectEntry, list bool, err error) {
	return ns.entry(namedID(ns.origin, ID{}, name), name, stored)
}

// unnamedEntry describes the object with a base, unless the object is now known
// to have a name.
func (ns *namespace) unnamedEntry(key string, stored bool) (entry ObjectEntry, list bool, err error) {
	id := idOf(ns.origin, store.Base([]byte(key)))
	if o := ns.holder(id); o != nil && o.listName() != "" {
		return ObjectEntry{}, false, nil
	}
	// Only replicas are in this index although they have a name.
	entry, list, err = ns.entry(id, "", stored && ns.kind != KindReplica)
	if ns.kind != KindReplica && entry.Name != "" {
		list = false
	}
	return entry, list, err
}

// entry describes an object. list is false if the object is neither in memory
// nor stored. If name is "", entry uses the name found in the store or in
// memory. Objects in an index are known to be stored, because the index and the
// object are written together. Looking up each of them would take most of the
// time of a long listing.
func (ns *namespace) entry(id ID, name string, stored bool) (entry ObjectEntry, list bool, err error) {
	if !stored {
		var identity store.Identity
		identity, stored, err = store.Find(ns.rt.engine, id.base())
		name = cmp.Or(name, identity.Name)
	}
	o := ns.holder(id)
	entry = ObjectEntry{ObjectInfo{ID: id, Kind: ns.kind, Namespace: ns.name, Name: name}, o != nil, stored}
	if o != nil && entry.Name == "" {
		entry.Name = o.name
	}
	return entry, o != nil || stored, err
}
