package dog

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/exactjson"
	"github.com/godurable/dog/internal/inflight"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/presence"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

const (
	defaultEvery     = 250 * time.Millisecond // of Presence
	maxPresenceValue = 1024
	maxMembers       = 1000 // of a page
)

// Presence makes a group, or an object, keep the list of the uids that have
// sockets in it: its members. The members of a group are those of all its
// replicas. A uid is one member, however many sockets it has. Sockets without a
// uid do not count. The zero Presence is off and costs nothing.
//
// A uid becomes a member when its first socket has joined. It stops being a
// member when it has had no socket for Grace. So a client that reconnects in
// time, or moves to another replica, remains a member.
//
// If the type has OnPresence, it gets the changes (see [PresenceHandler]).
// [Object.Members], [Group.Members] and [Stub.Members] return the members.
// [Socket.SetPresence] gives a member a value, such as a display name or a
// state.
//
// The list is in memory. A group or object with members, or with changes that
// OnPresence has not handled, is not retired or evicted. If its type
// hibernates, it may do so, and the next change wakes it. The list outlives a
// reset.
//
// [Runtime.Shutdown] stores the list and the changes that OnPresence has not
// handled, if there is a store. When the group or object next comes into
// memory, each earlier member has Grace to come back. If it does, it has been a
// member all the time; otherwise OnPresence gets it as Left. Until then the
// list is empty. After a crash there are no members, and OnPresence does not
// get the earlier ones as Left, unless Durable is set.
type Presence struct {
	// Grace is how long a uid remains a member after its last socket has ended,
	// to the nanosecond. It must be above 0 for presence to be on. 10 s suits
	// clients that reconnect.
	Grace time.Duration

	// Every is how long a change waits for further changes, which OnPresence
	// then gets together. A uid that has joined and left in that time, or left
	// and joined, is not among them. 0: 250 ms.
	Every time.Duration

	// Durable stores each change in the transaction of the OnPresence that gets
	// it. A crash is then like a planned restart (see [Presence]) for the
	// members and values that OnPresence has got. It keeps the change together
	// with the messages and writes of OnPresence, or none of them. If
	// OnPresence was waiting when the process died, it gets the same change
	// again, with the same Seq. Each change costs a transaction, and while
	// nothing can be stored ([ErrStoreFull]), changes wait. Without OnPresence,
	// Durable does nothing.
	Durable bool
}

// on reports whether the type has presence.
func (p Presence) on() bool { return p.Grace > 0 }

// check returns what is wrong with the options of a type of a kind, or "".
func (p Presence) check(kind Kind) string {
	switch {
	case p.Grace < 0:
		return fmt.Sprintf("%sOptions.Presence.Grace is %v: it must not be negative", kind, p.Grace)
	case p.Every < 0:
		return fmt.Sprintf("%sOptions.Presence.Every is %v: it must not be negative", kind, p.Every)
	case p.Every > 0 && p.Grace == 0:
		return fmt.Sprintf("%sOptions.Presence has Every and no Grace, which switches it on", kind)
	case p.Durable && p.Grace == 0:
		return fmt.Sprintf("%sOptions.Presence has Durable and no Grace, which switches it on", kind)
	}
	return ""
}

// A Member is a uid that is present in a group or an object: see [Presence].
type Member struct {
	UID   string          `json:"uid"`
	Value json.RawMessage `json:"value,omitempty"` // of Socket.SetPresence; nil: none
}

// A PresenceChange lists the members that have joined or left a group or an
// object, or have a new value, since the previous change. A uid is in at most
// one of its lists. Members that have left have no value. The JSON form has the
// field names in lower case and omits empty lists.
type PresenceChange struct {
	Joined  []Member `json:"joined,omitempty"`
	Left    []Member `json:"left,omitempty"`
	Changed []Member `json:"changed,omitempty"`
	// Count is the number of members after the change: that of the previous
	// change, plus Joined, minus Left. MemberCount also counts the changes that
	// are still to be delivered.
	Count int `json:"count"`
	// Seq is the number of the change. It is greater than that of the previous
	// change of the group or object, even after the group or object has left
	// memory, and after a crash unless the machine's clock has been set back. A
	// change that is delivered again has the same Seq.
	Seq uint64 `json:"seq"`
}

