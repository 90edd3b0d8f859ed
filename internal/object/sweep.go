package object

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/turn"
)

const (
	// overflow is the fraction (1/overflow) of Config.MaxObjects by which the
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

// sweeper drops idle plain objects from memory, and the lives of idle objects
// that hibernate. Only its goroutine does so. The goroutine owns the idleness
// of objects, except slot.
type sweeper struct {
	host  *Host         // fixed
	kick  chan struct{} // has a token when there are too many objects
	stops atomic.Int64  // plain objects whose OnStop is running or waits for a place

	mu      sync.Mutex
	objects []*Object     // the plain objects in memory, in no order; guarded by mu
	enough  int           // with at most this many objects there is none to drop; guarded by mu
	swept   chan struct{} // closed after the sweeper's next scan; guarded by mu
	// closed when the number of stops is no longer above MaxObjects; guarded by
	// mu
	freed chan struct{}

	dueMu    sync.Mutex // no other lock is taken while it is held
	due      []dueStop  // objects waiting to be stopped, in order; guarded by dueMu
	stopping bool       // a goroutine is stopping them; guarded by dueMu
}

func newSweeper(h *Host) *sweeper {
	return &sweeper{host: h, kick: make(chan struct{}, 1), swept: make(chan struct{}), freed: make(chan struct{})}
}

// add registers a new object with the sweeper.
func (w *sweeper) add(o *Object) {
	w.mu.Lock()
	o.idle.slot = len(w.objects)
	w.objects = append(w.objects, o)
	crowded := w.crowdedLocked(0)
	w.mu.Unlock()
	if crowded {
		w.look()
	}
}

func (w *sweeper) remove(o *Object) {
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
	most := w.host.MaxObjects
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
// what keeps them busy. The error is the cause of ctx, or turn.ErrOverloaded if
// more than MaxObjects objects are being stopped.
func (w *sweeper) room(ctx context.Context) error {
	most := w.host.MaxObjects
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
				return fmt.Errorf(
					"%w: OnStop of more objects than MaxObjects is due and has not returned", turn.ErrOverloaded,
				)
			}
			return nil
		}
	}
}

// run sweeps until the host has ended.
func (w *sweeper) run(ctx context.Context) {
	shortest := min(w.host.EvictAfter, w.host.HibernateAfter)
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
	if most := w.host.MaxObjects; most > 0 && len(all) > most {
		excess = len(all) - most + most/(2*overflow)
	}
	type idler struct {
		o     *Object
		since int64
	}
	var rest []idler
	for _, o := range all {
		if o.leaving.Load() { // even though OnStop makes it look busy
			excess--
			continue
		}
		if o.peers.Occupied() {
			o.hibernate(now)
			continue
		}
		since := o.idleSince(now)
		stopped := o.current.Load() == nil && !o.fresh.Load() // the writes of OnStop are durable
		switch {
		case stopped, now.Sub(since) >= w.host.EvictAfter:
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
	if n := len(w.objects); n > w.host.MaxObjects { // they are busy or being stopped
		w.enough = n + max(n/regrowth, 1)
	}
	close(w.swept)
	w.swept = make(chan struct{})
}

// evict drops an object from memory if it is idle, at once or after it has been
// stopped, and reports whether it does.
func (w *sweeper) evict(o *Object) bool {
	if o.Class.OnStop != nil {
		if life := o.current.Load(); life != nil {
			return o.Gate.Open() && o.stopLater(life)
		}
	}
	ended, retired := o.Retire()
	if retired {
		w.drop(o)
	}
	if ended != nil {
		ended.Over()
	}
	return retired
}

// drop forgets a retired object.
func (w *sweeper) drop(o *Object) {
	w.remove(o)
	o.Class.Forget(o)
}

// stopEnded counts a plain object as no longer being stopped.
func (w *sweeper) stopEnded() {
	if most := int64(w.host.MaxObjects); w.stops.Add(-1) == most {
		w.mu.Lock()
		close(w.freed)
		w.freed = make(chan struct{})
		w.mu.Unlock()
	}
}

// hibernate drops the lives of idle objects whose classes hibernate, except
// plain objects, which sweep looks at.
func (w *sweeper) hibernate() {
	now := time.Now()
	for _, c := range w.host.Classes() {
		if c.Role == Plain || !c.Hibernates {
			continue
		}
		for _, o := range c.Live() {
			o.hibernate(now)
		}
	}
}

// idleSince returns the time since when the object has been idle, as far as the
// sweeper's scans show. Only the sweeper calls it.
func (o *Object) idleSince(now time.Time) time.Time {
	// Read before the check of the turn, so that an event beginning in between
	// counts as busy.
	events := o.TurnStats().Events
	if life := o.current.Load(); life != nil && !life.turn.Idle() {
		o.idle.since = time.Time{} // until a scan finds that it has ended
		return now
	}
	if o.idle.since.IsZero() || events != o.idle.events {
		o.idle.events, o.idle.since = events, now
	}
	return o.idle.since
}
