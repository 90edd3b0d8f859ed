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
	if err := e.admitLocked(b); err != nil {
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

// admitLocked waits until a batch may be pending. Batches are admitted in the
// order of their arrival. The caller must hold mu, which it gives up meanwhile.
func (e *Engine) admitLocked(b *batch) error {
	if err := e.refusalLocked(); err != nil || len(e.line) == 0 && e.hasRoomLocked(b.size) {
		return err
	}
	e.line = append(e.line, b)
	defer func() {
		e.line = slices.DeleteFunc(e.line, func(other *batch) bool { return other == b })
		e.progressLocked()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		if err := e.refusalLocked(); err != nil || e.line[0] == b && e.hasRoomLocked(b.size) {
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

// hasRoomLocked reports whether a batch of a size may be pending. The caller
// must hold mu.
func (e *Engine) hasRoomLocked(size int) bool {
	return e.pending == 0 || e.pending+size <= e.opts.MaxPending
}

// OnDurable implements store.Engine. One goroutine makes the deferred calls. If
// the outcome is known and no calls are being made, OnDurable itself calls
// notify. A commit that Commit has not returned yet is waited for.
func (e *Engine) OnDurable(commit uint64, notify func(error)) {
	e.mu.Lock()
	var outcome error
	if commit > e.durable.Load() {
		switch {
		case e.err != nil:
			outcome = e.err
		case e.ended:
			outcome = store.ErrClosed
		default:
			e.waiters.Add(commit, notify)
			e.mu.Unlock()
			return
		}
	}
	now := e.waiters.Known(commit, outcome, notify)
	e.mu.Unlock()
	if now {
		notify(outcome)
	}
}
