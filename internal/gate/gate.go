// Package gate holds back an object's output until its earlier writes are
// durable.
//
// An object writes in transactions: [Gate.Wrote] begins one, [Gate.Committed]
// or [Gate.Failed] ends it. Output during a transaction waits until the
// transaction is durable. Output after it waits until all earlier commits are
// durable. So an observer never sees anything that a crash could still undo,
// and sees all output in the order in which it was produced. The output of an
// object without pending writes is sent at once.
//
// Where another node may take an object over, output also waits while the node
// does not know that it still owns the object: see [Lease].
//
// It does not know objects, or what the output is: it calls functions. Of the
// store it knows the numbers of commits.
package gate

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Commits reports which commits are durable. See store.Engine.
type Commits interface {
	Durable() uint64
	OnDurable(commit uint64, notify func(error))
}

// Gate is the output gate of one object. A nil Gate is always open. A Gate is
// safe for concurrent use. Only the holder of the object's turn calls Wrote,
// Committed and Failed.
type Gate struct {
	commits Commits // fixed; a Lease if leased is set
	lost    func(error)

	era atomic.Uint64 // see Era; changed under mu

	// whether the fields below matter; false: output is sent at once; changed
	// under mu
	active    atomic.Bool
	leased    bool // fixed
	renewing  bool // guarded by mu: a call of OnLive has not been answered
	revoked   bool // guarded by mu: there will be no lease any more
	announced bool // guarded by mu: lost has been called for that
	writing   bool // guarded by mu: a transaction is open
	releasing bool // guarded by mu: a goroutine is calling released entries

	mu     sync.Mutex
	begun  uint64  // guarded by mu: transactions so far, and so the number of the open one
	held   []entry // guarded by mu: in the order of Send
	head   int     // guarded by mu: held[head:] is waiting
	last   uint64  // guarded by mu: the latest commit
	asked  uint64  // guarded by mu: the latest commit that OnDurable was called for
	paused int     // guarded by mu: calls of Pause without their Resume
	failed error   // guarded by mu: why commits that are not durable never will be
	shut   error   // guarded by mu: why no entry is accepted
}

type entry struct {
	commit   uint64 // must be durable first; open: that of the open transaction
	undone   error  // the argument for send in that case; nil unless its transaction was undone or lost
	send     func(error)
	notifies bool // send passes its argument on
}

// Undone is the argument of send functions whose transaction has failed without
// a reset of the object.
type Undone struct{ Cause error }

func (u *Undone) Error() string { return u.Cause.Error() }

// Unwrap returns the cause.
func (u *Undone) Unwrap() error { return u.Cause }

// open is the commit number of a transaction that has not been committed.
const open = 1<<64 - 1

// New returns a gate. lost is called once if commits turn out never to become
// durable, after the held entries have been called. It must not block.
func New(commits Commits, lost func(error)) *Gate {
	_, leased := commits.(Lease)
	return &Gate{commits: commits, lost: lost, leased: leased}
}

// Wrote records that the turn's transaction has changes.
func (g *Gate) Wrote() {
	g.mu.Lock()
	g.writing = true
	g.begun++
	g.active.Store(true)
	g.mu.Unlock()
}

// Committed ends the transaction, which has this commit number.
func (g *Gate) Committed(commit uint64) {
	g.mu.Lock()
	g.writing = false
	g.last = max(g.last, commit)
	for i := len(g.held) - 1; i >= g.head && g.held[i].commit == open; i-- {
		g.held[i].commit = g.last
	}
	g.mu.Unlock()
	g.release(nil)
}

// Failed ends the transaction without a commit. Its output is dropped: the send
// functions get [Undone]. They are called in their order, since the error may
// depend on earlier commits.
func (g *Gate) Failed(err error) {
	g.mu.Lock()
	g.undoLocked(&Undone{err})
	g.mu.Unlock()
	g.release(nil)
}

// Shut is called when the object is being reset. It begins another era. Until
// Recover, the gate accepts no output. The output of the open transaction is
// dropped at once. Functions passed to Notify get err in their order, as with
// Failed.
func (g *Gate) Shut(err error) {
	g.mu.Lock()
	g.shut = err
	g.era.Add(1)
	g.active.Store(true)
	first := g.undoLocked(err)
	var dropped []func(error)
	kept := g.held[:first]
	for _, e := range g.held[first:] {
		if e.notifies {
			kept = append(kept, e)
		} else {
			dropped = append(dropped, e.send)
		}
	}
	clear(g.held[len(kept):])
	g.held = kept
	g.mu.Unlock()
	for _, send := range dropped {
		send(err)
	}
	g.release(nil)
}

// undoLocked ends the transaction without a commit. Its output, which begins at
// held[first], gets err. The caller must hold mu.
func (g *Gate) undoLocked(err error) (first int) {
	g.writing = false
	first = len(g.held)
	for first > g.head && g.held[first-1].commit == open {
		first--
		g.held[first].commit, g.held[first].undone = g.last, err
	}
	return first
}

