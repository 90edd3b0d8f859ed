package dog

import (
	"context"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/turn"
)

const (
	// wakeRetries is how often OnStart is retried for an object that slept
	// before its sockets are closed.
	wakeRetries = 2
	// wakePause is the pause before the first retry. The second waits twice as
	// long.
	wakePause = time.Second
)

// unstartable reports whether the events waiting for the start of the instance
// get the error that it ended with. Restarting the instance for each of them
// would take as long each time.
func (inst *instance) unstartable() bool {
	phase := inst.phase.Load()
	return phase == starting || phase == startFailed
}

// started starts the instance if this event, which has the turn, is its first.
// OnStart runs in a goroutine of its own, so the event stops waiting for it
// when wait is done or the instance ends. If started returns an error, the
// event has ended, or ends when OnStart returns.
func (inst *instance) started(wait context.Context, e *turn.Event) error {
	if inst.value != nil {
		return nil
	}
	inst.phase.CompareAndSwap(unstarted, starting)
	if !inst.obj.ns.starts {
		return inst.start(e)
	}
	rt := inst.obj.runtime()
	done := make(chan error, 1)
	rt.work.Spawn(func() {
		var err error = &ResetError{Object: inst.obj.id, Cause: &PanicError{}} // unless start returns
		defer func() { done <- err }()
		e.Own()
		inst.pauseBeforeWake()
		err = inst.start(e)
	})
	var err error
	select {
	case err = <-done:
		if err == nil {
			e.Own()
		}
		return err
	case <-wait.Done():
		err = context.Cause(wait)
	case <-inst.life.Done():
		err = context.Cause(inst.life)
	}
	e.Orphan()
	rt.work.Spawn(func() {
		if err := <-done; err == nil {
			e.Own()
			_, _ = e.End()
		}
	})
	return err
}

// start runs all steps of the instance's start in the event's turn. If it
// returns an error, the event has ended.
func (inst *instance) start(e *turn.Event) error {
	rt, ns := inst.obj.runtime(), inst.obj.ns
	began := inst.obj.trace().clock()
	if d := rt.opts.StartTimeout; d > 0 && ns.starts {
		rt.work.Add()
		timer := time.AfterFunc(d, func() {
			defer rt.work.Leave()
			_ = inst.failStart(fmt.Errorf("dog: OnStart has not returned within %v (Options.StartTimeout): %w", d, context.DeadlineExceeded))
		})
		defer func() {
			if timer.Stop() {
				rt.work.Leave()
			}
		}()
	}
	return inst.protect(e, EventStart, "", began, false, func(ctx context.Context, _ any) error {
		if err := e.Keep(); err != nil {
			return inst.failStart(err)
		}
		defer e.Unkeep()
		v, err := ns.build(inst)
		if err != nil {
			return inst.failStart(err)
		}
		if err := inst.storage.start(ns); err != nil {
			return inst.failStart(err)
		}
		if s, ok := v.(Starter); ok {
			if err := s.OnStart(ctx); err != nil {
				return inst.failStart(err)
			}
		}
		if b := inst.obj.group; b != nil { // from here on the group admits clients
			if err := b.open(); err != nil {
				return inst.failStart(err)
			}
		}
		if err := inst.settleStart(); err != nil {
			return err
		}
		inst.value = v
		inst.obj.wakes.Store(0)
		return nil
	})
}

// awaitStartOutcome waits until the error of a failed start may be returned to
// the holder of wait, and returns the error to use, as object.awaitOutcome
// does. The error may depend on writes of an earlier life.
func (inst *instance) awaitStartOutcome(wait context.Context, err error) error {
	inst.end.Lock() // until a reset under way has completed
	v := inst.verdict
	inst.end.Unlock()
	if v == nil { // the error is about the waiting event
		return err
	}
	select {
	case <-v.known:
	case <-wait.Done():
		select {
		case <-v.known: // by now, so it counts
		default:
			return context.Cause(wait)
		}
	}
	return inst.obj.outcomeError(v.lost, err)
}

// settleStart marks the start as successful, or returns why the instance is
// over: OnStart took too long, or the object was aborted.
func (inst *instance) settleStart() error {
	inst.end.Lock()
	defer inst.end.Unlock()
	if inst.ended == nil {
		inst.phase.Store(isStarted)
		inst.obj.trace().objectStarted(inst.obj) // before its end can be reported
	}
	return inst.ended
}

// failStart ends an instance that could not be started. If sockets slept with
// the object, they stay open for up to wakeRetries further attempts.
func (inst *instance) failStart(cause error) error {
	o := inst.obj
	if o.wakes.Load() < wakeRetries && o.hasSocketsOf(inst) {
		_, err := inst.resetIn(nil, wakesAgain, cause)
		return err
	}
	return inst.reset(cause)
}

// pauseBeforeWake waits if the start of the previous instance failed, to give
// the services that OnStart depends on time to recover.
func (inst *instance) pauseBeforeWake() {
	n := inst.obj.wakes.Load()
	if n == 0 {
		return
	}
	pause := time.NewTimer(wakePause << (n - 1))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-inst.life.Done():
	}
}
