package object

import (
	"github.com/godurable/dog/internal/turn"
)

// endLocked forgets a life that has ended. The caller must hold mu.
func (o *Object) endLocked(life *Life) {
	o.past = o.past.Add(life.turn.Stats())
	o.current.Store(nil)
}

// sleepLocked is endLocked for a life that has ended normally and whose turn is
// free. The caller must hold mu, and call Over later.
func (o *Object) sleepLocked(life *Life) {
	if life.value != nil {
		o.traceStop() // before the hooks see the next life
	}
	o.endLocked(life)
}

// Retire marks the object as forgotten, unless an event is running or waiting,
// or some of its writes are not durable yet. An object with OnStop is stopped
// soon instead. The caller must then call Over on the ended life, if there is
// one, and Class.Forget, without holding a lock.
func (o *Object) Retire() (ended *Life, retired bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired.Load() || !o.Gate.Open() || o.peers.Occupied() {
		return nil, false
	}
	life := o.current.Load()
	if life != nil {
		if o.Class.OnStop != nil {
			o.stopLater(life) // and retire after the stop
			return nil, false
		}
		if !life.turn.CloseIdle(errAsleep, life.kept) {
			return nil, false
		}
		o.sleepLocked(life)
	}
	// An event may have written something just before. From here on no event
	// can run while mu is held.
	o.retired.Store(o.Gate.Open() && !o.peers.Occupied())
	return life, o.retired.Load()
}

// retireAsleep is Retire for an object whose life has been stopped. It does
// nothing if there is a new life already.
func (o *Object) retireAsleep() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired.Load() || o.current.Load() != nil || !o.Gate.Open() || o.peers.Occupied() {
		return false
	}
	o.retired.Store(true)
	return true
}

// Retired reports whether the object has been forgotten. An object that has
// been Occupied since before the call, and is not retired, stays in memory.
func (o *Object) Retired() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.retired.Load()
}

// Generation returns the number of resets so far.
func (o *Object) Generation() uint64 { return o.resets.Load() }

// TurnStats returns the sum of the counts of all lives of the object.
func (o *Object) TurnStats() turn.Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	if life := o.current.Load(); life != nil {
		return o.past.Add(life.turn.Stats())
	}
	return o.past
}

// Asleep reports whether the object has no life.
func (o *Object) Asleep() bool { return o.current.Load() == nil }

// Idle reports whether no event is running or waiting.
func (o *Object) Idle() bool {
	life := o.current.Load()
	return life == nil || life.turn.Idle()
}

// Busy reports whether an event runs or waits, or the object has clients.
func (o *Object) Busy() bool { return !o.Idle() || o.peers.Visited() }

// Refuse fails the events that wait for their turn.
func (o *Object) Refuse(reason error) {
	if life := o.current.Load(); life != nil {
		life.turn.Refuse(reason)
	}
}

// Stored reports whether the object has stored something, as far as is known.
func (o *Object) Stored() bool { return o.stores.Load() }

// SetStored records that the object has stored something in an earlier life.
func (o *Object) SetStored() { o.stores.Store(true) }

// RunningAlarm returns the serial number of the alarm that OnAlarm is handling,
// or 0.
func (o *Object) RunningAlarm() uint64 { return o.alarm.Load() }
