package dog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// StopReason says why an object is dropped from memory.
type StopReason int

// The reasons.
const (
	StopIdle     StopReason = iota + 1 // nothing has happened for a while, or there are too many objects
	StopShutdown                       // the runtime shuts down
)

func (r StopReason) String() string {
	switch r {
	case StopIdle:
		return "idle"
	case StopShutdown:
		return "shutdown"
	}
	return fmt.Sprintf("StopReason(%d)", int(r))
}

// idleness is what the sweeper knows of an object.
type idleness struct {
	slot   int // in sweeper.objects. guarded by sweeper.mu
	events uint64
	since  time.Time // nothing has happened since
}

// sweeper drops idle plain objects from memory, and the instances of idle groups and replicas that hibernate.
type sweeper struct {
	rt   *Runtime      // fixed
	kick chan struct{} // has a token when there are too many objects

	pass sync.Mutex // held during a pass; owns the idleness of objects but slot. taken before all others

	mu      sync.Mutex
	objects []*object // the plain ones in memory, in no order. guarded by mu
}

// overflow is by which part of Options.MaxObjects their number may exceed it before whoever makes one more has to help.
const overflow = 8

func newSweeper(rt *Runtime) *sweeper { return &sweeper{rt: rt, kick: make(chan struct{}, 1)} }

// add takes a new object under care.
func (w *sweeper) add(o *object) {
	w.mu.Lock()
	o.idle.slot = len(w.objects)
	w.objects = append(w.objects, o)
	n := len(w.objects)
	w.mu.Unlock()
	most := w.rt.opts.MaxObjects
	switch {
	case most <= 0 || n <= most:
	case n > most+most/overflow:
		w.sweep(o)
	default:
		select {
		case w.kick <- struct{}{}:
		default:
		}
	}
}

func (w *sweeper) remove(o *object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := len(w.objects) - 1
	moved := w.objects[last]
	w.objects[o.idle.slot], moved.idle.slot = moved, o.idle.slot
	w.objects[last] = nil
	w.objects = w.objects[:last]
}

func (w *sweeper) all() []*object {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.objects)
}

// run sweeps until the runtime has ended.
func (w *sweeper) run(ctx context.Context) {
	shortest := min(w.rt.opts.EvictAfter, w.rt.opts.HibernateAfter)
	ticker := time.NewTicker(min(max(shortest/4, 10*time.Millisecond), time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.hibernate()
		case <-w.kick:
		}
		w.sweep(nil)
	}
}

// sweep drops the plain objects that have been idle for long enough, and more when there are too many. It spares one, which has
// just been made for an event that is to come; nil for none.
func (w *sweeper) sweep(spared *object) {
	w.pass.Lock()
	defer w.pass.Unlock()
	all, now := w.all(), time.Now()
	excess := 0
	if most := w.rt.opts.MaxObjects; most > 0 && len(all) > most {
		excess = len(all) - most + most/(2*overflow)
	}
	var rest []*object
	for _, o := range all {
		if o.goes() { // though OnStop has made it look busy
			excess--
			continue
		}
		if idle := o.idleSince(now); now.Sub(idle) >= w.rt.opts.EvictAfter {
			if w.evict(o) {
				excess--
			}
		} else if excess > 0 && o != spared {
			rest = append(rest, o)
		}
	}
	if excess <= 0 {
		return
	}
	slices.SortFunc(rest, func(a, b *object) int { return cmp.Compare(a.idle.since.UnixNano(), b.idle.since.UnixNano()) })
	for _, o := range rest {
		if excess <= 0 {
			return
		}
		if w.evict(o) {
			excess--
		}
	}
}

// evict drops an object from memory if nothing goes on there, now or when it has stopped, and reports whether it does.
func (w *sweeper) evict(o *object) bool {
	if !o.retire() {
		return o.goes()
	}
	w.drop(o)
	return true
}

