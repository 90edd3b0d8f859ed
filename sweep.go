package dog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// overflow is the fraction (1/overflow) of Options.MaxObjects by which the
	// number of objects may exceed it before the goroutine creating an object
	// waits for the sweeper.
	overflow = 8
	// regrowth is the fraction (1/regrowth) of the objects that has to be new
	// before the sweeper, having found all of them busy, scans all of them
	// again between ticks of its clock. It keeps the cost of a new object
	// independent of the number of objects.
	regrowth = 16
	// roomWait is the longest time that a goroutine creating an object waits
	// for room.
	roomWait = 5 * time.Second
)

// idleness is the sweeper's record of an object.
type idleness struct {
	slot   int // index in sweeper.objects; guarded by sweeper.mu
	events uint64
	since  time.Time // idle since then; zero: it was busy
}

// sweeper drops idle plain objects from memory, and the instances of idle
// groups and replicas that hibernate. Only its goroutine does so. The goroutine
// owns the idleness of objects, except slot.
type sweeper struct {
	rt    *Runtime      // fixed
	kick  chan struct{} // has a token when there are too many objects
	stops atomic.Int64  // plain objects whose OnStop is running or waits for a place

	mu      sync.Mutex
	objects []*object     // the plain objects in memory, in no order; guarded by mu
	enough  int           // with at most this many objects there is none to drop; guarded by mu
	swept   chan struct{} // closed after the sweeper's next scan; guarded by mu
	// closed when the number of stops is no longer above MaxObjects; guarded by
	// mu
	freed chan struct{}

	dueMu    sync.Mutex // no other lock is taken while it is held
	due      []dueStop  // objects waiting to be stopped, in order; guarded by dueMu
	stopping bool       // a goroutine is stopping them; guarded by dueMu
}

func newSweeper(rt *Runtime) *sweeper {
	return &sweeper{rt: rt, kick: make(chan struct{}, 1), swept: make(chan struct{}), freed: make(chan struct{})}
}

// add registers a new object with the sweeper.
func (w *sweeper) add(o *object) {
	w.mu.Lock()
	o.idle.slot = len(w.objects)
	w.objects = append(w.objects, o)
	crowded := w.crowdedLocked(0)
	w.mu.Unlock()
	if crowded {
		w.look()
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

// crowdedLocked reports whether there are more than MaxObjects plus further
// objects, and there may be some that can be dropped. The caller must hold mu.
func (w *sweeper) crowdedLocked(further int) bool {
	most := w.rt.opts.MaxObjects
	return most > 0 && len(w.objects) > most+further && len(w.objects) > w.enough
}

// look wakes the sweeper for a scan.
func (w *sweeper) look() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// room waits until an object may be created. It waits while the sweeper is
// behind. It does not wait for busy objects, since the waiting goroutine may be
// what keeps them busy. The error is the cause of ctx, or ErrOverloaded if more
// than MaxObjects objects are being stopped.
func (w *sweeper) room(ctx context.Context) error {
	most := w.rt.opts.MaxObjects
	var up <-chan time.Time
	for {
		w.mu.Lock()
		crowded, free := w.crowdedLocked(most/overflow), w.swept
		stuck := most > 0 && w.stops.Load() > int64(most)
		if stuck {
			free = w.freed
		}
		w.mu.Unlock()
		switch {
		case stuck:
		case crowded:
			w.look()
		default:
			return nil
		}
		if up == nil {
			timer := time.NewTimer(roomWait)
			defer timer.Stop()
			up = timer.C
		}
		select {
		case <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-up:
			if stuck {
				return fmt.Errorf("%w: OnStop of more objects than MaxObjects is due and has not returned", ErrOverloaded)
			}
			return nil
		}
	}
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
		w.sweep()
	}
}

// sweep drops the objects that have been idle for long enough. If there are too
// many objects, it drops more, beginning with those idle for the longest time.
func (w *sweeper) sweep() {
	w.mu.Lock()
	all := slices.Clone(w.objects)
	w.mu.Unlock()
	now, excess := time.Now(), 0
	if most := w.rt.opts.MaxObjects; most > 0 && len(all) > most {
		excess = len(all) - most + most/(2*overflow)
	}
	type idler struct {
		o     *object
		since int64
	}
	var rest []idler
	for _, o := range all {
		if o.leaving.Load() { // even though OnStop makes it look busy
			excess--
			continue
		}
		if o.occupied() {
			o.hibernate(now)
			continue
		}
		since := o.idleSince(now)
		stopped := o.current.Load() == nil && !o.fresh.Load() // the writes of OnStop are durable
		switch {
		case stopped, now.Sub(since) >= w.rt.opts.EvictAfter:
			if w.evict(o) {
				excess--
			}
		case excess > 0 && !o.fresh.Load():
			rest = append(rest, idler{o, since.UnixNano()})
		}
	}
	if excess > 0 {
		slices.SortFunc(rest, func(a, b idler) int { return cmp.Compare(a.since, b.since) })
		for _, r := range rest {
			if excess <= 0 {
				break
			}
			if w.evict(r.o) {
				excess--
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enough = 0
	if n := len(w.objects); n > w.rt.opts.MaxObjects { // they are busy or being stopped
		w.enough = n + max(n/regrowth, 1)
	}
	close(w.swept)
	w.swept = make(chan struct{})
}

// evict drops an object from memory if it is idle, at once or after it has been
// stopped, and reports whether it does.
func (w *sweeper) evict(o *object) bool {
	if o.ns.stops {
		if inst := o.current.Load(); inst != nil {
			return o.gate.Open() && o.stopLater(inst)
		}
	}
	ended, retired := o.retire()
	if retired {
		w.drop(o)
	}
	if ended != nil {
		ended.over()
	}
	return retired
}

// drop forgets a retired object.
func (w *sweeper) drop(o *object) {
	w.remove(o)
	o.ns.forget(o)
}

// stopEnded counts a plain object as no longer being stopped.
func (w *sweeper) stopEnded() {
	if most := int64(w.rt.opts.MaxObjects); w.stops.Add(-1) == most {
		w.mu.Lock()
		close(w.freed)
		w.freed = make(chan struct{})
		w.mu.Unlock()
	}
}

// hibernate drops the instances of idle groups and replicas whose types
// hibernate.
func (w *sweeper) hibernate() {
	now := time.Now()
	for _, b := range w.rt.groups() {
		for _, m := range b.members() {
			m.obj.hibernate(now)
		}
		b.obj.hibernate(now)
	}
}

// idleSince returns the time since when the object has been idle, as far as the
// sweeper's scans show. Only the sweeper calls it.
func (o *object) idleSince(now time.Time) time.Time {
	// Read before the check of the turn, so that an event beginning in between
	// counts as busy.
	events := o.turnStats().Events
	if inst := o.current.Load(); inst != nil && !inst.turn.Idle() {
		o.idle.since = time.Time{} // until a scan finds that it has ended
		return now
	}
	if o.idle.since.IsZero() || events != o.idle.events {
		o.idle.events, o.idle.since = events, now
	}
	return o.idle.since
}
