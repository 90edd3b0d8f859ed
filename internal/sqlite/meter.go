package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/store"
)

// progressSteps is how many instructions SQLite runs between two questions to
// the meter. Each may take milliseconds when values are of a megabyte.
const progressSteps = 100

var epoch = time.Now()

// clock returns the time by which statements are measured.
func clock() time.Duration { return time.Since(epoch) }

// A budget is what a query may still use. Time passes only while SQLite works.
type budget struct {
	steps int
	time  time.Duration
}

// Why the meter ends a call.
var (
	errSteps = errors.New("too many steps: add an index, or do it in parts")
	errTime  = errors.New("it takes too long: add an index, use smaller values, or do it in parts")
)

// errBitten is the panic of a call that came to its end after the watchdog had
// bitten.
var errBitten = errors.New("dog: SQL: the connection was taken away")

// A meter ends calls of SQLite that use more than their budget. It is the
// context of a connection, because that is what the binding asks whether to go
// on: whenever a statement is prepared or stepped, and every progressSteps
// instructions. It is owned by its connection.
type meter struct {
	context.Context              // never done; fixed
	closing         *atomic.Bool // the database is being closed; fixed

	budget  *budget // of the call under way; nil: no bound
	counts  bool    // steps are counted
	entered bool    // the binding has asked before the call
	began   time.Duration
	faults  bool  // expectFaults before the call
	why     error // the latest call was ended
	dog     watchdog
	bit     bool // the watchdog has bitten
}

// begin begins a call that may use b and reduces it. The caller must call
// finish when the call returns, and end when it panics.
func (m *meter) begin(b *budget, counts bool) {
	m.budget, m.counts, m.entered, m.why = b, counts, false, nil
	m.began = clock()
	if canSeal {
		m.faults = expectFaults(true)
		m.dog.watch(m.began + b.time)
	}
}

// finish ends a call that has returned. It panics when the watchdog has bitten:
// SQLite's memory is inaccessible then, or will be in a moment, and its use by
// anybody who does not expect that would be the end of the process.
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

// over reports whether the call under way has to end, for a reason that is not
// the number of its steps.
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

// endWith ends the call under way when ctx ends, until stop is called. ended
// has to be what the meter knows as closing.
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

// limitOf returns why a call that ends with ctx was ended.
func limitOf(ctx context.Context, m *meter) error {
	if m.closing.Load() {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", store.ErrLimit, errTime)
}
