package replog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/godurable/dog/internal/store"
)

// Errors of Commit in addition to those of the store. They mean that nothing
// has been changed.
var (
	errEmptyKey = errors.New("dog: empty key")
	errTooLarge = errors.New("dog: too much in one commit")
)

// A batch is a store.Batch.
type batch struct {
	engine  *Engine
	changes []change
	size    int
	err     error // why it cannot be committed
}

// Begin implements store.Engine.
func (e *Engine) Begin() store.Batch { return &batch{engine: e} }

func (b *batch) add(c change) {
	if len(c.key) == 0 && c.act != actDeleteRange {
		b.err = errEmptyKey
	}
	if b.size += c.size(); b.size > b.engine.opts.MaxCommit {
		b.err, b.changes = errTooLarge, nil
		return
	}
	b.changes = append(b.changes, c)
}

// Set implements store.Batch.
func (b *batch) Set(key, value []byte) {
	b.add(change{act: actSet, key: bytes.Clone(key), value: append([]byte{}, value...)})
}

// Delete implements store.Batch.
func (b *batch) Delete(key []byte) { b.add(change{act: actDelete, key: bytes.Clone(key)}) }

// DeleteRange implements store.Batch. A range whose end is before its beginning
// is empty.
func (b *batch) DeleteRange(lower, upper []byte) {
	if bytes.Compare(lower, upper) < 0 {
		b.add(change{act: actDeleteRange, key: bytes.Clone(lower), value: bytes.Clone(upper)})
	}
}

// Discard implements store.Batch.
func (b *batch) Discard() {}

// Commit implements store.Batch. It waits while too much is pending, and
// returns store.ErrStalled if that has not changed for 10 s.
func (b *batch) Commit() (uint64, error) {
	if b.err != nil || len(b.changes) == 0 {
		return 0, b.err
	}
	e := b.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.admitLocked(b.size); err != nil {
		return 0, err
	}
	if e.commits == e.durable.Load() {
		e.moved = time.Now()
	}
	e.commits++
	e.pending += b.size
	if e.open != nil && len(e.open.payload)+b.size > e.opts.MaxRecord-recordHead {
		e.queue, e.open = append(e.queue, e.open), nil
	}
	if e.open == nil {
		e.open = new(group)
	}
	for _, c := range b.changes {
		e.open.payload = c.appendTo(e.open.payload)
		e.overlay.apply(c, e.commits)
		if c.act != actDeleteRange {
			e.open.keys = append(e.open.keys, string(c.key))
		}
	}
	e.open.last = e.commits
	e.open.size += b.size
	wake(e.wakeShip)
	return e.commits, nil
}

// A ticket is a place in the line of commits that wait.
type ticket struct{ size int }

// admitLocked waits until a commit of a size may be pending. Commits are
// admitted in the order of their arrival. The caller must hold mu, which it
// gives up meanwhile.
func (e *Engine) admitLocked(size int) error {
	if err := e.refusalLocked(); err != nil || len(e.line) == 0 && e.hasRoomLocked(size) {
		return err
	}
	me := &ticket{size}
	e.line = append(e.line, me)
	defer func() {
		e.line = slices.DeleteFunc(e.line, func(t *ticket) bool { return t == me })
		e.progressLocked()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		if err := e.refusalLocked(); err != nil || e.line[0] == me && e.hasRoomLocked(size) {
			return err
		}
		if e.givenUp {
			return fmt.Errorf("%w: %w", store.ErrFailed, errGivenUp)
		}
		progress, pending := e.waitLocked(), e.pending
		e.mu.Unlock()
		stalled := false
		select {
		case <-progress:
		case <-timer.C:
			stalled = true
		}
		e.mu.Lock()
		switch {
		case stalled:
			return cmp.Or(e.refusalLocked(), errStalled)
		case e.pending < pending:
			timer.Reset(patience)
		}
	}
}

func (e *Engine) hasRoomLocked(size int) bool {
	return e.pending == 0 || e.pending+size <= e.opts.MaxPending
}

// OnDurable implements store.Engine. One goroutine makes the deferred calls. If
// the outcome is known and no calls are being made, OnDurable itself calls
// notify. A commit that Commit has not returned yet is waited for.
func (e *Engine) OnDurable(commit uint64, notify func(error)) {
	e.mu.Lock()
	w := waiter{commit: commit, notify: notify}
	if commit > e.durable.Load() {
		switch {
		case e.err != nil:
			w.err = e.err
		case e.ended:
			w.err = store.ErrClosed
		default:
			e.waiters = append(e.waiters, w)
			e.mu.Unlock()
			return
		}
	}
	if e.notifying || len(e.ready) > 0 {
		e.ready = append(e.ready, w)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	notify(w.err)
}

// releaseLocked makes the waiters of durable commits ready. The caller must
// hold mu.
func (e *Engine) releaseLocked() {
	durable := e.durable.Load()
	waiting := e.waiters[:0]
	for _, w := range e.waiters {
		if w.commit <= durable {
			e.ready = append(e.ready, w)
		} else {
			waiting = append(waiting, w)
		}
	}
	clear(e.waiters[len(waiting):])
	e.waiters = waiting
	wake(e.notify)
}

// notifyAll calls the waiters that are ready, until the engine has nothing more
// to do.
func (e *Engine) notifyAll() {
	var calls []waiter
	for range e.notify {
		for {
			e.mu.Lock()
			e.ready, calls = calls[:0], e.ready
			e.notifying = len(calls) > 0
			ended := e.ended
			e.mu.Unlock()
			if len(calls) == 0 {
				if ended {
					return
				}
				break
			}
			slices.SortStableFunc(calls, func(a, b waiter) int { return cmp.Compare(a.commit, b.commit) })
			for _, w := range calls {
				w.notify(w.err)
			}
			clear(calls)
		}
	}
}
