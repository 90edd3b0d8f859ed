package object

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/hookqueue"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// A Life is one life of an object, from its start to its reset, hibernation or
// retirement.
type Life struct {
	// fixed
	obj        *Object
	generation uint64          // number of resets before it: clients survive a hibernation, not a reset
	ctx        context.Context // context of its handlers; done when the life ends
	cancel     context.CancelCauseFunc

	phase           atomic.Int32 // of the start
	rollbackOnError bool         // set by start; owned by the turn

	turn   turn.Lock
	timers timers
	Tx     tx.Tx // what the object stores. owned by the turn
	value  any   // the user's object; nil until started; owned by the turn

	counted bool // what Tx counts began after the counting of events; owned by the turn

	// end makes a reset come before or after a commit, never between the
	// decision to commit and the commit. It is locked by the holder of the turn
	// while a transaction begins or is passed to the engine, and by a reset. It
	// is locked before Object.mu and before all locks of gates and peers.
	end     sync.Mutex
	ended   error    // why the life is over; guarded by end
	verdict *verdict // set together with ended; guarded by end
}

// The phases of a life's start. The change from starting to another phase is
// guarded by Life.end.
const (
	unstarted   int32 = iota
	starting          // OnStart is running or about to run
	isStarted         // started
	startFailed       // all events waiting for the start get its error
	wakesAgain        // the start failed, but the clients stay and the next life tries again
)

// Work is the function that an event of an object runs with the user's value.
type Work = func(ctx context.Context, v any) error

// A verdict is the outcome of an object's writes before its reset, for the
// callers that get the reason of the reset.
type verdict struct {
	known chan struct{} // closed when lost is set
	lost  error         // the argument that the gate passes to a send function
}

func newLife(o *Object, generation uint64) *Life {
	life := &Life{obj: o, generation: generation, counted: o.events.on.Load()}
	life.turn.Owner = life
	life.turn.Strict = o.strict
	life.Tx.Owner, life.Tx.Keeper = (*txOwner)(life), o.peers.Keeper()
	life.ctx, life.cancel = context.WithCancelCause(o.host().Ctx)
	life.turn.Life = life.ctx
	return life
}

// LifeOf returns the life in which an event runs.
func LifeOf(e *turn.Event) *Life { return e.Owner().(*Life) }

// Object returns the object.
func (life *Life) Object() *Object { return life.obj }

// Generation returns the number of resets before this life.
func (life *Life) Generation() uint64 { return life.generation }

// Context returns the context of the handlers. It is done when the life ends.
func (life *Life) Context() context.Context { return life.ctx }

// Run runs a handler in the event's turn and ends the event. queued is when the
// event was queued, by the host's clock. starter is that of [EventInfo].
func (life *Life) Run(e *turn.Event, kind EventKind, queued time.Time, starter context.Context, handle Work) error {
	return life.protect(e, &handling{kind: kind, queued: queued, ends: true, starter: starter}, handle)
}

// A handling is how an event of an object runs a handler. The handler is not a
// field of it: its closure would escape to the heap, since the hook of
// eventDone has other fields.
type handling struct {
	kind   EventKind
	method string          // of a call, otherwise ""
	caller context.Context // the handler's context ends when this one ends, too; nil: only with the life
	queued time.Time       // by the host's clock
	ends   bool            // the event ends with the handler

	answers bool         // somebody waits for the outcome
	outcome <-chan error // see [gate.Gate.Outcome]; set when the handler has returned

	// for hooks
	starter context.Context // see EventInfo
	from    *Object         // see EventInfo; set before the handler runs
	traced  context.Context // for EventDone; nil: that of the event
}

// within runs a handler with the context of its event, which ends when caller
// ends, too.
func within(caller, ctx context.Context, v any, handle Work) error {
	bounded := turn.Within(ctx, caller)
	defer bounded.Release()
	return handle(bounded, v)
}

// protect runs a handler, commits its writes, and turns a panic into a reset.
// It ends the event if the handling ends it, or if the life has been reset.
func (life *Life) protect(e *turn.Event, h *handling, handle Work) (err error) {
	var began time.Time
	commits := uint64(0)
	if !h.queued.IsZero() {
		began, commits = time.Now(), life.Tx.Commits()
	}
	returned := false
	defer func() {
		if h.answers { // also after a panic
			h.outcome = life.obj.Gate.Outcome()
		}
		var hook *hookqueue.Call
		if !returned {
			hook, err = life.failed(e, h.kind, recover())
		}
		if life.Tx.Ends() {
			if failed := life.settle(err); failed != nil {
				err = failed
			}
		}
		if s := life.obj.events; s.on.Load() {
			life.count(s, h.kind, err)
			if !began.IsZero() {
				life.time(h, began, commits)
			}
		}
		ends := h.ends || life.turn.Closed() != nil
		if life.obj.host().Trace.EventDone != nil {
			hook = life.eventDone(e, h, began, err, ends, hook)
		}
		if ends {
			closed, misuse := e.End()
			if closed != nil {
				err = closed
			}
			if misuse != nil {
				life.obj.Log().Error(
					"a handler returned while another goroutine used its context: use dog.Go", "event", h.kind.String(),
				)
			}
		}
		if hook != nil {
			hook.Run()
		}
	}()
	var ctx context.Context = e
	if life.obj.host().traced {
		ctx = life.eventBegin(e, h, began)
	}
	life.Tx.Collect()
	if h.caller == nil {
		err = handle(ctx, life.value)
	} else {
		err = within(h.caller, ctx, life.value, handle)
	}
	returned = true
	return err
}

