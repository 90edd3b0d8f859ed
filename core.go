package dog

import (
	"errors"
	"log/slog"
)

// noCopy makes go vet report copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// core holds the state that every object has. It is embedded unexported, so its
// methods are promoted into users' types.
type core struct {
	_    noCopy
	inst *instance // set by the runtime when it starts the object; nil in a zero value
}

// base returns the core of any registered type. A user's names cannot hide it.
func (c *core) base() *core { return c }

// ID returns the object's identity. It is zero when the object is not running.
func (c *core) ID() ID {
	if c.inst == nil {
		return ID{}
	}
	return c.inst.obj.id
}

// Name returns the name by which the object is addressed, or the name that
// Clusterize returned for it. It is "" when the object has no name.
func (c *core) Name() string {
	if c.inst == nil {
		return ""
	}
	return c.inst.obj.name
}

// Log returns the runtime's logger with the object's namespace and ID.
func (c *core) Log() *slog.Logger {
	if c.inst == nil {
		return slog.Default()
	}
	return c.inst.obj.log()
}

// Storage returns the object's storage. It is never nil. The storage of an
// object that is not running returns a UsageError.
func (c *core) Storage() *Storage {
	if c.inst == nil {
		return &Storage{}
	}
	return &c.inst.storage
}

// Abort resets the object. Its memory is dropped, the writes of its current
// transaction are undone, its sockets are closed with 1011, and calls in
// progress fail with a [ResetError] that carries reason. The next event starts
// the object again.
//
// A handler that calls Abort should return: everything it stores or sends
// afterwards is lost. Abort may be called from any goroutine, but not by
// handlers of other objects. CheckTurns logs such a call with ErrPastGate.
func (c *core) Abort(reason error) {
	if c.inst == nil {
		return
	}
	if err := c.inst.obj.heard(); err != nil {
		c.Log().Error("aborted by another object", "error", err)
	}
	_ = c.inst.reset(abortedBy(reason))
}

func abortedBy(reason error) error {
	if reason == nil {
		return errors.New("aborted")
	}
	return reason
}

// speaker returns the object of a running instance. It returns an error if the
// instance has been reset, since output of its handlers is then dropped.
func (c *core) speaker() (*object, error) {
	if c.inst == nil {
		return nil, notRunning("Object")
	}
	return c.inst.obj, c.inst.silenced()
}
