package replog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/godurable/dog/internal/store"
)

// A shipment is how far the goroutine that appends has got.
type shipment struct {
	seq   uint64 // of the last record that was appended
	group uint64 // the last one that was appended
}

// ship appends groups of commits to the log until the engine ends.
func (e *Engine) ship(next shipment) {
	timer := time.NewTimer(resolveAfter)
	defer timer.Stop()
	for {
		e.mu.Lock()
		switch {
		case e.err != nil:
			e.mu.Unlock()
			return
		case e.closing && e.open == nil && len(e.queue)+len(e.flight) == 0:
			e.mu.Unlock()
			return
		case e.closing && time.Since(e.moved) >= patience:
			e.mu.Unlock()
			e.fail(errStalled)
			return
		}
		unsure := e.unsure || len(e.flight) > 0 && time.Since(e.flight[0].sent) >= resolveAfter
		var groups []*group
		if !unsure {
			groups = e.loadLocked(&next)
		}
		attempt := e.attempt
		e.mu.Unlock()
		if unsure {
			if !e.resolve() {
				e.pause(retryAfter)
			}
			continue
		}
		e.append(groups, attempt)
		timer.Reset(resolveAfter)
		select {
		case <-e.wakeShip:
		case <-timer.C:
		case <-e.ctx.Done():
		}
	}
}

// endShipping lets the other goroutines end when they have done their work.
func (e *Engine) endShipping() {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	wake(e.wakeApply)
}

// pause waits, or until the engine fails.
func (e *Engine) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.ctx.Done():
	}
}

// loadLocked moves groups into flight while the window has room, and returns
// them. The caller must hold mu.
func (e *Engine) loadLocked(next *shipment) []*group {
	first := len(e.flight)
	for len(e.flight) < e.opts.Window {
		var g *group
		switch {
		case len(e.queue) > 0:
			g = e.queue[0]
			e.queue = slices.Delete(e.queue, 0, 1)
		case e.open != nil:
			g, e.open = e.open, nil
		default:
			return e.sentLocked(first)
		}
		next.group++
		g.number = next.group
		g.encode(e.epoch, e.opts.MaxRecord-recordHead)
		next.seq += uint64(len(g.records))
		g.seq = next.seq
		e.flight = append(e.flight, g)
	}
	return e.sentLocked(first)
}

// sentLocked notes that what is in flight from an index on is appended now. The
// caller must hold mu.
func (e *Engine) sentLocked(first int) []*group {
	now := time.Now()
	for _, g := range e.flight[first:] {
		g.sent = now
	}
	return slices.Clone(e.flight[first:])
}

// encode makes the group's records.
func (g *group) encode(epoch uint64, most int) {
	for chunk := range slices.Chunk(g.payload, most) {
		r := record{kind: kindData, more: true, epoch: epoch, group: g.number, payload: chunk}
		if len(chunk) == len(g.payload)-len(g.records)*most {
			r.more = false
		}
		g.records = append(g.records, r.encode())
	}
}

// append appends the records of groups to the log.
func (e *Engine) append(groups []*group, attempt uint64) {
	for _, g := range groups {
		first := g.seq - uint64(len(g.records)) + 1
		for i, r := range g.records {
			seq := first + uint64(i)
			e.log.Append(Mark{Seq: seq - 1, Epoch: e.epoch}, r, func(err error) { e.answered(attempt, seq, err) })
		}
	}
}

// answered is called by the log with the result of an append.
func (e *Engine) answered(attempt, seq uint64, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == nil: // of whatever attempt: the log has the record, and all that it follows
		e.ackedLocked(seq)
	case attempt != e.attempt: // a later one is on its way
		return
	case errors.Is(err, store.ErrFull):
		e.full, e.unsure = true, true
	default:
		e.unsure = true
	}
	wake(e.wakeShip)
}

