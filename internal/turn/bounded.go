package turn

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Bounded is the context of an event that also ends with its caller's context.
// It costs next to nothing until its end is waited for. It is safe for
// concurrent use.
type Bounded struct {
	*Event                 // fixed
	caller context.Context // a *boundValued for a [Valued]. fixed

	// merged is nil until the end is asked for. If that has not happened when
	// Release is called, it is over. After that it does not change again.
	merged atomic.Pointer[merged]
}

// boundedKey is the key under which a [Bounded] has itself as value.
type boundedKey struct{}

// over is the merged of a [Bounded] that was released before anybody asked for
// its end.
var over = new(merged)

// merged ends when either context ends.
type merged struct {
	context.Context
	cancel context.CancelCauseFunc
	expire context.CancelFunc
	stop   func() bool
}

// Within returns the context of an event, which is an [Event] or a [Valued],
// bounded by its caller's. The caller must call [Bounded.Release].
func Within(ctx, caller context.Context) *Bounded {
	if v, ok := ctx.(*Valued); ok {
		return &Bounded{Event: v.Event, caller: &boundValued{caller, v}}
	}
	return &Bounded{Event: ctx.(*Event), caller: caller}
}

// boundValued is the context of the caller that bounds a [Valued]. A field of
// Bounded would make it larger, and there is none without hooks.
type boundValued struct {
	context.Context
	valued *Valued
}

// inner returns the context of the event that is bounded.
func (b *Bounded) inner() context.Context {
	if c, ok := b.caller.(*boundValued); ok {
		return c.valued
	}
	return b.Event
}

// bound returns the context that bounds that of the event.
func (b *Bounded) bound() context.Context {
	if c, ok := b.caller.(*boundValued); ok {
		return c.Context
	}
	return b.caller
}

// BoundOf returns what bounds the events that a caller with ctx causes: ctx, or
// if that is the context of an event, what bounds that event, since what the
// event has caused outlives a reset of its object. Nil: nothing does.
func BoundOf(ctx context.Context) context.Context {
	switch ctx := ctx.(type) {
	case *Event, *Valued:
		return nil
	case *Bounded:
		return ctx.bound()
	}
	done := ctx.Done()
	if done == nil {
		return nil
	}
	if e := From(ctx); e != nil && done == e.Done() {
		return nil
	}
	if b, _ := ctx.Value(boundedKey{}).(*Bounded); b != nil && done == b.Done() {
		return b.bound()
	}
	return ctx
}

// Release ends the context and releases its resources.
func (b *Bounded) Release() {
	if b.merged.CompareAndSwap(nil, over) {
		return
	}
	if m := b.known(); m != nil {
		m.release()
	}
}

// known returns merged if the end has been asked for, otherwise nil.
func (b *Bounded) known() *merged {
	if m := b.merged.Load(); m != over {
		return m
	}
	return nil
}

// Deadline returns the caller's deadline.
func (b *Bounded) Deadline() (time.Time, bool) { return b.caller.Deadline() }

// Done is closed when the object stops or the caller's context ends.
func (b *Bounded) Done() <-chan struct{} { return b.end().Done() }

// Err returns nil until then, and after that the reason.
func (b *Bounded) Err() error {
	if b.known() == nil && b.caller.Err() == nil {
		return b.Event.Err()
	}
	return b.end().Err()
}

// Value returns the event's value for key. It also serves the keys that package
// context uses to find out why the context ended.
func (b *Bounded) Value(key any) any {
	switch key {
	case eventKey{}:
		return b.Event
	case boundedKey{}:
		return b
	}
	if b.known() == nil && b.caller.Err() == nil {
		return b.inner().Value(key)
	}
	return b.end().Value(key)
}

// end returns a context that ends when either context ends.
func (b *Bounded) end() *merged {
	if m := b.known(); m != nil {
		return m
	}
	m := &merged{Context: b.inner(), expire: func() {}}
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
	if b.merged.CompareAndSwap(nil, m) {
		return m
	}
	m.release() // after Release, or because another goroutine has made one
	if b.merged.CompareAndSwap(over, m) {
		return m
	}
	return b.merged.Load()
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