// goes reports whether the object has been retired, or will be when OnStop has returned.
func (o *object) goes() bool {
	if o.leaving.Load() {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.retired
}

// drop forgets an object that has been retired.
func (w *sweeper) drop(o *object) {
	w.remove(o)
	o.ns.forget(o)
	o.trace().objectStopped(o, nil)
}

// hibernate drops the instances of idle groups and replicas that may be dropped.
func (w *sweeper) hibernate() {
	w.pass.Lock()
	defer w.pass.Unlock()
	now := time.Now()
	for _, b := range w.rt.groups() {
		for _, m := range b.members() {
			m.obj.hibernate(now)
		}
		b.group.hibernate(now)
	}
}

// idleSince returns since when nothing has happened, as far as the sweeper has looked. The caller must hold sweeper.pass.
func (o *object) idleSince(now time.Time) time.Time {
	if events := o.turnStats().Events; o.idle.since.IsZero() || events != o.idle.events {
		o.idle.events, o.idle.since = events, now
	}
	return o.idle.since
}

// hibernate drops the instance if its type hibernates and it has been idle for long enough. The caller must hold sweeper.pass.
func (o *object) hibernate(now time.Time) {
	inst := o.current.Load()
	if now.Sub(o.idleSince(now)) < o.runtime().opts.HibernateAfter || inst == nil || !inst.hibernates.Load() {
		return
	}
	if o.ns.stops {
		o.stopLater(inst)
		return
	}
	o.mu.Lock()
	asleep := o.current.Load() == inst && inst.turn.CloseIdle(errAsleep)
	if asleep {
		o.endLocked(inst)
	}
	o.mu.Unlock()
	if asleep {
		inst.over()
	}
}

// over releases what an instance that has ended in good order held.
func (inst *instance) over() {
	inst.stop(errAsleep)
	inst.storage.release()
	inst.obj.trace().objectStopped(inst.obj, nil)
}

// stopLater has the instance stopped soon, and a plain object dropped from memory then.
func (o *object) stopLater(inst *instance) {
	rt := o.runtime()
	if !o.leaving.CompareAndSwap(false, true) {
		return
	}
	if rt.enter() != nil { // Shutdown stops it
		o.leaving.Store(false)
		return
	}
	go func() {
		defer rt.leave()
		defer o.leaving.Store(false)
		o.stop(inst, StopIdle)
		if o.ns.kind == KindObject && o.retireAsleep() {
			rt.sweeper.drop(o)
		}
	}()
}

// stop runs OnStop as the last event of the instance, and ends it, unless something else goes on there.
func (o *object) stop(inst *instance, reason StopReason) {
	rt := o.runtime()
	began := o.trace().clock()
	ticket, err := inst.turn.Queue(turn.Origin{})
	if err != nil {
		return // it is over already
	}
	e, err := ticket.Redeem(rt.ctx)
	if err != nil {
		return
	}
	started := inst.value != nil // else there is nobody to tell
	if !e.Alone() || (started && e.Keep() != nil) {
		_, _ = e.End()
		return
	}
	if started {
		err = inst.protect(e, EventStop, "", began, false, func(ctx context.Context, v any) error {
			defer e.Unkeep()
			return v.(Stopper).OnStop(ctx, reason)
		})
		o.report(EventStop, err)
		if e.Usable() != nil {
			return // it has been reset, with which the event has ended
		}
	}
	o.mu.Lock()
	closed := inst.turn.Close(errAsleep) == nil // else it has just been reset
	if closed {
		o.endLocked(inst) // who waits for a turn finds the next instance
	}
	o.mu.Unlock()
	_, _ = e.End()
	if closed {
		inst.over()
	}
}

// stopObjects tells every object that the runtime shuts down.
func (rt *Runtime) stopObjects() {
	const atOnce = 64
	var all sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for _, o := range rt.objects() {
		inst := o.current.Load()
		if inst == nil || !o.ns.stops {
			continue
		}
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			o.stop(inst, StopShutdown)
		})
	}
	all.Wait()
}