// newPresenceChange returns a copy that its receiver may modify.
func newPresenceChange(c *presence.Change) PresenceChange {
	return PresenceChange{
		Joined: membersOf(c.Joined), Left: membersOf(c.Left), Changed: membersOf(c.Changed), Count: c.Count, Seq: c.Seq,
	}
}

// membersOf returns members that their receiver may modify.
func membersOf(from []presence.Member) []Member {
	if len(from) == 0 {
		return nil
	}
	members := make([]Member, len(from))
	for i, m := range from {
		members[i].UID = m.UID
		if m.Value != "" {
			members[i].Value = json.RawMessage(m.Value)
		}
	}
	return members
}

// Members returns the members of the object with uids greater than after, in
// byte order of their uids, and at most n of them. after is "" for the first
// page, and then the uid of the last member of the previous page. If n is not
// between 1 and 1,000, it counts as 1,000. If [Presence] is off, there are no
// members. Members keeps the turn.
func (o *Object) Members(after string, n int) []Member { return pageOf(o.attendance(), after, n) }

// MemberCount returns the number of members of the object, 0 if [Presence] is
// off. It takes constant time and keeps the turn.
func (o *Object) MemberCount() int { return o.attendance().Count() }

// Members returns the members of the group, on all replicas: see
// [Object.Members].
func (g *Group) Members(after string, n int) []Member { return pageOf(g.attendance(), after, n) }

// MemberCount returns the number of members of the group: see
// [Object.MemberCount].
func (g *Group) MemberCount() int { return g.attendance().Count() }

// pageOf implements Members.
func pageOf(a *presence.Attendance, after string, n int) []Member {
	if n < 1 || n > maxMembers {
		n = maxMembers
	}
	return membersOf(a.Page(after, n))
}

// attendance returns the list of a running object, otherwise nil.
func (c *core) attendance() *presence.Attendance {
	if o := c.object(); o != nil {
		return o.attendance()
	}
	return nil
}

// Members returns members of the object or group: see [Object.Members]. An
// object or group that is not in memory has no members, and is not started. In
// a handler, Members gives up the turn. It returns a [UsageError] if the type
// has no [Presence], which a type of replicas never has, and [ErrShutdown].
func (s Stub[T]) Members(ctx context.Context, after string, n int) (members []Member, err error) {
	err = s.ask(ctx, "Stub.Members", func(a *presence.Attendance) { members = pageOf(a, after, n) })
	return members, err
}

// MemberCount returns the number of members of the object or group. The errors
// are those of [Stub.Members].
func (s Stub[T]) MemberCount(ctx context.Context) (n int, err error) {
	err = s.ask(ctx, "Stub.MemberCount", func(a *presence.Attendance) { n = a.Count() })
	return n, err
}