// ackedLocked notes that the log has the records up to a number. The caller
// must hold mu.
func (e *Engine) ackedLocked(seq uint64) {
	n := 0
	for n < len(e.flight) && e.flight[n].seq <= seq {
		e.records += uint64(len(e.flight[n].records))
		n++
	}
	if n == 0 || e.err != nil {
		return
	}
	e.durable.Store(e.flight[n-1].last)
	e.acked = append(e.acked, e.flight[:n]...)
	e.flight = slices.Delete(e.flight, 0, n)
	e.moved, e.full = time.Now(), false
	if len(e.flight) == 0 {
		e.unsure = false
	}
	e.releaseLocked()
	wake(e.wakeApply)
}

// resolve finds out what the log has of the groups in flight, and appends the
// rest again. It reports whether it did.
func (e *Engine) resolve() bool {
	ctx, cancel := context.WithTimeout(e.ctx, answerAfter)
	seq, last, err := e.log.Last(ctx)
	cancel()
	if err != nil {
		return false
	}
	e.mu.Lock()
	if len(e.flight) == 0 || e.err != nil {
		e.unsure = false
		e.mu.Unlock()
		return true
	}
	before := e.flight[0].seq - uint64(len(e.flight[0].records))
	e.mu.Unlock()
	switch r, err := decode(last); {
	case seq < before:
		e.fail(fmt.Errorf("%w: the log ends with record %d and had %d", store.ErrCorrupt, seq, before))
		return false
	case seq == before: // has none of them
	case err != nil:
		e.fail(err)
		return false
	case r.epoch != e.epoch:
		e.fail(fmt.Errorf("another node owns the log: epoch %d after %d", r.epoch, e.epoch))
		return false
	}
	e.mu.Lock()
	e.ackedLocked(seq)
	full := e.full
	e.unsure = false
	e.attempt++
	attempt, groups := e.attempt, e.sentLocked(0)
	e.mu.Unlock()
	if full {
		e.pause(retryAfter)
	}
	e.append(after(groups, seq), attempt)
	return true
}

// after returns the groups without the records up to a number, which the log
// has of the first of them.
func after(groups []*group, seq uint64) []*group {
	if len(groups) == 0 {
		return nil
	}
	first := *groups[0]
	if begin := first.seq - uint64(len(first.records)); seq > begin {
		first.records = first.records[seq-begin:]
	}
	return append([]*group{&first}, groups[1:]...)
}

// applyAll applies to the local engine what the log has, until the engine ends.
func (e *Engine) applyAll() {
	for {
		e.mu.Lock()
		var g *group
		if len(e.acked) > 0 {
			g = e.acked[0]
			e.acked = slices.Delete(e.acked, 0, 1)
		}
		over := g == nil && (e.err != nil || e.closing && e.open == nil && len(e.queue)+len(e.flight) == 0)
		e.mu.Unlock()
		switch {
		case over:
			return
		case g == nil:
			select {
			case <-e.wakeApply:
			case <-e.ctx.Done():
			}
		case !e.apply(g):
			return
		}
	}
}

// apply applies a group, and reports whether the local engine has it.
func (e *Engine) apply(g *group) bool {
	next := position{seq: g.seq, epoch: e.epoch, group: g.number}
	since := time.Now()
	for {
		err := e.state.store(next, g.payload)
		if err == nil {
			break
		}
		late := e.ctx.Err() != nil && time.Since(since) >= patience
		if late || !errors.Is(err, store.ErrFull) && !errors.Is(err, store.ErrStalled) {
			e.fail(err)
			return false
		}
		time.Sleep(retryAfter)
	}
	e.mu.Lock()
	e.inLocal = g.last
	e.applied = append(e.applied, g)
	e.progressLocked()
	e.dropLocked()
	e.mu.Unlock()
	return true
}

// endApplying lets the goroutine that calls waiters end.
func (e *Engine) endApplying() {
	e.mu.Lock()
	e.ended = true
	for _, w := range e.waiters {
		w.err = store.ErrClosed
		e.ready = append(e.ready, w)
	}
	e.waiters = nil
	e.progressLocked()
	e.mu.Unlock()
	wake(e.notify)
}
