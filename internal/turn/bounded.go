package turn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Bounded is the context of an event that also ends with its caller's context.
// It costs next to nothing until its end is waited for. It is safe for
// concurrent use.
type Bounded struct {
	*Event                 // fixed
	caller context.Context // fixed

	merged atomic.Pointer[merged] // nil: the end has not been asked for; set under mu
	mu     sync.Mutex
	over   bool // Release has been called; guarded by mu
}

// merged ends when either context ends.
type merged struct {
	context.Context
	cancel context.CancelCauseFunc
	expire context.CancelFunc
	stop   func() bool
}

// Within returns the event's context bounded by its caller's. The caller must
// call [Bounded.Release].
func (e *Event) Within(caller context.Context) *Bounded { return &Bounded{Event: e, caller: caller} }

// Unbounded reports whether ctx never ends, or ends only with the object that
// it belongs to.
func Unbounded(ctx context.Context) bool {
	switch ctx.(type) {
	case *Event:
		return true
	case *Bounded:
		return false
	}
	done := ctx.Done()
	if done == nil {
		return true
	}
	e := From(ctx)
	return e != nil && done == e.Done()
}

// Release ends the context and releases its resources.
func (b *Bounded) Release() {
	b.mu.Lock()
	b.over = true
	m := b.merged.Load()
	b.mu.Unlock()
	if m != nil {
		m.release()
	}
}

// Deadline returns the caller's deadline.
func (b *Bounded) Deadline() (time.Time, bool) { return b.caller.Deadline() }

// Done is closed when the object stops or the caller's context ends.
func (b *Bounded) Done() <-chan struct{} { return b.end().Done() }

// Err returns nil until then, and after that the reason.
func (b *Bounded) Err() error {
	if b.merged.Load() == nil && b.caller.Err() == nil {
		return b.Event.Err()
	}
	return b.end().Err()
}

// Value returns the event's value for key. It also serves the keys that package
// context uses to find out why the context ended.
func (b *Bounded) Value(key any) any {
	if key == (eventKey{}) {
		return b.Event
	}
	if b.merged.Load() == nil && b.caller.Err() == nil {
		return b.Event.Value(key)
	}
	return b.end().Value(key)
}

// end returns a context that ends when either context ends.
func (b *Bounded) end() *merged {
	if m := b.merged.Load(); m != nil {
		return m
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.merged.Load(); m != nil {
		return m
	}
	m := &merged{Context: b.Event, expire: func() {}}
	if deadline, ok := b.caller.Deadline(); ok {
		m.Context, m.expire = context.WithDeadline(m.Context, deadline)
	}
	m.Context, m.cancel = context.WithCancelCause(m.Context)
	follow := func() {
		// If the context has a deadline, it expires by itself when that has
		// passed.
		if _, ok := b.caller.Deadline(); !ok || !errors.Is(b.caller.Err(), context.DeadlineExceeded) {
			m.cancel(context.Cause(b.caller))
		}
	}
	if b.caller.Err() != nil {
		follow()
	}
	m.stop = context.AfterFunc(b.caller, follow)
	if b.over {
		m.release()
	}
	b.merged.Store(m)
	return m
}

func (m *merged) release() {
	m.stop()
	m.cancel(context.Canceled)
	m.expire()
}

// EndOf returns the cause of ctx's end, or nil if ctx has not ended. At ctx's
// deadline, a [Bounded] that ends with it may have ended a moment before. EndOf
// then waits for ctx.
func EndOf(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
