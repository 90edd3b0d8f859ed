package turn

import (
	"context"
	"sync/atomic"
)

// A Call is an event's wait for other events that it caused. The zero value is
// a call without a caller.
type Call struct {
	by   *Event
	over *atomic.Bool // by has stopped waiting; nil: it waits until the other events have ended
}

// Over records that the caller has stopped waiting, even if the events that it
// waited for continue. It has no effect on calls that do not come from
// [OriginOf].
func (c Call) Over() {
	if c.over != nil {
		c.over.Store(true)
	}
}

// caller returns the waiting event, or nil.
func (c Call) caller() *Event {
	if c.over != nil && c.over.Load() {
		return nil
	}
	return c.by
}

// Origin describes where an event comes from.
type Origin struct {
	Call Call // the caller that waits for the event
	// provides the values of the handler's context, whether it is done or not;
	// nil: only the values of the object's life
	Values context.Context
	Limit  int // maximum number of events that may wait before it, beyond which Queue returns ErrOverloaded; 0: none
}

// OriginOf returns the origin of an event that the holder of ctx waits for.
func OriginOf(ctx context.Context) Origin {
	from := Origin{Values: valuesOf(ctx)}
	if e := From(ctx); e != nil {
		from.Call = Call{by: e, over: new(atomic.Bool)}
	}
	return from
}

// Inside returns the origin of an event that runs as a call in the caller's own
// goroutine, so that the holder of ctx always waits for its end. caller is the
// event of ctx, or nil.
func Inside(caller *Event, ctx context.Context) Origin {
	return Origin{Call: Call{by: caller}, Values: valuesOf(ctx)}
}

// Follow returns the origin of an event that the holder of ctx starts without
// waiting for it. If ctx belongs to an event, only the values of that event's
// origin are passed on. Otherwise events that keep starting each other would
// keep each other in memory.
func Follow(ctx context.Context) Origin {
	if e := From(ctx); e != nil {
		ctx = e
	}
	return Origin{Values: valuesOf(ctx)}
}

// valuesOf returns a context with the values of ctx. For an event's own
// context, it returns the values of the event without the event: those of its
// origin, and those added by [Event.With].
func valuesOf(ctx context.Context) context.Context {
	switch ctx := ctx.(type) {
	case *Event:
		return ctx.values
	case *Valued:
		return ctx.values
	case *Bounded:
		return valuesOf(ctx.inner())
	}
	return ctx
}
