package dog

import (
	"context"
	"sync"
	"time"

	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/presence"
	"github.com/godurable/dog/internal/turn"
)

// maxPresencePause is the longest pause before OnPresence is tried again.
const maxPresencePause = time.Minute

// attendance is the list of the members of a group, or of an object with
// sockets, whose type has Presence. It belongs to the object's identity, not to
// its life. It runs OnPresence, in a goroutine that a timer starts when
// something is due. A nil attendance has no members.
type attendance struct {
	obj *objectState // fixed

	// No other mutex is taken while mu is held.
	mu      sync.Mutex
	list    *presence.List // guarded by mu
	timer   *time.Timer    // nil until it was needed. guarded by mu
	at      presence.Time  // when the timer fires; 0: it has been stopped or has fired. guarded by mu
	telling bool           // the goroutine of the timer runs. guarded by mu
	failed  int            // how often OnPresence has failed since it last succeeded. guarded by mu
}

// newAttendance returns the list of an object, or nil if its type has no
// Presence.
func newAttendance(o *objectState) *attendance {
	p := o.ns.presence
	if !p.on() {
		return nil
	}
	return &attendance{
		obj: o,
		list: presence.New(presence.Config{
			Grace: p.Grace, Every: p.Every, Silent: !o.ns.onPresence,
			Seq: uint64(o.runtime().host.WallClock().UnixMicro()), // more than this object can have made before
		}),
	}
}

// attendance returns the list of the object's members, or nil.
func (o *objectState) attendance() *attendance {
	if o.group != nil {
		return o.group.attendance
	}
	if s := o.crowd.Load(); s != nil {
		return s.attendance
	}
	return nil
}

// attendance returns the list in which the socket's uid is a member, or nil.
func (s *Socket) attendance() *attendance {
	if s.obj.replica != nil {
		return s.obj.replica.group.attendance
	}
	return s.obj.attendance()
}

func (a *attendance) now() presence.Time { return presence.Time(a.obj.runtime().now()) }

// change changes the list.
func (a *attendance) change(f func(now presence.Time)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a.now())
	a.armLocked()
}

// enter adds a socket that has joined.
func (a *attendance) enter(s *Socket) {
	if a != nil && s.uid != "" {
		a.change(func(now presence.Time) { a.list.Enter(s.uid, now) })
	}
}

// exit removes a socket that had joined.
func (a *attendance) exit(s *Socket) {
	if a != nil && s.uid != "" {
		a.change(func(now presence.Time) { a.list.Exit(s.uid, now) })
	}
}

// set gives a member a value.
func (a *attendance) set(uid, value string) {
	a.change(func(now presence.Time) { a.list.Set(uid, value, now) })
}

// page implements Members.
func (a *attendance) page(after string, n int) []Member {
	if a == nil {
		return nil
	}
	if n < 1 || n > maxMembers {
		n = maxMembers
	}
	a.mu.Lock()
	page := a.list.Page(after, n, a.now())
	a.mu.Unlock()
	return membersOf(page)
}

// count returns the number of members.
func (a *attendance) count() int {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list.Count(a.now())
}

// busy reports whether the object must stay in memory for its list. After the
// beginning of Shutdown it need not.
func (a *attendance) busy() bool {
	if a == nil || a.over() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list.Busy(a.now())
}

// over reports whether Shutdown has begun, after which nothing is told.
func (a *attendance) over() bool { return a.obj.runtime().host.Work.Closed() }

// armLocked sets the timer to when the next thing is due. The caller must hold
// mu.
func (a *attendance) armLocked() {
	due, found := a.list.Next()
	if !found || a.telling || a.at != 0 && a.at <= due || a.over() {
		return // a timer that fires too early sets itself again
	}
	a.at = max(due, 1)
	if d := time.Duration(due - a.now()); a.timer == nil {
		a.timer = time.AfterFunc(d, a.tick)
	} else {
		a.timer.Reset(d)
	}
}

// tick does what is due.
func (a *attendance) tick() {
	work := a.obj.runtime().host.Work
	if !work.Enter() {
		return
	}
	defer work.Leave()
	if !a.begin() {
		return
	}
	defer a.end() // even if a handler exits its goroutine
	for a.tell() {
	}
}

// begin reports whether the caller is the one that tells. It must call end.
func (a *attendance) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.telling {
		return false
	}
	a.at, a.telling = 0, true
	return true
}

func (a *attendance) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.telling = false
	a.armLocked()
}

// tell runs OnPresence if a change is due, and reports whether another one may
// be.
func (a *attendance) tell() bool {
	if !a.due() {
		return false
	}
	o := a.obj
	life := o.runtime().host.Ctx
	var outcome <-chan error
	taken := false
	err := o.Deliver(life, &turn.Origin{}, object.EventPresence, "", func(ctx context.Context, v any) error {
		c := a.take()
		if c == nil {
			return nil
		}
		taken = true
		defer func() { outcome = o.Gate.Outcome() }()
		return v.(PresenceHandler).OnPresence(ctx, newPresenceChange(c))
	})
	if outcome != nil { // writes that get lost were not told
		err = o.AwaitOutcome(life, outcome, err)
	}
	o.report(EventPresence, err)
	if err != nil {
		return false
	}
	a.told(taken)
	return taken
}

// due reports whether a change is due. Unless told is called, the next one is
// due after a pause.
func (a *attendance) due() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if !a.list.Due(now) {
		return false
	}
	pause := a.obj.ns.presence.Every
	for range a.failed {
		if pause >= maxPresencePause {
			break
		}
		pause = min(2*pause, maxPresencePause)
	}
	a.failed++
	a.list.Postpone(now + presence.Time(pause))
	return true
}

// take returns the change that is due when the object has given its turn to
// OnPresence, or nil.
func (a *attendance) take() *presence.Change {
	if a.over() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list.Take(a.now())
}

// told notes that OnPresence has succeeded, or that there was nothing to tell.
func (a *attendance) told(taken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = 0
	a.list.Postpone(0)
	if taken {
		a.list.Done()
	}
}
