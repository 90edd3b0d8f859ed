package object

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

// StopReason is the reason for a stop.
type StopReason int

// The reasons for a stop.
const (
	StopIdle StopReason = iota + 1
	StopShutdown
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
	obj    *Object
	life   *Life
	events uint64 // event count of the life; if it has grown, the object is not idle
}

// stopLater arranges for an idle life to be stopped, and for a plain object to
// be dropped from memory after that. It reports whether the stop has begun or
// waits for a place, including one that was arranged before. It does not block.
func (o *Object) stopLater(life *Life) bool {
	h := o.host()
	if !o.leaving.CompareAndSwap(false, true) {
		return true
	}
	if o.Class.Role == Plain {
		h.sweeper.stops.Add(1)
	}
	select {
	case h.places <- struct{}{}:
		return o.stopNow(life)
	default:
	}
	events := life.turn.Stats().Events // read before the check of the turn
	if !life.turn.Idle() {
		o.stays()
		return false
	}
	return h.sweeper.queue(dueStop{o, life, events})
}

// stopNow begins to stop a leaving object if it is idle. The caller has taken a
// place for it.
func (o *Object) stopNow(life *Life) bool {
	h := o.host()
	var ticket turn.Ticket
	begins := h.enterQuietly() == nil // otherwise Shutdown stops it
	if begins {
		if ticket, begins = life.turn.QueueIdle(turn.Origin{}, life.kept); !begins {
			h.Work.Leave()
		}
	}
	if !begins {
		<-h.places
		o.stays()
		return false
	}
	go func() {
		defer h.Work.Leave()
		defer o.stopped() // even if OnStop exits its goroutine
		defer h.places.hold()()
		o.stop(life, ticket, StopIdle)
	}()
	return true
}

// stays marks an object as staying, because it is not stopped or its stop is
// over.
func (o *Object) stays() {
	o.leaving.Store(false)
	if o.Class.Role == Plain {
		o.host().sweeper.stopEnded()
	}
}

// stopped runs after OnStop has returned. A plain object is dropped, unless it
// has a new life.
func (o *Object) stopped() {
	if o.Class.Role == Plain && o.retireAsleep() {
		o.host().sweeper.drop(o)
	}
	o.stays()
}

// queue arranges for a leaving object to be stopped when there is a place, and
// reports whether it did.
func (w *sweeper) queue(d dueStop) bool {
	if w.host.enterQuietly() != nil { // Shutdown stops it
		d.obj.stays()
		return false
	}
	w.dueMu.Lock()
	w.due = append(w.due, d)
	begins := !w.stopping
	w.stopping = true
	w.dueMu.Unlock()
	if begins {
		w.host.Work.Spawn(w.stopDue)
	}
	w.host.Work.Leave()
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
		w.host.places <- struct{}{} // freed within stopPlace
		if d.life.turn.Stats().Events != d.events {
			<-w.host.places
			d.obj.stays()
			continue
		}
		d.obj.stopNow(d.life)
	}
}

// hibernate drops the life if its type hibernates and it has been idle for long
// enough. Only the sweeper calls it.
func (o *Object) hibernate(now time.Time) {
	life := o.current.Load()
	if now.Sub(o.idleSince(now)) < o.host().HibernateAfter || life == nil || !o.Class.Hibernates {
		return
	}
	if o.Class.OnStop != nil {
		o.stopLater(life)
		return
	}
	o.mu.Lock()
	asleep := o.current.Load() == life && life.turn.CloseIdle(errAsleep, life.kept)
	if asleep {
		o.sleepLocked(life)
	}
	o.mu.Unlock()
	if asleep {
		life.Over()
	}
}

// stop runs OnStop as the last event of a life, in the turn that the ticket
// has taken, and ends the life.
func (o *Object) stop(life *Life, ticket turn.Ticket, reason StopReason) {
	began := o.Clock()
	e, err := ticket.Redeem(o.host().Ctx) // does not wait
	if err != nil {
		return
	}
	if life.value != nil { // otherwise there is no object to call OnStop on
		if e.Keep() != nil {
			_, _ = e.End()
			return
		}
		err = life.protect(e, &handling{kind: EventStop, queued: began}, func(ctx context.Context, v any) error {
			defer e.Unkeep()
			return o.Class.OnStop(ctx, v, reason)
		})
		o.Report(EventStop, err)
		if e.Usable() != nil {
			return // it has been reset, which ended the event
		}
	}
	o.mu.Lock()
	closed := life.turn.Close(errAsleep) == nil // false: it has just been reset
	if closed {
		o.sleepLocked(life) // events waiting for a turn find the next life
	}
	o.mu.Unlock()
	_, _ = e.End()
	if closed {
		life.Over()
	}
}
