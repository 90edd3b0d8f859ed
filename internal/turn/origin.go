package turn

import (
	"context"
	"sync/atomic"
)

// A Call is an event's wait for others that it brought about. The zero value is
// nobody's.
type Call struct {
	by   *Event
	over *atomic.Bool // by has stopped waiting. nil: it waits until they have ended
}

// Over says that the caller has stopped waiting, though what it waited for may
// go on. Only [OriginOf] returns calls that can be over.
func (c Call) Over() {
	if c.over != nil {
		c.over.Store(true)
	}
}

// caller returns the event that waits, or nil.
func (c Call) caller() *Event {
	if c.over != nil && c.over.Load() {
		return nil
	}
	return c.by
}

// Origin says where an event comes from.
type Origin struct {
	Call   Call            // who waits for it
	Values context.Context // whose values its handler sees, whether it is done or not; nil: only those of the object's life
	Limit  int             // of the events that may wait before it; more is ErrOverloaded. 0: none
}

// OriginOf returns the origin of an event that the holder of ctx waits for.
func OriginOf(ctx context.Context) Origin {
	from := Origin{Values: valuesOf(ctx)}
	if e := From(ctx); e != nil {
		from.Call = Call{by: e, over: new(atomic.Bool)}
	}
	return from
}

// Inside returns the origin of an event for whose end the holder of ctx, whose
// event is caller or nil, waits in any case: a call in the caller's own
// goroutine.
func Inside(caller *Event, ctx context.Context) Origin {
	return Origin{Call: Call{by: caller}, Values: valuesOf(ctx)}
}

// Follow returns the origin of an event that the holder of ctx starts without
// waiting for it. Of an event's context it takes the values of that event's
// origin alone: events that start each other for ever must not hold each other
// in memory.
func Follow(ctx context.Context) Origin {
	if e := From(ctx); e != nil {
		ctx = e
	}
	return Origin{Values: valuesOf(ctx)}
}

// valuesOf returns a context with the values of ctx. Those of an event itself
// are the values of its origin, without the event.
func valuesOf(ctx context.Context) context.Context {
	switch ctx := ctx.(type) {
	case *Event:
		return ctx.values
	case *Bounded:
		return ctx.Event.values
	}
	return ctx
}
