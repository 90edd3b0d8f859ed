// Package presence keeps the list of the members of one crowd, and what has
// changed in it since the last change that its owner got.
//
// A uid with connections is a member. It stays one for [Config.Grace] after its
// last connection has ended, and for as long as it has another. Its states are:
// absent, here, leaving, absent. [List.Take] returns how the members differ
// from those of the changes before: a uid that has come and gone in between
// appears in none of them, however often it did.
//
// A List is a pure data structure. It starts nothing, locks nothing and reads
// no clock. Its owner must serialize all calls, and passes the time. An
// [Attendance] does so, delivers the changes, and stores the list for the next
// process.
//
// The package knows the store. It does not know connections, objects and
// groups, nor what happens to a change. All that it needs of these are the
// methods of an [Owner].
package presence

import (
	"strings"
	"time"

	"github.com/tidwall/btree"

	"github.com/godurable/dog/internal/list"
)

// The limits of a change. Only the first member may exceed maxBytes.
const (
	MaxNames = 1000
	maxBytes = 64 << 10 // of uids and values
)

// Time is an instant in nanoseconds since an arbitrary start. It should not go
// backwards from call to call.
type Time int64

// Config holds the times of a [List].
type Config struct {
	// Grace is how long a uid stays a member without connections. It must be
	// above 0.
	Grace time.Duration
	// Every is how long a change waits for others.
	Every time.Duration
	// Silent makes no changes.
	Silent bool
	// Durable is set if the owner has a [Keeper].
	Durable bool
	// Seq is less than the number of the first change by one.
	Seq uint64
}

// A Member is a uid that is present, with its value.
type Member struct{ UID, Value string }

// A Change is what has changed in a list. Its members are in the order in which
// they changed.
type Change struct {
	Joined, Left, Changed []Member
	Count                 int    // of members after the change
	Seq                   uint64 // number of the change
}

// List has the members of one crowd. Use [New].
type List struct {
	c     Config // fixed
	all   btree.Map[string, *entry]
	count int // entries that are members

	// All members have the same grace, so they are in the order of leaving and
	// of its end.
	leaving list.List[entry]
	pending list.List[entry] // entries that differ from what was taken, in the order of their change

	taken     *Change // the latest change, until Done
	told      int     // members according to the changes taken
	seq       uint64  // of the latest change
	notBefore Time    // no change is due before that
}

// entry is the record of a uid that is a member, or was one by the last change.
type entry struct {
	uid         string // fixed
	value       string // "" if it has none
	connections int32
	told        bool // it is a member by the changes taken
	revalued    bool // its value has been set since it was in a change
	since       Time // when it began to leave
	changed     Time // when it was added to List.pending

	leaving, pending list.Node[entry] // in the lists of these names
}

// New returns an empty list.
func New(c Config) *List { return &List{c: c, seq: c.Seq} }

// Enter adds a connection of a uid.
func (l *List) Enter(uid string, now Time) {
	l.advance(now)
	e, _ := l.all.Get(uid)
	if e == nil {
		e = l.enlist(strings.Clone(uid)) // it outlives the request that it may be a part of
	}
	if !l.present(e) {
		l.count++
	}
	e.connections++
	l.leaving.Remove(&e.leaving)
	l.settle(e, now)
}

// enlist adds an entry of a uid that has none.
func (l *List) enlist(uid string) *entry {
	e := &entry{uid: uid}
	e.leaving.Owner, e.pending.Owner = e, e
	l.all.Set(uid, e)
	return e
}

// Exit removes a connection that [List.Enter] has added.
func (l *List) Exit(uid string, now Time) {
	l.advance(now)
	e, _ := l.all.Get(uid)
	if e == nil || e.connections == 0 {
		return
	}
	if e.connections--; e.connections == 0 {
		e.since = now
		l.leaving.Push(&e.leaving)
	}
}

// Set gives a member another value, "" for none. It does nothing if the uid is
// no member, or has this value.
func (l *List) Set(uid, value string, now Time) {
	l.advance(now)
	e, _ := l.all.Get(uid)
	if e == nil || !l.present(e) || e.value == value {
		return
	}
	e.value, e.revalued = value, true
	l.settle(e, now)
}

// Count returns the number of members.
func (l *List) Count(now Time) int {
	l.advance(now)
	return l.count
}

