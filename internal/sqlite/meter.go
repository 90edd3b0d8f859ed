package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/store"
)

// progressSteps is the number of instructions that SQLite runs between two
// calls of the meter. Each may take milliseconds with values of a megabyte.
const progressSteps = 100

var epoch = time.Now()

// clock returns the current time used to measure statements.
func clock() time.Duration { return time.Since(epoch) }

// A budget is the remaining allowance of a query. Time is counted only while
// SQLite works.
type budget struct {
	steps int
	time  time.Duration
}

// Reasons why the meter ends a call.
var (
	errSteps = errors.New("too many steps: add an index, or do it in parts")
	errTime  = errors.New("it takes too long: add an index, use smaller values, or do it in parts")
)

// errBitten is the panic of a call that returned after the watchdog had bitten.
var errBitten = errors.New("dog: SQL: the connection was taken away")

// A meter ends calls of SQLite that exceed their budget. It is the context of a
// connection, because the binding checks the context to decide whether to
// continue: whenever a statement is prepared or stepped, and every
// progressSteps instructions. It is owned by its connection.
type meter struct {
	context.Context              // never done; fixed
	closing         *atomic.Bool // the database is being closed; fixed

	budget  *budget // of the current call; nil: unlimited
	counts  bool    // count steps
	entered bool    // the binding has made its check before the call
	began   time.Duration
	faults  bool  // the setting of expectFaults before the call
	why     error // why the latest call was ended
	dog     watchdog
	bit     bool // the watchdog has bitten
}

// begin begins a call that may use b, and reduces b. The caller must call
// finish when the call returns, and end when it panics.
func (m *meter) begin(b *budget, counts bool) {
	m.budget, m.counts, m.entered, m.why = b, counts, false, nil
	m.began = clock()
	if canSeal {
		m.faults = expectFaults(true)
		m.dog.watch(m.began + b.time)
	}
}

// finish ends a call that has returned. It panics if the watchdog has bitten:
// SQLite's memory is then inaccessible, or will be shortly, and an access by
// unprepared code would crash the process.
func (m *meter) finish() {
	m.end()
	if m.bit {
		panic(errBitten)
	}
}

// end ends the call. It may be called again.
func (m *meter) end() {
	if m.budget == nil {
		return
	}
	if canSeal {
		m.bit = m.dog.ignore() || m.bit
		expectFaults(m.faults)
	}
	m.budget.time -= clock() - m.began
	m.budget = nil
}

// over reports whether the current call must end for a reason other than its
// number of steps.
func (m *meter) over() bool {
	switch {
	case m.budget == nil:
		return false
	case m.closing.Load():
		m.why = store.ErrRowsEnded
	case clock()-m.began >= m.budget.time:
		m.why = errTime
	default:
		return false
	}
	return true
}

func (m *meter) Err() error {
	if m.budget == nil {
		return nil
	}
	if m.counts && m.entered {
		if m.budget.steps -= progressSteps; m.budget.steps <= 0 {
			m.why = errSteps
			return m.why
		}
	}
	m.entered = true
	if m.over() {
		return m.why
	}
	return nil
}

// endWith ends the current call when ctx is done, until stop is called. ended
// must be the meter's closing.
func endWith(ctx context.Context, m *meter, ended *atomic.Bool) (stop func()) {
	done := make(chan struct{})
	stopped := context.AfterFunc(ctx, func() {
		defer close(done)
		ended.Store(true)
		m.dog.hurry()
	})
	return func() {
		if !stopped() {
			<-done
		}
	}
}

// limitOf returns the reason why a call bound to ctx was ended.
func limitOf(ctx context.Context, m *meter) error {
	if m.closing.Load() {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", store.ErrLimit, errTime)
}
