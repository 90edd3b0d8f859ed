package dog

import (
	"context"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// StopReason is the reason why an object is dropped from memory.
type StopReason int

// The stop reasons.
const (
	StopIdle     StopReason = iota + 1 // the object was idle for a while, or there are too many objects
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

// over releases the resources of an instance that has ended normally.
func (inst *instance) over() {
	inst.stop(errAsleep)
	inst.timers.end()
	inst.storage.tx.Release()
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