// ask calls f with the list of the object, if it has one in memory.
func (s Stub[T]) ask(ctx context.Context, op string, f func(*presence.Attendance)) error {
	if s.to == nil {
		return notRunning(op)
	}
	ns := s.to.namespace()
	leave, err := ns.rt.host.EnterFrom(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return object.AwaitDurable(ctx, nil, func() error {
		o, err := s.to.live()
		switch {
		case err != nil:
			return err
		case ns.kind == KindReplica:
			return misuse(op, "%q is a type of replicas: ask the group", ns.Name)
		case !ns.presence.on():
			return misuse(op, "the options of %q have no Presence", ns.Name)
		case o != nil:
			f(o.attendance())
		}
		return nil
	})
}

// SetPresence sets the value of the member with the socket's uid, as [JSON] of
// at most 1,024 bytes: see [Presence]. Nil removes it. The value belongs to the
// uid: the newest one counts, whichever socket of the uid it was set on, and it
// ends when the uid stops being a member. OnPresence gets a new value in
// Changed, or in Joined if it has not yet got the member.
//
// Like a message, the value takes effect when the object's earlier writes are
// durable. SetPresence keeps the turn. It returns [ErrSocketClosed] when the
// socket is closed or closing, [ErrHeldBack], and a [UsageError] for a longer
// value, a socket without a uid, or a type without Presence.
func (s *Socket) SetPresence(v any) error {
	const op = "Socket.SetPresence"
	if !s.running() {
		return notRunning(op)
	}
	o, a := s.obj.voice(), s.attendance()
	switch {
	case a == nil:
		return misuse(op, "neither the options of %q nor those of its group have Presence", s.obj.ns.Name)
	case s.uid == "":
		return misuse(op, "the socket has no uid, so it is no member")
	}
	data, err := exactjson.Marshal(v)
	if err != nil {
		return fmt.Errorf("dog: presence: %w", err)
	}
	if len(data) > maxPresenceValue {
		return misuse(op, "%d bytes, more than 1,024", len(data))
	}
	value := string(data)
	if value == "null" {
		value = ""
	}
	if err := s.obj.CheckGate(); err != nil {
		return err
	}
	if s.over() {
		return ErrSocketClosed
	}
	set := func() { a.Set(s.uid, value) }
	if o.open() {
		set()
		return nil
	}
	return o.sendGatedWithin(&s.held, s.conn.QueueBytes(), len(value), set)
}

// newAttendance returns the list of members of a group, or of an object with
// sockets. It returns nil if the type has no Presence. The list belongs to the
// object's identity, not to its life.
func newAttendance(o *objectState) *presence.Attendance {
	p := o.ns.presence
	if !p.on() {
		return nil
	}
	return presence.NewAttendance((*listOwner)(o), presence.Config{
		Grace: p.Grace, Every: p.Every, Silent: !o.ns.onPresence, Durable: o.ns.keepsMembers(),
		Seq: uint64(o.runtime().host.WallClock().UnixMicro()), // more than this object can have made before
	})
}

// keepsMembers reports whether objects store the changes that OnPresence gets.
func (ns *namespace) keepsMembers() bool { return ns.presence.Durable && ns.onPresence }

// attendance returns the list of the object's members, or nil.
func (o *objectState) attendance() *presence.Attendance {
	if o.group != nil {
		return o.group.attendance
	}
	if s := o.crowd.Load(); s != nil {
		return s.attendance
	}
	return nil
}

// ownAttendance returns the list of members of a plain object or a group, which
// it makes if needed, or nil.
func (o *objectState) ownAttendance() *presence.Attendance {
	if o.group == nil && o.ns.presence.on() {
		return o.socketSet().attendance
	}
	return o.attendance()
}

// attendance returns the list in which the socket's uid is a member, or nil.
func (s *Socket) attendance() *presence.Attendance {
	if s.obj.replica != nil {
		return s.obj.replica.group.attendance
	}
	return s.obj.attendance()
}

// listOwner is an object as its list of members sees it.
type listOwner objectState

func (l *listOwner) Now() presence.Time { return presence.Time(l.ns.rt.now()) }

func (l *listOwner) Work() *inflight.Work { return l.ns.rt.host.Work }

func (l *listOwner) Store() (store.Engine, store.Base) { return l.ns.rt.host.Engine, l.ID.Base() }

// Deliver runs OnPresence. It returns an error if writes of OnPresence are
// lost.
func (l *listOwner) Deliver(take func() *presence.Change, handled func()) error {
	o, life := (*objectState)(l), l.ns.rt.host.Ctx
	var outcome <-chan error
	err := o.Deliver(life, &turn.Origin{}, object.EventPresence, func(ctx context.Context, v any) error {
		c := take()
		if c == nil {
			return nil
		}
		defer func() { outcome = o.Gate.Outcome() }()
		touch := func() error { return nil }
		if o.ns.keepsMembers() {
			touch = object.LifeOf(turn.From(ctx)).Tx.Touch // for the Keeper
		}
		if err := touch(); err != nil {
			return err
		}
		if err := v.(PresenceHandler).OnPresence(ctx, newPresenceChange(c)); err != nil {
			return err
		}
		handled()
		return touch() // there may be another transaction, after a wait
	})
	if outcome != nil {
		err = o.AwaitOutcome(life, outcome, err)
	}
	o.report(EventPresence, err)
	return err
}