// Page returns up to n members whose uids are greater than after, in the order
// of their uids.
func (l *List) Page(after string, n int, now Time) []Member {
	l.advance(now)
	page := make([]Member, 0, max(min(n, l.count), 0))
	l.all.Ascend(after, func(uid string, e *entry) bool {
		if uid != after && l.present(e) && len(page) < n {
			page = append(page, Member{uid, e.value})
		}
		return len(page) < n
	})
	return page
}

// Busy reports whether there are members, or changes that are not done.
func (l *List) Busy(now Time) bool {
	l.advance(now)
	return l.all.Len() > 0 || l.taken != nil
}

// Next returns when the owner should call [List.Due].
func (l *List) Next() (due Time, found bool) {
	switch {
	case l.taken != nil:
		return l.notBefore, true
	case l.pending.Head() != nil:
		return max(l.ripe(), l.notBefore), true
	case l.leaving.Head() == nil:
		return 0, false
	}
	end := l.leaving.Head().Owner.since + Time(l.c.Grace)
	if l.c.Silent { // to free memory
		return end, true
	}
	return max(end+Time(l.c.Every), l.notBefore), true
}

// ripe returns when the first pending entry has waited for long enough.
func (l *List) ripe() Time { return l.pending.Head().Owner.changed + Time(l.c.Every) }

// Due reports whether a change is due.
func (l *List) Due(now Time) bool {
	l.advance(now)
	return l.notBefore <= now && l.has(now)
}

// has reports whether there is a change, which may have been postponed.
func (l *List) has(now Time) bool {
	return l.taken != nil || l.pending.Head() != nil && l.ripe() <= now
}

// Take returns the change that is due or has been postponed, or nil if there is
// none. It returns the same change again until [List.Done]. The caller must not
// modify it.
func (l *List) Take(now Time) *Change {
	l.advance(now)
	if !l.has(now) {
		return nil
	}
	if l.taken == nil {
		l.taken = l.change()
	}
	return l.taken
}

// Done forgets the change that Take has returned.
func (l *List) Done() { l.taken = nil }

// Postpone makes no change due before a time. It replaces earlier ones.
func (l *List) Postpone(until Time) { l.notBefore = until }

// change makes a change of the entries that have changed first.
func (l *List) change() *Change {
	c := &Change{}
	names, size := 0, 0
	for n := l.pending.Head(); n != nil && names < MaxNames; n = l.pending.Head() {
		e := n.Owner
		m := Member{e.uid, e.value}
		if size += len(m.UID) + len(m.Value); names > 0 && size > maxBytes {
			break
		}
		names++
		switch {
		case !l.present(e):
			c.Left = append(c.Left, m)
			l.told--
		case !e.told:
			c.Joined = append(c.Joined, m)
			l.told++
		default:
			c.Changed = append(c.Changed, m)
		}
		e.told, e.revalued = l.present(e), false
		l.settle(e, 0)
	}
	l.seq++
	c.Count, c.Seq = l.told, l.seq
	return c
}

// advance ends the membership of those whose grace is over.
func (l *List) advance(now Time) {
	for n := l.leaving.Head(); n != nil; n = l.leaving.Head() {
		e := n.Owner
		end := e.since + Time(l.c.Grace)
		if end > now {
			return
		}
		l.leaving.Remove(n)
		l.count--
		if e.value != "" {
			e.value, e.revalued = "", true // it counts if the uid joins again before the change is taken
		}
		l.settle(e, end)
	}
}

// present reports whether the uid is a member.
func (l *List) present(e *entry) bool { return e.connections > 0 || l.leaving.Has(&e.leaving) }

// settle brings an entry that has changed at a time into the list of changes or
// out of it. It deletes an entry that is not a member, now and by the changes
// so far.
func (l *List) settle(e *entry, at Time) {
	here := l.present(e)
	if l.c.Silent {
		e.told, e.revalued = here, false
	}
	switch differs := here != e.told || here && e.revalued; {
	case !differs:
		l.pending.Remove(&e.pending)
	case !l.pending.Has(&e.pending):
		e.changed = at
		l.pending.Push(&e.pending)
	}
	if !here && !e.told {
		l.all.Delete(e.uid)
	}
}
