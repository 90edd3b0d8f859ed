package dog

import (
	"sync"
	"time"

	"github.com/godurable/dog/internal/turn"
)

const (
	// stopsAtOnce bounds the OnStop that run at a time, and stopPlace how long
	// each of them keeps others from running.
	stopsAtOnce = 64
	stopPlace   = time.Second
)

// stopPlaces are the places of the OnStop that run. Whoever sends takes one;
// hold, or a receive, gives it back.
type stopPlaces chan struct{}

// hold keeps a place that has been taken until free is called, for stopPlace at
// most.
func (p stopPlaces) hold() (free func()) {
	once := sync.OnceFunc(func() { <-p })
	late := time.AfterFunc(stopPlace, once)
	return func() {
		late.Stop()
		once()
	}
}

// dueStop is an idle object that waits for a place to be stopped.
type dueStop struct {
	obj    *object
	inst   *instance
	events uint64 // of the instance: with more it is not idle any more
}

// stopLater has an idle instance stopped, and a plain object dropped from
// memory then. It reports whether that has begun or waits for a place, now or
// before. It waits for nothing.
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
	events := inst.turn.Stats().Events // before the look at the turn
	if !inst.turn.Idle() {
		o.stays()
		return false
	}
	return rt.sweeper.queue(dueStop{o, inst, events})
}

// stopNow begins the stop of an object that leaves, in a place that has been
// taken, if it is idle.
func (o *object) stopNow(inst *instance) bool {
	rt := o.runtime()
	var ticket turn.Ticket
	begins := rt.enterQuietly() == nil // else Shutdown stops it
	if begins {
		if ticket, begins = inst.turn.QueueIdle(turn.Origin{}, inst.kept); !begins {
			rt.leave()
		}
	}
	if !begins {
		<-rt.places
		o.stays()
		return false
	}
	go func() {
		defer rt.leave()
		defer o.stopped() // even when OnStop ends its goroutine
		defer rt.places.hold()()
		o.stop(inst, ticket, StopIdle)
	}()
	return true
}

// stays is for an object that is not stopped after all.
func (o *object) stays() {
	o.leaving.Store(false)
	if o.ns.kind == KindObject {
		o.runtime().sweeper.stopEnded()
	}
}

// stopped is for an object whose OnStop has ended. A plain one is dropped,
// unless the next instance has come.
func (o *object) stopped() {
	if o.ns.kind == KindObject && o.retireAsleep() {
		o.runtime().sweeper.drop(o)
	}
	o.stays()
}

// queue has an object that leaves stopped when there is a place, and reports
// whether it does.
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
		w.rt.spawn(w.stopDue)
	}
	w.rt.leave()
	return true
}

// stopDue stops the objects that wait for a place, those that are still idle.
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
		w.rt.places <- struct{}{} // given back within stopPlace
		if d.inst.turn.Stats().Events != d.events {
			<-w.rt.places
			d.obj.stays()
			continue
		}
		d.obj.stopNow(d.inst)
	}
}
