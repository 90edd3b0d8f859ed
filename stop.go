package dog

import (
	"context"
	"sync"
	"time"

	"github.com/godurable/dog/internal/turn"
)

const (
	// stopsAtOnce is the number of places for running OnStop handlers. A
	// handler that runs for longer than stopPlace loses its place, so that it
	// no longer keeps others from running.
	stopsAtOnce = 64
	stopPlace   = time.Second
)

// stopPlaces holds the places of running OnStop handlers. A send takes a place.
// A receive, or the function that hold returns, frees it.
type stopPlaces chan struct{}

// hold keeps a place that has been taken until free is called, but no longer
// than stopPlace.
func (p stopPlaces) hold() (free func()) {
	once := sync.OnceFunc(func() { <-p })
	late := time.AfterFunc(stopPlace, once)
	return func() {
		late.Stop()
		once()
	}
}

// dueStop is an idle object waiting for a place to be stopped.
type dueStop struct {
	obj    *object
	inst   *instance
	events uint64 // event count of the instance; if it has grown, the object is not idle
}

// stopLater arranges for an idle instance to be stopped, and for a plain object
// to be dropped from memory after that. It reports whether the stop has begun
// or waits for a place, including one that was arranged before. It does not
// block.
func (o *object) stopLater(inst *instance) bool {
	rt := o.runtime()
	if !o.leaving.CompareAndSwap(false, true) {
		return true
	}
	plain := o.ns.kind == KindObject
	if plain {
		rt.sweeper.stops.Add(1)
	}
	select {
	case rt.places <- struct{}{}:
		return o.stopNow(inst)
	default:
	}
	events := inst.turn.Stats().Events // read before the check of the turn
	if !inst.turn.Idle() {
		o.stays()
		return false
	}
	return rt.sweeper.queue(dueStop{o, inst, events})
}

// stopNow begins to stop a leaving object if it is idle. The caller has taken a
// place for it.
func (o *object) stopNow(inst *instance) bool {
	rt := o.runtime()
	var ticket turn.Ticket
	begins := rt.enterQuietly() == nil // otherwise Shutdown stops it
	if begins {
		if ticket, begins = inst.turn.QueueIdle(turn.Origin{}, inst.kept); !begins {
			rt.work.Leave()
		}
	}
	if !begins {
		<-rt.places
		o.stays()
		return false
	}
	go func() {
		defer rt.work.Leave()
		defer o.stopped() // even if OnStop exits its goroutine
		defer rt.places.hold()()
		o.stop(inst, ticket, StopIdle)
	}()
	return true
}

// stays marks an object as staying, because it is not stopped or its stop is
// over.
func (o *object) stays() {
	o.leaving.Store(false)
	if o.ns.kind == KindObject {
		o.runtime().sweeper.stopEnded()
	}
}

// stopped runs after OnStop has returned. A plain object is dropped, unless it
// has a new instance.
func (o *object) stopped() {
	if o.ns.kind == KindObject && o.retireAsleep() {
		o.runtime().sweeper.drop(o)
	}
	o.stays()
}

// queue arranges for a leaving object to be stopped when there is a place, and
// reports whether it did.
func (w *sweeper) queue(d dueStop) bool {
	if w.rt.enterQuietly() != nil { // Shutdown stops it
		d.obj.stays()
		return false
	}
	w.dueMu.Lock()
	w.due = append(w.due, d)
	begins := !w.stopping
	w.stopping = true
	w.dueMu.Unlock()
	if begins {
		w.rt.work.Spawn(w.stopDue)
	}
	w.rt.work.Leave()
	return true
}

// stopDue stops the objects waiting for a place that are still idle.
func (w *sweeper) stopDue() {
	for {
		w.dueMu.Lock()
		if len(w.due) == 0 {
			w.due, w.stopping = nil, false
			w.dueMu.Unlock()
			return
		}
		d := w.due[0]
		w.due[0] = dueStop{}
		w.due = w.due[1:]
		w.dueMu.Unlock()
		w.rt.places <- struct{}{} // freed within stopPlace
		if d.inst.turn.Stats().Events != d.events {
			<-w.rt.places
			d.obj.stays()
			continue
		}
		d.obj.stopNow(d.inst)
	}
}

// hibernate drops the instance if its type hibernates and it has been idle for
// long enough. Only the sweeper calls it.
func (o *object) hibernate(now time.Time) {
	inst := o.current.Load()
	if now.Sub(o.idleSince(now)) < o.runtime().opts.HibernateAfter || inst == nil || !o.ns.hibernates {
		return
	}
	if o.ns.stops {
		o.stopLater(inst)
		return
	}
	o.mu.Lock()
	asleep := o.current.Load() == inst && inst.turn.CloseIdle(errAsleep, inst.kept)
	if asleep {
		o.sleepLocked(inst)
	}
	o.mu.Unlock()
	if asleep {
		inst.over()
	}
}

// stop runs OnStop as the last event of an instance, in the turn that the
// ticket has taken, and ends the instance.
func (o *object) stop(inst *instance, ticket turn.Ticket, reason StopReason) {
	began := o.trace().clock()
	e, err := ticket.Redeem(o.runtime().ctx) // does not wait
	if err != nil {
		return
	}
	if inst.value != nil { // otherwise there is no object to call OnStop on
		if e.Keep() != nil {
			_, _ = e.End()
			return
		}
		err = inst.protect(e, EventStop, "", began, false, func(ctx context.Context, v any) error {
			defer e.Unkeep()
			return v.(Stopper).OnStop(ctx, reason)
		})
		o.report(EventStop, err)
		if e.Usable() != nil {
			return // it has been reset, which ended the event
		}
	}
	o.mu.Lock()
	closed := inst.turn.Close(errAsleep) == nil // false: it has just been reset
	if closed {
		o.sleepLocked(inst) // events waiting for a turn find the next instance
	}
	o.mu.Unlock()
	_, _ = e.End()
	if closed {
		inst.over()
	}
}
