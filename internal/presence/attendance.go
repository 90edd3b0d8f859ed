package presence

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/inflight"
	"github.com/godurable/dog/internal/store"
)

// maxPause is the longest pause before a change is delivered again.
const maxPause = time.Minute

// An Attendance is a [List] that is safe for concurrent use and delivers its
// changes to its owner when they are due, in a goroutine that a timer starts. A
// nil Attendance has no members and accepts none. Use [NewAttendance].
type Attendance struct {
	owner Owner // fixed

	loading sync.Mutex // held while it is loaded
	loaded  atomic.Bool

	// No other mutex is taken while mu is held.
	mu      sync.Mutex
	list    *List       // guarded by mu
	timer   *time.Timer // nil until it was needed. guarded by mu
	at      Time        // when the timer fires; 0: it has been stopped or has fired. guarded by mu
	telling bool        // the goroutine of the timer runs. guarded by mu
	failed  int         // how often the delivery has failed since it last succeeded. guarded by mu
	last    Time        // of the latest look at the clock, which stops when the work is closed. guarded by mu

	handled  bool // the change that was taken has been handled; guarded by mu
	unstored bool // the transactions of a Keeper have not stored the change as it is; guarded by mu
}

// An Owner has the members of an [Attendance]. Its methods are called from any
// goroutine, and all but Deliver while the Attendance is locked.
type Owner interface {
	// Now returns the time.
	Now() Time
	// Work counts the goroutine. Nothing is delivered once it is closed.
	Work() *inflight.Work
	// Deliver calls take when the owner is ready, and handles the change. If
	// take returns nil, there is nothing left to handle. When the change has
	// been handled, Deliver calls handled before the transaction ends. After an
	// error the same change is delivered again, after a pause.
	Deliver(take func() *Change, handled func()) error
	// Store returns the store and the place of the owner in it.
	Store() (store.Engine, store.Base)
}

// NewAttendance returns an empty list for an owner.
func NewAttendance(owner Owner, c Config) *Attendance {
	return &Attendance{owner: owner, list: New(c)}
}

// change changes the list.
func (a *Attendance) change(f func(now Time)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a.nowLocked())
	a.armLocked()
}

// nowLocked returns the time. Once the work is closed no time passes, so no
// member leaves while the process ends. The caller must hold mu.
func (a *Attendance) nowLocked() Time {
	if !a.owner.Work().Closed() {
		a.last = a.owner.Now()
	}
	return a.last
}

// Enter adds a connection of a uid. One without a uid is no member.
func (a *Attendance) Enter(uid string) {
	if a != nil && uid != "" {
		a.change(func(now Time) { a.list.Enter(uid, now) })
	}
}

// Exit removes a connection that Enter has added.
func (a *Attendance) Exit(uid string) {
	if a != nil && uid != "" {
		a.change(func(now Time) { a.list.Exit(uid, now) })
	}
}

// Set gives a member another value, "" for none.
func (a *Attendance) Set(uid, value string) {
	if a != nil {
		a.change(func(now Time) { a.list.Set(uid, value, now) })
	}
}

// Page returns up to n members whose uids are greater than after, in the order
// of their uids.
func (a *Attendance) Page(after string, n int) []Member {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list.Page(after, n, a.nowLocked())
}

// Count returns the number of members.
func (a *Attendance) Count() int {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list.Count(a.nowLocked())
}

// Busy reports whether the owner must stay in memory, because there are members
// or changes to deliver.
func (a *Attendance) Busy() bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list.Busy(a.nowLocked())
}

// armLocked sets the timer to when the next thing is due. The caller must hold
// mu.
func (a *Attendance) armLocked() {
	due, found := a.list.Next()
	if !found || a.telling || a.at != 0 && a.at <= due || a.owner.Work().Closed() {
		return // a timer that fires too early sets itself again
	}
	a.at = max(due, 1)
	if d := time.Duration(due - a.owner.Now()); a.timer == nil {
		a.timer = time.AfterFunc(d, a.tick)
	} else {
		a.timer.Reset(d)
	}
}

// tick does what is due.
func (a *Attendance) tick() {
	work := a.owner.Work()
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

// begin reports whether the caller is the one to deliver changes. It must then
// call end.
func (a *Attendance) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.telling {
		return false
	}
	a.at, a.telling = 0, true
	return true
}

func (a *Attendance) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.telling = false
	a.armLocked()
}

// tell delivers a change if one is due, and reports whether another one may be
// due.
func (a *Attendance) tell() bool {
	if !a.due() {
		return false
	}
	taken := false
	err := a.owner.Deliver(func() *Change {
		c := a.take()
		taken = c != nil
		return c
	}, func() { a.handle(true) })
	if err != nil {
		a.handle(false)
		return false
	}
	a.told(taken)
	return taken
}

// due reports whether a change is due. Unless told is called, the next one is
// due after a pause.
func (a *Attendance) due() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.nowLocked()
	if !a.list.Due(now) {
		return false
	}
	pause := a.list.c.Every
	for range a.failed {
		if pause >= maxPause {
			break
		}
		pause = min(2*pause, maxPause)
	}
	a.failed++
	a.list.Postpone(now + Time(pause))
	return true
}

// take returns the change that is due now that the owner is ready for it, or
// nil.
func (a *Attendance) take() *Change {
	if a.owner.Work().Closed() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.list.Take(a.nowLocked())
	a.handled, a.unstored = false, a.list.c.Durable && c != nil
	return c
}

// told records that the delivery has succeeded, or that there was nothing to
// deliver.
func (a *Attendance) told(taken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed, a.handled, a.unstored = 0, false, false
	a.list.Postpone(0)
	if taken {
		a.list.Done()
	}
}
