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

	"github.com/godurable/dog/internal/turn"
)

// instance is the life of an object from its start to its reset, hibernation or
// retirement.
type instance struct {
	// fixed
	obj  *object
	era  uint64          // the resets before it: sockets outlive a hibernation, not a reset
	life context.Context // of its handlers; done when the instance ends
	stop context.CancelCauseFunc

	phase atomic.Int32 // of its start

	turn    turn.Lock
	timers  timers
	storage Storage
	value   any // the user's object; nil until started. owned by the turn

	// end makes a reset come before or after a commit, never between the
	// decision to commit and the commit. It is taken by whoever has the turn
	// while a transaction begins or is handed to the engine, by a reset, and
	// before object.mu and all locks of gates and sockets.
	end     sync.Mutex
	ended   error    // why the instance is over. guarded by end
	verdict *verdict // set with ended. guarded by end
}

// A verdict is what becomes of what an object had stored before it was reset,
// for those who are told why.
type verdict struct {
	known chan struct{} // closed when lost is set
	lost  error         // as a say function of the gate gets it
}

// errAsleep ends an instance whose object hibernates: the next event finds, or
// makes, another.
var errAsleep = errors.New("dog: object hibernates")

// run runs a handler in the event's turn and ends the event.
func (inst *instance) run(e *turn.Event, kind EventKind, began time.Time, handle func(ctx context.Context, v any) error) error {
	return inst.protect(e, kind, "", began, true, handle)
}

// protect runs a handler, commits what it stored, turns a panic into a reset,
// and ends the event when told to or when the instance has been reset.
func (inst *instance) protect(e *turn.Event, kind EventKind, method string, queued time.Time, end bool, handle work) (err error) {
	trace := inst.obj.trace()
	began := trace.clock()
	returned := false
	defer func() {
		var told *telling
		if !returned {
			cause := &PanicError{Value: recover(), Stack: debug.Stack()}
			if kind == EventStart {
				err = inst.failStart(cause)
			} else if kind == EventReceive && cause.Value == http.ErrAbortHandler { // net/http's own way to break off an answer
				err = http.ErrAbortHandler
			} else {
				told, err = inst.resetIn(e, startFailed, cause)
			}
		}
		if failed := inst.settle(err); failed != nil {
			err = failed
		}
		end = end || inst.turn.Closed() != nil
		told = trace.eventDone(inst, e, kind, method, queued, began, err, end, told)
		if end {
			closed, misuse := e.End()
			if closed != nil {
				err = closed
			}
			if misuse != nil {
				inst.obj.log().Error("a handler returned while another goroutine used its context: use dog.Go", "event", kind.String())
			}
		}
		told.call()
	}()
	err = handle(e, inst.value)
	returned = true
	return err
}

// settle ends the transaction of a handler that has returned err. The error is
// that of a commit that failed, a ResetError.
func (inst *instance) settle(err error) error {
	s := &inst.storage
	if !s.used.Load() {
		return nil
	}
	defer func() {
		if inst.turn.Closed() != nil {
			s.abandon()
		}
	}()
	if err != nil && s.rollbackOnError {
		if failed := s.rollback(err); failed != nil {
			return inst.reset(failed)
		}
		return nil
	}
	return s.commit()
}

// close lets nothing more come of the instance, and the next one begin. failed
// is what becomes of a start under way; e is as in resetIn. It returns the hook
// that tells of it, or why the instance was over already.
func (inst *instance) close(e *turn.Event, err *ResetError, failed int32) (told *telling, first error) {
	o := inst.obj
	inst.end.Lock() // until the next instance may begin, whose events wait for it in object.queue
	defer inst.end.Unlock()
	if inst.phase.CompareAndSwap(starting, failed) { // before anybody who waits for it hears of its end
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
	told = o.trace().objectReset(o, e, err)
	v := &verdict{known: make(chan struct{})}
	inst.verdict = v
	o.gate.Tell(func(lost error) { v.lost = lost; close(v.known) }) // before anything is forgotten
	inst.stop(err)                                                  // before anything is let in again
	inst.timers.end()
	keepSockets := inst.phase.Load() == wakesAgain
	if !keepSockets {
		o.mu.Lock()
		o.resets++
		o.mu.Unlock()
	}
	// Until the sockets are closed, a handler that has not noticed yet is not
	// heard.
	o.gate.Shut(err)
	if !keepSockets {
		o.closeSocketsOf(inst)
	}
	o.gate.Recover()
	o.mu.Lock()
	o.endLocked(inst)
	o.mu.Unlock()
	return told, nil
}

// silenced returns why nothing that a handler of the instance says is heard any
// more: it has been reset.
func (inst *instance) silenced() error {
	if closed := inst.turn.Closed(); errors.Is(closed, ErrReset) {
		return closed
	}
	return nil
}

// reset ends the instance: its memory is dropped, its transaction is undone,
// its sockets are closed with 1011, and calls under way get the error it
// returns. The first cause stays. A nil panic value means that the handler's
// goroutine exits (runtime.Goexit).
func (inst *instance) reset(cause error) error {
	_, err := inst.resetIn(nil, startFailed, cause)
	return err
}

// resetIn is reset. failed is what becomes of a start under way. e is nil, or
// the event that the calling goroutine runs and ends next: then it calls what
// is returned.
func (inst *instance) resetIn(e *turn.Event, failed int32, cause error) (*telling, error) {
	o := inst.obj
	err := &ResetError{Object: o.id, Cause: cause}
	told, first := inst.close(e, err, failed)
	if first != nil {
		return nil, first
	}
	inst.storage.abandon()
	attrs := []any{"cause", cause}
	if p, ok := errors.AsType[*PanicError](cause); ok {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	level := slog.LevelError
	if errors.Is(cause, ErrDeleted) || errors.Is(cause, errImported) { // somebody wanted it
		level = slog.LevelInfo
	}
	o.log().Log(context.Background(), level, "object reset", attrs...)
	return told, err
}

// release gives back what an instance that is over held besides memory. The
// turn is nobody's any more.
func (s *Storage) release() {
	if s.sql == nil {
		return
	}
	if err := s.sql.Close(); err != nil {
		s.inst.obj.log().Error("cannot close the database", "error", err)
	}
}

// abandon is release for an instance that has been reset. If a handler is using
// the storage, its settle does it.
func (s *Storage) abandon() {
	if s.busy.CompareAndSwap(false, true) {
		s.release()
		s.leave()
	}
}
