// Package gate holds back what an object says until what it wrote before is
// durable.
//
// An object writes in transactions: [Gate.Wrote] begins one, [Gate.Committed]
// or [Gate.Failed] ends it. What is said meanwhile waits for the transaction to
// be durable; what is said after waits as long as any earlier commit is not. So
// an observer never learns of something that a crash could still undo, and
// hears everything in the order in which it was said. An object that has not
// written says everything at once.
package gate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Commits tells which commits are durable; see store.Engine.
type Commits interface {
	Durable() uint64
	OnDurable(commit uint64, told func(error))
}

// Gate is the output gate of one object; a nil Gate is always open. It is safe
// for concurrent use; Wrote, Committed and Failed are called by who has the
// object's turn.
type Gate struct {
	commits Commits // fixed
	lost    func(error)

	active atomic.Bool // whether anything below matters; false: what is said leaves at once. changed under mu

	mu        sync.Mutex
	held      []entry // guarded by mu: in the order said
	head      int     // guarded by mu: held[head:] waits
	writing   bool    // guarded by mu: a transaction is open
	last      uint64  // guarded by mu: the latest commit
	asked     uint64  // guarded by mu: the latest commit of whose outcome the gate will be told
	releasing bool    // guarded by mu: somebody calls what has been released
	failed    error   // guarded by mu: why what is not durable never will be
	shut      error   // guarded by mu: why nothing is let in
}

type entry struct {
	commit uint64 // has to be durable first; open: that of the open transaction
	undone error  // what say gets then; nil unless its transaction has been undone
	say    func(error)
	tells  bool // say passes on what it gets
}

// Undone is what say functions get when the transaction in which they were said
// has failed without the object being reset.
type Undone struct{ Cause error }

func (u *Undone) Error() string { return u.Cause.Error() }

// Unwrap returns the cause.
func (u *Undone) Unwrap() error { return u.Cause }

// open is the number of a transaction that has not been committed.
const open = 1<<64 - 1

// New returns a gate. lost is called once when commits turn out never to become
// durable, after what was held has been told; it must not block.
func New(commits Commits, lost func(error)) *Gate { return &Gate{commits: commits, lost: lost} }

// Wrote says that the turn's transaction has changes.
func (g *Gate) Wrote() {
	g.mu.Lock()
	g.writing = true
	g.active.Store(true)
	g.mu.Unlock()
}

// Committed ends the transaction: it has this number.
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

// Failed ends the transaction without a commit. What was said in it is dropped:
// its say functions get [Undone], in their turn, since the error may tell of
// what was committed before.
func (g *Gate) Failed(err error) {
	g.mu.Lock()
	g.undoLocked(&Undone{err})
	g.mu.Unlock()
	g.release(nil)
}

// Shut is for an object that is being reset: until Recover nothing is let
// in any more. What was said in the transaction is dropped at once; who waits
// for an outcome gets err in its turn, as with Failed.
func (g *Gate) Shut(err error) {
	g.mu.Lock()
	g.shut = err
	g.active.Store(true)
	first := g.undoLocked(err)
	var dropped []func(error)
	kept := g.held[:first]
	for _, e := range g.held[first:] {
		if e.tells {
			kept = append(kept, e)
		} else {
			dropped = append(dropped, e.say)
		}
	}
	clear(g.held[len(kept):])
	g.held = kept
	g.mu.Unlock()
	for _, say := range dropped {
		say(err)
	}
	g.release(nil)
}

// undoLocked ends the transaction without a commit; err is for what was said
// in it, which begins at held[first]. The caller must hold mu.
func (g *Gate) undoLocked(err error) (first int) {
	g.writing = false
	first = len(g.held)
	for first > g.head && g.held[first-1].commit == open {
		first--
		g.held[first].commit, g.held[first].undone = g.last, err
	}
	return first
}

// Open reports whether what is said now leaves at once.
func (g *Gate) Open() bool {
	if g == nil || !g.active.Load() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.openLocked()
}

