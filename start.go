package dog

import (
	"context"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// The phases of an instance's start. What ends starting is guarded by
// instance.end.
const (
	unstarted   int32 = iota
	starting          // OnStart runs, or is about to
	isStarted         // started
	startFailed       // all that waited for the start get its error
	wakesAgain        // it failed, but the sockets stay and the next instance tries again
)

const (
	// wakeRetries is how often the OnStart of a replica that slept is tried
	// again before its sockets are closed.
	wakeRetries = 2
	// wakePause is what comes before the first time, and half of what comes
	// before the second.
	wakePause = time.Second
)

// unstartable reports whether those who waited for the start of the instance
// get the error with which it has ended: to start anew for each of them would
// take as long each time.
func (inst *instance) unstartable() bool {
	phase := inst.phase.Load()
	return phase == starting || phase == startFailed
}

// started starts the instance if this is its first event, which has the turn.
// Where OnStart runs it has a goroutine of its own, so that the event waits for
// it no longer than wait lasts, or the instance. An error has ended the event,
// now or when OnStart returns.
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
	rt.spawn(func() {
		var err error = &ResetError{Object: inst.obj.id, Cause: &PanicError{}} // unless it returns
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
	rt.spawn(func() {
		if err := <-done; err == nil {
			e.Own()
			_, _ = e.End()
		}
	})
	return err
}

// start runs everything that starts the instance, in the event's turn. An error
// has ended the event.
func (inst *instance) start(e *turn.Event) error {
	rt, ns := inst.obj.runtime(), inst.obj.ns
	began := inst.obj.trace().clock()
	if d := rt.opts.StartTimeout; d > 0 && ns.starts {
		rt.busy.Add(1)
		timer := time.AfterFunc(d, func() {
			defer rt.leave()
			_ = inst.failStart(fmt.Errorf("dog: OnStart has not returned within %v (Options.StartTimeout): %w", d, context.DeadlineExceeded))
		})
		defer func() {
			if timer.Stop() {
				rt.leave()
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
		if b := inst.obj.books; b != nil { // from here on the group admits
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

// toldStart returns when the error with which a start has failed may be told to
// the holder of wait, and what to tell, as object.told does: it may be about
// what an earlier life has stored.
func (inst *instance) toldStart(wait context.Context, err error) error {
	inst.end.Lock() // until the reset under way has come to its end
	v := inst.verdict
	inst.end.Unlock()
	if v == nil { // it is about the one who waits
		return err
	}
	select {
	case <-v.known:
	case <-wait.Done():
		return context.Cause(wait)
	}
	return inst.obj.toTell(v.lost, err)
}

// settleStart ends the start in success, or returns why the instance is over:
// OnStart took too long, or somebody has aborted it.
func (inst *instance) settleStart() error {
	inst.end.Lock()
	defer inst.end.Unlock()
	if inst.ended == nil {
		inst.phase.Store(isStarted)
		inst.obj.trace().objectStarted(inst.obj) // before its end can be told of
	}
	return inst.ended
}

// failStart ends an instance that could not be started. When sockets have slept
// here, they stay for another try or two.
func (inst *instance) failStart(cause error) error {
	o := inst.obj
	if o.wakes.Load() < wakeRetries && o.hasSocketsOf(inst) {
		_, err := inst.resetIn(nil, wakesAgain, cause)
		return err
	}
	return inst.reset(cause)
}

// pauseBeforeWake waits if the start of the instance before has failed, so that
// what it needs has time to come back.
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