// Open reports whether output is sent at once.
func (g *Gate) Open() bool {
	return g == nil || !g.active.Load() && !g.leased || g.opens()
}

// opens is Open for a gate that was active or has a lease, apart so that Open
// can be inlined.
func (g *Gate) opens() bool {
	if !g.active.Load() && g.live() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.openLocked()
}

// Writing reports whether a transaction is open, in which case output waits at
// least for its end.
func (g *Gate) Writing() bool {
	if g == nil || !g.active.Load() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.writing
}

// openLocked is Open. The caller must hold mu.
func (g *Gate) openLocked() bool {
	if g.writing || g.releasing || g.paused > 0 || g.shut != nil || g.head < len(g.held) {
		return false
	}
	if g.last > g.commits.Durable() || g.revoked || !g.live() {
		return false
	}
	g.active.Store(false)
	return true
}

// Send calls send, at once or when the gate opens. The argument is nil, or the
// reason why the earlier writes are lost. send must not block. The functions
// are called one at a time, in the order of the calls to Send.
func (g *Gate) Send(send func(error)) { _, _ = g.hold(entry{send: send}, every) }

// hold is SendIn for an entry, whose commit it sets. The era may be every. If
// the entry belongs to the open transaction, hold returns its number, which is
// above 0.
func (g *Gate) hold(e entry, era uint64) (transaction uint64, err error) {
	send := e.send
	if g == nil || !g.active.Load() && g.live() && g.isIn(era) { // in the order of OpenIn
		send(nil)
		return 0, nil
	}
	g.mu.Lock()
	if !g.isIn(era) {
		g.mu.Unlock()
		send(ErrPast)
		return 0, ErrPast
	}
	if g.openLocked() {
		g.mu.Unlock()
		send(nil)
		return 0, nil
	}
	if shut := g.shut; shut != nil {
		g.mu.Unlock()
		send(shut)
		return 0, nil
	}
	e.commit = g.last
	if g.writing {
		e.commit, transaction = open, g.begun
	}
	g.active.Store(true) // it is not yet if only the lease is in doubt
	g.insertLocked(len(g.held), e)
	g.mu.Unlock()
	if transaction == 0 {
		g.release(nil)
	}
	return transaction, nil
}

// SendAfter is Send for output that belongs to a commit outside the object's
// transactions. The output after it waits for that commit, too. The output of
// the open transaction comes after it. Any goroutine may call SendAfter.
func (g *Gate) SendAfter(commit uint64, send func(error)) {
	g.mu.Lock()
	if shut := g.shut; shut != nil {
		g.mu.Unlock()
		send(shut)
		return
	}
	g.last = max(g.last, commit)
	g.active.Store(true)
	if g.openLocked() {
		g.mu.Unlock()
		send(nil)
		return
	}
	at := len(g.held)
	for at > g.head && g.held[at-1].commit == open {
		at--
	}
	g.insertLocked(at, entry{commit: g.last, send: send})
	g.mu.Unlock()
	g.release(nil)
}

// Pause keeps further output in the gate until Resume is called as often as
// Pause. A send function calls it if its own output must wait for others.
func (g *Gate) Pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused++
	g.active.Store(true)
}

// Resume undoes Pause.
func (g *Gate) Resume() {
	g.mu.Lock()
	g.paused--
	g.mu.Unlock()
	g.release(nil)
}

// insertLocked inserts an entry at an index of held. The caller must hold mu.
func (g *Gate) insertLocked(at int, e entry) {
	if g.head > 0 && len(g.held) == cap(g.held) {
		n := copy(g.held, g.held[g.head:])
		clear(g.held[n:])
		at -= g.head
		g.held, g.head = g.held[:n], 0
	}
	g.held = slices.Insert(g.held, at, e)
}

// Outcome returns a channel that receives the argument that a send function
// passed to Notify would get. It returns nil if the gate is open.
func (g *Gate) Outcome() <-chan error {
	outcome, _ := g.outcome()
	return outcome
}

// outcome is Outcome, and returns the number of the transaction whose end it
// waits for, 0 if that is none.
func (g *Gate) outcome() (outcome chan error, transaction uint64) {
	if g.Open() {
		return nil, 0
	}
	c := make(chan error, 1) // a result that is captured would be allocated also if the gate is open
	transaction, _ = g.hold(entry{send: func(err error) { c <- err }, notifies: true}, every)
	return c, transaction
}

// Notify is Send for functions that report the outcome to others. Shut does not
// call them before their turn.
func (g *Gate) Notify(send func(error)) { _, _ = g.hold(entry{send: send, notifies: true}, every) }

// Recover ends Shut, and lets the gate open again after commits were lost. By
// then the object has been reset and depends on none of them. Entries that
// still wait for them, because another goroutine is calling released entries,
// get the reason of the loss from that goroutine.
func (g *Gate) Recover() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = nil
	if g.failed == nil {
		return
	}
	for i := g.head; i < len(g.held); i++ {
		if e := &g.held[i]; e.commit > g.commits.Durable() {
			e.commit, e.undone = 0, g.failed
		}
	}
	g.failed, g.last, g.asked = nil, 0, 0
}
