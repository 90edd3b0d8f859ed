package object

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/turn"
)

const (
	// wakeRetries is how often OnStart is retried for an object that slept
	// before its clients are cut off.
	wakeRetries = 2
	// wakePause is the pause before the first retry. The second waits twice as
	// long.
	wakePause = time.Second
)

// unstartable reports whether the events waiting for the start of the life get
// the error that it ended with. Restarting the life for each of them would take
// as long each time.
func (life *Life) unstartable() bool {
	phase := life.phase.Load()
	return phase == starting || phase == startFailed
}

// started starts the life if this event, which has the turn, is its first.
// OnStart runs in a goroutine of its own, so the event stops waiting for it
// when wait is done or the life ends. If started returns an error, the event
// has ended, or ends when OnStart returns.
func (life *Life) started(wait context.Context, e *turn.Event) error {
	if life.value != nil {
		return nil
	}
	life.phase.CompareAndSwap(unstarted, starting)
	if life.obj.Class.OnStart == nil {
		return life.start(e)
	}
	h := life.obj.host()
	done := make(chan error, 1)
	h.Work.Spawn(func() {
		err := h.Errors.Reset(life.obj.ID, h.Errors.Panic(nil, nil)) // unless start returns
		defer func() { done <- err }()
		e.Own()
		life.pauseBeforeWake()
		err = life.start(e)
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
	case <-life.ctx.Done():
		err = context.Cause(life.ctx)
	}
	e.Orphan()
	h.Work.Spawn(func() {
		if err := <-done; err == nil {
			e.Own()
			_, _ = e.End()
		}
	})
	return err
}

// Begin waits for the turn of a ticket of this life, and starts the life if
// that has not been done. If it fails, again reports whether the life ended
// before the event began, so that the event may be tried in the next life.
func (life *Life) Begin(wait context.Context, ticket turn.Ticket) (e *turn.Event, again bool, err error) {
	if e, err = ticket.Redeem(wait); err != nil {
		return nil, errors.Is(err, ErrReset) && !life.unstartable() || err == errAsleep, err
	}
	if err = life.started(wait, e); err != nil {
		return nil, life.phase.Load() == wakesAgain, err
	}
	return e, false, nil
}

// start runs all steps of the life's start in the event's turn. If it returns
// an error, the event has ended.
func (life *Life) start(e *turn.Event) error {
	o := life.obj
	h, c := o.host(), o.Class
	began := o.Clock()
	if d := h.StartTimeout; d > 0 && c.OnStart != nil {
		h.Work.Add()
		timer := time.AfterFunc(d, func() {
			defer h.Work.Leave()
			_ = life.failStart(fmt.Errorf(
				"dog: OnStart has not returned within %v (Options.StartTimeout): %w", d, context.DeadlineExceeded,
			))
		})
		defer func() {
			if timer.Stop() {
				h.Work.Leave()
			}
		}()
	}
	return life.protect(e, &handling{kind: EventStart, queued: began}, func(ctx context.Context, _ any) error {
		if err := e.Keep(); err != nil {
			return life.failStart(err)
		}
		defer e.Unkeep()
		v, err := c.Build(life)
		if err != nil {
			return life.failStart(err)
		}
		life.rollbackOnError = c.RollbackOnError
		if err := o.peers.Load(); err != nil {
			return life.failStart(err)
		}
		if err := life.Tx.Start(&c.Schema); err != nil {
			return life.failStart(err)
		}
		if c.OnStart != nil {
			if err := c.OnStart(ctx, v); err != nil {
				return life.failStart(err)
			}
		}
		if err := o.peers.Open(); err != nil {
			return life.failStart(err)
		}
		if err := life.settleStart(); err != nil {
			return err
		}
		life.value = v
		o.wakes.Store(0)
		return nil
	})
}

// AwaitStart waits until the error of a failed start may be returned to the
// holder of wait, and returns the error to use, as Object.AwaitOutcome does.
// The error may depend on writes of an earlier life.
func (life *Life) AwaitStart(wait context.Context, err error) error {
	life.end.Lock() // until a reset under way has completed
	v := life.verdict
	life.end.Unlock()
	if v == nil { // the error is about the waiting event
		return err
	}
	if _, known := receive(wait, v.known); !known {
		return context.Cause(wait)
	}
	return life.obj.outcomeError(v.lost, err)
}

// settleStart marks the start as successful, or returns why the life is over:
// OnStart took too long, or the object was aborted.
func (life *Life) settleStart() error {
	life.end.Lock()
	defer life.end.Unlock()
	if life.ended == nil {
		life.phase.Store(isStarted)
		life.obj.traceStart() // before its end can be reported
	}
	return life.ended
}

// failStart ends a life that could not be started. If clients slept with the
// object, they stay open for up to wakeRetries further attempts.
func (life *Life) failStart(cause error) error {
	o := life.obj
	if o.wakes.Load() < wakeRetries && o.peers.Connected(life.generation) {
		_, err := life.resetIn(nil, wakesAgain, cause)
		return err
	}
	return life.Reset(cause)
}

// pauseBeforeWake waits if the start of the previous life failed, to give the
// services that OnStart depends on time to recover.
func (life *Life) pauseBeforeWake() {
	n := life.obj.wakes.Load()
	if n == 0 {
		return
	}
	pause := time.NewTimer(wakePause << (n - 1))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-life.ctx.Done():
	}
}