// Writing reports whether a transaction is open, so that what is said now waits
// at least for its end.
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
	if g.writing || g.releasing || g.shut != nil || g.head < len(g.held) {
		return false
	}
	if g.last > g.commits.Durable() {
		return false
	}
	g.active.Store(false)
	return true
}

// Say calls say, at once or when the gate opens: with nil, or with the reason
// why what was written before is lost. say must not block. Calls come one at a
// time, in the order of Say.
func (g *Gate) Say(say func(error)) { g.hold(entry{say: say}) }

// hold is Say for an entry without a commit.
func (g *Gate) hold(e entry) {
	say := e.say
	if g == nil || !g.active.Load() {
		say(nil)
		return
	}
	g.mu.Lock()
	if g.openLocked() {
		g.mu.Unlock()
		say(nil)
		return
	}
	if shut := g.shut; shut != nil {
		g.mu.Unlock()
		say(shut)
		return
	}
	e.commit = g.last
	if g.writing {
		e.commit = open
	}
	if g.head > 0 && len(g.held) == cap(g.held) {
		n := copy(g.held, g.held[g.head:])
		clear(g.held[n:])
		g.held, g.head = g.held[:n], 0
	}
	g.held = append(g.held, e)
	g.mu.Unlock()
	if e.commit != open {
		g.release(nil)
	}
}

// Outcome returns a channel that gets what a say function would get now; nil
// when the gate is open.
func (g *Gate) Outcome() <-chan error {
	if g.Open() {
		return nil
	}
	outcome := make(chan error, 1)
	g.Tell(func(err error) { outcome <- err })
	return outcome
}

// Tell is Say for what tells others of the outcome: Shut does not call it
// before its turn.
func (g *Gate) Tell(say func(error)) { g.hold(entry{say: say, tells: true}) }

// Wait returns when the gate opens for what is said now by somebody who has no
// part in the transaction: nil, the reason why what was written is lost, or the
// cause of ctx's end.
func (g *Gate) Wait(ctx context.Context) error {
	for {
		outcome := g.Outcome()
		if outcome == nil {
			return nil
		}
		select {
		case err := <-outcome:
			if _, undone := errors.AsType[*Undone](err); !undone {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Recover ends Shut, and lets the gate open again after commits were lost: the
// object has been reset, and has nothing left of them.
func (g *Gate) Recover() {
	g.mu.Lock()
	g.shut = nil
	if g.failed != nil {
		g.failed, g.last, g.asked = nil, 0, 0
	}
	g.mu.Unlock()
}

// release lets out what has become durable, in order, and asks to be told of
// the rest. When another goroutine is at it, that one goes on.
func (g *Gate) release(lost error) {
	g.mu.Lock()
	first := lost != nil && g.failed == nil
	if first {
		g.failed = lost
	}
	if g.releasing {
		g.mu.Unlock()
		if first {
			g.lost(lost)
		}
		return
	}
	g.releasing = true
	for g.head < len(g.held) {
		e := g.held[g.head]
		if e.commit == open {
			break
		}
		err := e.undone
		if e.commit > g.commits.Durable() {
			if g.failed == nil {
				if g.asked >= e.commit {
					break
				}
				// Of the latest commit that something waits for: one call for
				// all of them.
				commit := g.lastWaitedLocked()
				g.asked = commit
				g.mu.Unlock()
				g.commits.OnDurable(commit, g.release)
				g.mu.Lock()
				continue
			}
			err = g.failed
		}
		g.held[g.head] = entry{}
		if g.head++; g.head == len(g.held) {
			g.held, g.head = g.held[:0], 0
		}
		g.mu.Unlock()
		e.say(err)
		g.mu.Lock()
	}
	g.releasing = false
	g.mu.Unlock()
	if first {
		g.lost(lost)
	}
}

// lastWaitedLocked returns the latest commit that something waits for. The
// caller must hold mu.
func (g *Gate) lastWaitedLocked() uint64 {
	for i := len(g.held) - 1; i >= g.head; i-- {
		if g.held[i].commit != open {
			return g.held[i].commit
		}
	}
	return 0
}
