package object

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/godurable/dog/internal/store"
)

// ListOptions select objects of a class. The zero value selects all of them.
type ListOptions struct {
	Prefix  string // only objects whose names have this prefix; "": all
	After   string // only objects after the object with this name
	AfterID ID     // only objects without a name, after the object with this ID
}

// An Entry is an object in a listing.
type Entry struct {
	ID     ID
	Name   string
	Live   bool // it is in memory
	Stored bool // it has stored something, which may not be durable yet
}

// listPage is the number of stored objects that are read at a time, so that a
// listing keeps nothing in the store open while its caller works.
const listPage = 256

// A series is the part of a listing that has one kind of key.
type series struct {
	// live holds the objects that were in memory when the listing began and
	// have not been listed yet, in the order of their keys.
	live   []*Object
	key    func(*Object) string
	stored func(from string) iter.Seq2[string, error] // keys of the stored objects, starting with from
	// entry describes the object with a key. If stored is false, entry looks up
	// whether the object is stored.
	entry func(key string, stored bool) (entry Entry, list bool, err error)
}

// listName returns the object's name if it is unique in its class,
// otherwise "".
func (o *Object) listName() string {
	if o.Class.Role == Owned {
		return ""
	}
	return o.Name
}

// List returns the objects of the class that are in memory or have stored
// something. Objects with a name come first, in the order of their names, then
// the others in the order of their IDs. Objects of an Owned class count as
// objects without a name. An error is the last item.
func (c *Class) List(ctx context.Context, options ListOptions) iter.Seq2[Entry, error] {
	named := series{
		key: (*Object).listName,
		stored: func(from string) iter.Seq2[string, error] {
			return store.Named(c.host.Engine, c.Number, options.Prefix, from)
		},
		entry: c.namedEntry,
	}
	unnamed := series{
		key:    func(o *Object) string { return baseKey(o.ID.Base()) },
		stored: c.storedBases,
		entry:  c.unnamedEntry,
	}
	for _, o := range c.Live() {
		switch name := o.listName(); {
		case name == "" && o.ID.String() > options.AfterID.String():
			unnamed.live = append(unnamed.live, o)
		case name > options.After && strings.HasPrefix(name, options.Prefix):
			named.live = append(named.live, o)
		}
	}
	return func(yield func(Entry, error) bool) {
		if options.AfterID == (ID{}) && !named.list(ctx, c, after(options.After), yield) {
			return
		}
		if options.Prefix != "" {
			return
		}
		from := ""
		if options.AfterID != (ID{}) {
			from = after(baseKey(options.AfterID.Base()))
		}
		unnamed.list(ctx, c, from, yield)
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
func (c *Class) storedBases(from string) iter.Seq2[string, error] {
	var base store.Base
	copy(base[:], from)
	return func(yield func(string, error) bool) {
		for base, err := range store.Unnamed(c.host.Engine, c.Number, base) {
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
func (s *series) list(ctx context.Context, c *Class, from string, yield func(Entry, error) bool) bool {
	slices.SortFunc(s.live, func(a, b *Object) int { return cmp.Compare(s.key(a), s.key(b)) })
	for {
		entries, next, err := s.page(ctx, c, from)
		if err != nil {
			yield(Entry{}, err)
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
func (s *series) page(ctx context.Context, c *Class, from string) (entries []Entry, next string, err error) {
	if ctx.Err() != nil {
		return nil, "", context.Cause(ctx)
	}
	leave, err := c.host.EnterFrom(ctx)
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
func (c *Class) namedEntry(name string, stored bool) (entry Entry, list bool, err error) {
	return c.entry(NamedID(c.Origin, ID{}, name), name, stored)
}

// unnamedEntry describes the object with a base, unless the object is now known
// to have a name.
func (c *Class) unnamedEntry(key string, stored bool) (entry Entry, list bool, err error) {
	id := IDOf(c.Origin, store.Base([]byte(key)))
	if o := c.Holder(id); o != nil && o.listName() != "" {
		return Entry{}, false, nil
	}
	// Only owned objects are in this index although they have a name.
	entry, list, err = c.entry(id, "", stored && c.Role != Owned)
	if c.Role != Owned && entry.Name != "" {
		list = false
	}
	return entry, list, err
}

// Find describes the object with an ID. found is false if it is neither in
// memory nor stored.
func (c *Class) Find(ctx context.Context, id ID) (entry Entry, found bool, err error) {
	leave, err := c.host.EnterFrom(ctx)
	if err != nil {
		return Entry{}, false, err
	}
	defer leave()
	return c.entry(id, "", false)
}

// entry describes an object. list is false if the object is neither in memory
// nor stored. If name is "", entry uses the name found in the store or in
// memory. Objects in an index are known to be stored, because the index and the
// object are written together. Looking up each of them would take most of the
// time of a long listing.
func (c *Class) entry(id ID, name string, stored bool) (entry Entry, list bool, err error) {
	if !stored {
		var identity store.Identity
		identity, stored, err = store.Find(c.host.Engine, id.Base())
		name = cmp.Or(name, identity.Name)
	}
	o := c.Holder(id)
	entry = Entry{ID: id, Name: name, Live: o != nil, Stored: stored}
	if o != nil && entry.Name == "" {
		entry.Name = o.Name
	}
	return entry, o != nil || stored, err
}
