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
		case e.givenUp && e.unsure:
			e.mu.Unlock()
			e.fail(errGivenUp)
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
	case attempt != e.attempt || len(e.flight) == 0 || seq <= e.flight[0].before():
		return // a later one is on its way, or the record is known to be there
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
	if e.err != nil {
		return
	}
	if now := time.Now(); len(e.flight) > 0 && seq > e.flight[0].before() {
		e.moved, e.flight[0].sent = now, now
	}
	n := 0
	for n < len(e.flight) && e.flight[n].seq <= seq {
		e.records += uint64(len(e.flight[n].records))
		n++
	}
	if n == 0 {
		return
	}
	e.durable.Store(e.flight[n-1].last)
	e.acked = append(e.acked, e.flight[:n]...)
	e.flight = slices.Delete(e.flight, 0, n)
	e.full = false
	if len(e.flight) == 0 {
		e.unsure = false
	}
	e.waiters.Release(e.durable.Load())
	wake(e.wakeApply)
}

// before is the number of the record before the group's first one.
func (g *group) before() uint64 { return g.seq - uint64(len(g.records)) }

// resolve finds out what the log has of the groups in flight, and appends the
// rest again. It reports whether the log was asked. Acknowledgements may arrive
// meanwhile.
func (e *Engine) resolve() bool {
	e.mu.Lock()
	if len(e.flight) == 0 {
		e.unsure, e.full = false, false
		e.mu.Unlock()
		return true
	}
	before := e.flight[0].before()
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(e.ctx, answerAfter)
	seq, last, err := e.log.Last(ctx)
	cancel()
	if err != nil {
		return false
	}
	switch r, err := decode(last); {
	case seq < before:
		e.fail(fmt.Errorf("%w: the log ends with record %d and had %d", store.ErrCorrupt, seq, before))
		return false
	case err != nil:
		e.fail(err)
		return false
	case r.epoch != e.epoch:
		e.fail(fmt.Errorf("another node owns the log: epoch %d after %d", r.epoch, e.epoch))
		return false
	}
	if seq == before { // it has none of them, and may refuse them again
		e.pause(retryAfter)
	}
	e.mu.Lock()
	e.ackedLocked(seq)
	e.unsure = false
	e.attempt++
	attempt, groups := e.attempt, after(e.sentLocked(0), seq)
	e.mu.Unlock()
	e.append(groups, attempt)
	return true
}

// after returns the groups without the records up to a number, which the log
// has of the first of them.
func after(groups []*group, seq uint64) []*group {
	if len(groups) == 0 {
		return nil
	}
	first := *groups[0]
	if begin := first.before(); seq > begin {
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

// apply applies the first group that the log has and the local engine has not,
// and reports whether it did.
func (e *Engine) apply(g *group) bool {
	next := position{seq: g.seq, mark: e.epoch, epoch: e.epoch, group: g.number}
	var number uint64
	for since := time.Now(); ; e.pause(retryAfter) {
		var err error
		if number, err = e.state.store(next, g.payload); err == nil {
			break
		}
		passes := errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrStalled)
		if !passes || e.ending() && time.Since(since) >= patience {
			e.fail(err)
			return false
		}
		if e.ctx.Err() != nil { // pause does not
			time.Sleep(retryAfter)
		}
	}
	e.mu.Lock()
	e.acked = slices.Delete(e.acked, 0, 1)
	e.applied = append(e.applied, g)
	e.mu.Unlock()
	e.local.engine.OnDurable(number, func(err error) {
		if err != nil { // what it has may become what it had: the overlay keeps the group
			e.fail(err)
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.inLocal = max(e.inLocal, g.last)
		e.progressLocked()
		e.dropLocked()
	})
	return true
}

// ending reports whether somebody waits for the engine to end.
func (e *Engine) ending() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing || e.givenUp || e.err != nil
}

// endApplying lets the goroutine that calls waiters end.
func (e *Engine) endApplying() {
	e.mu.Lock()
	e.ended = true
	e.waiters.Fail(store.ErrClosed)
	e.waiters.End()
	e.progressLocked()
	e.mu.Unlock()
}
