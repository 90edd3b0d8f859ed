package turn

import "context"

// Valued is the context of an event with values that were added to it before
// its handler began. It is safe for concurrent use.
type Valued struct {
	*Event                 // fixed
	values context.Context // fixed
}

// With returns the event's context with the values of a context that derives
// from given, which [Apart] has returned for the event. If it does not derive
// from that, the values of both are there.
func (e *Event) With(values, given context.Context) *Valued {
	if values.Value(apartKey{}) != given {
		values = both{values, given}
	}
	return &Valued{e, values}
}

// Value returns the event's value for key, as [Event.Value] does.
func (v *Valued) Value(key any) any {
	if key == (eventKey{}) {
		return v.Event
	}
	if value := v.life().Value(key); value != nil {
		return value
	}
	return v.values.Value(key)
}

// Values returns the values that an event caused by the holder of ctx gets, or
// nil.
func Values(ctx context.Context) context.Context { return valuesOf(ctx) }

// Values returns the values of the event's origin, or nil.
func (e *Event) Values() context.Context { return e.values }

// Apart returns a context that has values, which may be nil, and belongs to no
// event. It never ends.
func Apart(values context.Context) context.Context {
	if values == nil {
		values = context.Background()
	}
	return &apart{context.WithoutCancel(values)}
}

type apart struct{ context.Context }

type apartKey struct{}

func (a *apart) Value(key any) any {
	switch key {
	case apartKey{}:
		return a
	case eventKey{}, boundedKey{}:
		return nil
	}
	return a.Context.Value(key)
}

// both has the values of a context, and those of another that it lacks.
type both struct {
	context.Context
	other context.Context
}

func (b both) Value(key any) any {
	if value := b.Context.Value(key); value != nil {
		return value
	}
	return b.other.Value(key)
}