// failed returns the error of a handler that has not returned. The value is
// what it has panicked with. The caller calls the hook when the event has
// ended.
func (life *Life) failed(e *turn.Event, kind EventKind, value any) (*hookqueue.Call, error) {
	h := life.obj.host()
	if err := h.Errors.Aborted(kind, value); err != nil {
		return nil, err
	}
	cause := h.Errors.Panic(value, debug.Stack())
	if kind == EventStart {
		return nil, life.failStart(cause)
	}
	return life.resetIn(e, startFailed, cause)
}

// settle ends the transaction of a handler that has returned err, in a life
// whose Tx has something to end. If the commit fails, it returns the resulting
// error.
func (life *Life) settle(err error) error {
	t := &life.Tx
	defer func() {
		if life.turn.Closed() != nil {
			t.Abandon()
		}
	}()
	if err != nil && life.rollbackOnError {
		if failed := t.Rollback(err); failed != nil {
			return life.Reset(failed)
		}
		return nil
	}
	return t.Commit()
}

// close ends the life: it has no further effects, and the next life may begin.
// failed is the phase of a start under way. e is as in resetIn. close returns
// the hook that reports the reset, or the reason why the life was over already.
func (life *Life) close(e *turn.Event, err error, failed int32) (hook *hookqueue.Call, first error) {
	o := life.obj
	life.end.Lock() // until the next life may begin; its events wait for that in Object.queue
	defer life.end.Unlock()
	if life.phase.CompareAndSwap(starting, failed) { // before the goroutines waiting for the start see its end
		if failed == wakesAgain {
			o.wakes.Add(1)
		} else {
			o.wakes.Store(0)
		}
	}
	if first := life.turn.Close(err); first != nil {
		return nil, first
	}
	life.ended = err
	if life.phase.Load() == isStarted {
		o.Class.counts.awake.Add(-1)
	}
	hook = o.traceReset(e, err)
	v := &verdict{known: make(chan struct{})}
	life.verdict = v
	o.Gate.Notify(func(lost error) { v.lost = lost; close(v.known) }) // before anything is forgotten
	life.cancel(err)                                                  // before anything is admitted again
	life.timers.end()
	keepClients := life.phase.Load() == wakesAgain
	if !keepClients {
		o.mu.Lock()
		o.resets.Add(1)
		o.mu.Unlock()
	}
	// Drop everything that a handler still sends before it notices the reset,
	// until the clients are cut off.
	o.Gate.Shut(err)
	if !keepClients {
		o.peers.Disconnect(life.generation)
	}
	o.Gate.Recover()
	o.mu.Lock()
	o.endLocked(life)
	o.mu.Unlock()
	return hook, nil
}

// Silenced returns the error of the reset if the life has been reset, after
// which everything its handlers send is dropped.
func (life *Life) Silenced() error {
	if closed := life.turn.Closed(); errors.Is(closed, ErrReset) {
		return closed
	}
	return nil
}

// Reset ends the life: it drops its memory, rolls back its transaction and cuts
// off the clients of its generation. Calls under way fail with the error that
// it returns. Only the first cause counts.
func (life *Life) Reset(cause error) error {
	_, err := life.resetIn(nil, startFailed, cause)
	return err
}

// resetIn is Reset for a caller that may run an event. failed is the phase of a
// start under way. e is nil, or the event that the calling goroutine runs and
// will end next. In that case the caller must call the hook that resetIn
// returns.
func (life *Life) resetIn(e *turn.Event, failed int32, cause error) (*hookqueue.Call, error) {
	o := life.obj
	err := o.host().Errors.Reset(o.ID, cause)
	hook, first := life.close(e, err, failed)
	if first != nil {
		return nil, first
	}
	// The cause may wrap that of another object's reset.
	requested := cause == ErrDeleted || cause == ErrImported
	if !requested {
		o.Class.counts.resets.Add(1)
	}
	life.Tx.Abandon()
	attrs := []any{"cause", cause}
	if stack := o.host().Errors.Stack(cause); stack != nil {
		attrs = append(attrs, "stack", string(stack))
	}
	level := slog.LevelError
	if requested {
		level = slog.LevelInfo
	}
	o.Log().Log(context.Background(), level, "object reset", attrs...)
	return hook, err
}

// Over releases the resources of a life that has ended normally.
func (life *Life) Over() {
	life.cancel(errAsleep)
	life.timers.end()
	life.Tx.Release()
}

// kept reports whether the life must stay in memory while it is idle.
func (life *Life) kept() bool {
	return life.timers.pending() || !life.obj.Class.Hibernates && life.obj.peers.Occupied()
}
