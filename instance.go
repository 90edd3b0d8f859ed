package dog

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/hookqueue"
	"github.com/godurable/dog/internal/turn"
)

// instance is one life of an object, from its start to its reset, hibernation
// or retirement.
type instance struct {
	// fixed
	obj  *object
	era  uint64          // number of resets before it: sockets survive a hibernation, not a reset
	life context.Context // context of its handlers; done when the instance ends
	stop context.CancelCauseFunc

	phase atomic.Int32 // of the start

	turn    turn.Lock
	timers  timers
	storage Storage
	value   any // the user's object; nil until started; owned by the turn

	// end makes a reset come before or after a commit, never between the
	// decision to commit and the commit. It is locked by the holder of the turn
	// while a transaction begins or is passed to the engine, and by a reset. It
	// is locked before object.mu and before all locks of gates and sockets.
	end     sync.Mutex
	ended   error    // why the instance is over; guarded by end
	verdict *verdict // set together with ended; guarded by end
}

// The phases of an instance's start. The change from starting to another phase
// is guarded by instance.end.
const (
	unstarted   int32 = iota
	starting          // OnStart is running or about to run
	isStarted         // started
	startFailed       // all events waiting for the start get its error
	wakesAgain        // the start failed, but the sockets stay and the next instance tries again
)

// work is the function that an event of an object runs with the user's value.
type work = func(ctx context.Context, v any) error

// A verdict is the outcome of an object's writes before its reset, for the
// callers that get the reason of the reset.
type verdict struct {
	known chan struct{} // closed when lost is set
	lost  error         // the argument that the gate passes to a say function
}

// errAsleep ends an instance whose object hibernates. The next event finds
// another instance or creates it.
var errAsleep = errors.New("dog: object hibernates")

// run runs a handler in the event's turn and ends the event.
func (inst *instance) run(e *turn.Event, kind EventKind, began time.Time, handle func(ctx context.Context, v any) error) error {
	return inst.protect(e, kind, "", began, true, handle)
}

// protect runs a handler, commits its writes, and turns a panic into a reset.
// It ends the event if end is set or if the instance has been reset.
func (inst *instance) protect(e *turn.Event, kind EventKind, method string, queued time.Time, end bool, handle work) (err error) {
	trace := inst.obj.trace()
	began := trace.clock()
	returned := false
	defer func() {
		var hook *hookqueue.Call
		if !returned {
			cause := &PanicError{Value: recover(), Stack: debug.Stack()}
			if kind == EventStart {
				err = inst.failStart(cause)
			} else if kind == EventReceive && cause.Value == http.ErrAbortHandler { // how net/http aborts a response
				err = http.ErrAbortHandler
			} else {
				hook, err = inst.resetIn(e, startFailed, cause)
			}
		}
		if failed := inst.settle(err); failed != nil {
			err = failed
		}
		end = end || inst.turn.Closed() != nil
		hook = trace.eventDone(inst, e, kind, method, queued, began, err, end, hook)
		if end {
			closed, misuse := e.End()
			if closed != nil {
				err = closed
			}
			if misuse != nil {
				inst.obj.log().Error("a handler returned while another goroutine used its context: use dog.Go", "event", kind.String())
			}
		}
		hook.Run()
	}()
	err = handle(e, inst.value)
	returned = true
	return err
}

// settle ends the transaction of a handler that has returned err. If the commit
// fails, it returns the resulting ResetError.
func (inst *instance) settle(err error) error {
	s := &inst.storage
	if !s.tx.Used() {
		return nil
	}
	defer func() {
		if inst.turn.Closed() != nil {
			s.tx.Abandon()
		}
	}()
	if err != nil && s.rollbackOnError {
		if failed := s.tx.Rollback(err); failed != nil {
			return inst.reset(failed)
		}
		return nil
	}
	return s.tx.Commit()
}

// close ends the instance: it has no further effects, and the next instance may
// begin. failed is the phase of a start under way. e is as in resetIn. close
// returns the hook that reports the reset, or the reason why the instance was
// over already.
func (inst *instance) close(e *turn.Event, err *ResetError, failed int32) (hook *hookqueue.Call, first error) {
	o := inst.obj
	inst.end.Lock() // until the next instance may begin; its events wait for that in object.queue
	defer inst.end.Unlock()
	if inst.phase.CompareAndSwap(starting, failed) { // before the goroutines waiting for the start see its end
		if failed == wakesAgain {
			o.wakes.Add(1)
		} else {
			o.wakes.Store(0)
		}
	}
	if first := inst.turn.Close(err); first != nil {
		return nil, first
	}
	inst.ended = err
	hook = o.trace().objectReset(o, e, err)
	v := &verdict{known: make(chan struct{})}
	inst.verdict = v
	o.gate.Tell(func(lost error) { v.lost = lost; close(v.known) }) // before anything is forgotten
	inst.stop(err)                                                  // before anything is admitted again
	inst.timers.end()
	keepSockets := inst.phase.Load() == wakesAgain
	if !keepSockets {
		o.mu.Lock()
		o.resets++
		o.mu.Unlock()
	}
	// Drop everything that a handler still sends before it notices the reset,
	// until the sockets are closed.
	o.gate.Shut(err)
	if !keepSockets {
		o.closeSocketsOf(inst)
	}
	o.gate.Recover()
	o.mu.Lock()
	o.endLocked(inst)
	o.mu.Unlock()
	return hook, nil
}

// silenced returns the error of the reset if the instance has been reset, after
// which everything its handlers send is dropped.
func (inst *instance) silenced() error {
	if closed := inst.turn.Closed(); errors.Is(closed, ErrReset) {
		return closed
	}
	return nil
}

// reset ends the instance: it drops its memory, rolls back its transaction and
// closes its sockets with 1011. Calls under way fail with the error that it
// returns. Only the first cause counts. A nil panic value means that the
// handler's goroutine exits (runtime.Goexit).
func (inst *instance) reset(cause error) error {
	_, err := inst.resetIn(nil, startFailed, cause)
	return err
}

// resetIn is reset for a caller that may run an event. failed is the phase of a
// start under way. e is nil, or the event that the calling goroutine runs and
// will end next. In that case the caller must call the hook that resetIn
// returns.
func (inst *instance) resetIn(e *turn.Event, failed int32, cause error) (*hookqueue.Call, error) {
	o := inst.obj
	err := &ResetError{Object: o.id, Cause: cause}
	hook, first := inst.close(e, err, failed)
	if first != nil {
		return nil, first
	}
	inst.storage.tx.Abandon()
	attrs := []any{"cause", cause}
	if p, ok := errors.AsType[*PanicError](cause); ok {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	level := slog.LevelError
	if errors.Is(cause, ErrDeleted) || errors.Is(cause, errImported) { // requested, not a failure
		level = slog.LevelInfo
	}
	o.log().Log(context.Background(), level, "object reset", attrs...)
	return hook, err
}

// over releases the resources of an instance that has ended normally.
func (inst *instance) over() {
	inst.stop(errAsleep)
	inst.timers.end()
	inst.storage.tx.Release()
}

// kept reports whether the instance must stay in memory while it is idle.
func (inst *instance) kept() bool {
	return inst.timers.pending() || !inst.obj.ns.hibernates && inst.obj.occupied()
}
