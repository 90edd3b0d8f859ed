package object

import (
	"errors"

	"github.com/godurable/dog/internal/turn"
)

// The errors that callers get. The root documents them.
var (
	ErrReset    = errors.New("dog: object was reset")
	ErrShutdown = errors.New("dog: shut down")
	ErrPastGate = errors.New("dog: output past the gate of an object whose writes are not durable: " +
		"pass the handler's own context, use only what belongs to the object, or send in dog.Await")

	// Causes of a reset that was requested.
	ErrDeleted  = errors.New("dog: object was deleted")
	ErrImported = errors.New("dog: object was imported")
)

var (
	// ErrRetired is returned for an event of an object that is being forgotten.
	// The class then has another object with the same ID, or makes one.
	ErrRetired = errors.New("dog: object retired")

	// ErrUnregistered is returned for a stored object whose owner's class is
	// not registered.
	ErrUnregistered = errors.New("dog: the namespace of the object's owner is not registered")

	// errAsleep ends a life whose object hibernates. The next event finds
	// another life or begins it.
	errAsleep = errors.New("dog: object hibernates")
)

// Errors makes the errors whose types callers know.
type Errors struct {
	// Reset returns the error of a reset object. It is ErrReset, and wraps the
	// cause.
	Reset func(id ID, cause error) error
	// Panic returns the cause of a reset by a panic. The value is nil if the
	// handler ended its goroutine.
	Panic func(value any, stack []byte) error
	// Stack returns the stack of an error made by Panic, or nil.
	Stack func(cause error) []byte
	// Aborted returns the error of a handler that has panicked with a value, or
	// nil if the panic resets the object.
	Aborted func(kind EventKind, value any) error
}

// ended reports whether an event got no turn only because its life had ended,
// so that the next life may run it.
func ended(err error) bool { return err != nil && (errors.Is(err, ErrReset) || err == errAsleep) }

// lostError returns the error for callers that relied on lost writes of the
// object. It returns nil if lost is nil.
func (o *Object) lostError(lost error) error {
	if lost == nil || errors.Is(lost, ErrReset) {
		return lost
	}
	return o.host().Errors.Reset(o.ID, lost)
}

// CheckGate returns ErrPastGate if the calling goroutine runs a handler of
// another object and that object's gate is not open. It detects that only with
// CheckTurns.
func (o *Object) CheckGate() error {
	if !o.strict {
		return nil
	}
	return PastGate(nil, o)
}

// PastGate returns ErrPastGate if the calling goroutine runs a handler of an
// object other than source, in an event other than own, and that object's gate
// is not open. Both own and source may be nil.
func PastGate(own *turn.Event, source *Object) error {
	for _, e := range turn.Running() {
		if o := e.Owner().(*Life).obj; e != own && o != source && !o.Gate.Open() {
			return o.pastGate()
		}
	}
	return nil
}
