package object

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/godurable/dog/internal/schedule"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// Role is what the objects of a class are to those of other classes.
type Role int

// The roles.
const (
	Plain Role = iota // they stand alone. The sweeper drops them from memory
	Owner             // objects of other classes belong to them
	Owned             // each belongs to an object of another class
)

// A Class holds what all objects of one type share, and those that are in
// memory.
type Class struct {
	// Set before Host.Add. fixed
	Name            string
	Number          uint32 // in the store's catalog
	Origin          string // on which the IDs depend
	Role            Role
	Schema          tx.Schema
	RollbackOnError bool
	Hibernates      bool

	// Data is what the owner of the host knows of the class.
	Data any

	// New makes an object, with mu held. Made, which may be nil, is called with
	// it once others can find it, if it is not plain.
	New  func(id ID, name string) *Object
	Made func(*Object)
	// Build makes the user's value for a life. The others run its handlers, and
	// are nil if the type does not have them.
	Build   func(*Life) (any, error)
	OnStart func(ctx context.Context, v any) error
	OnStop  func(ctx context.Context, v any, reason StopReason) error
	OnAlarm func(ctx context.Context, v any, alarm store.Alarm) error

	host      *Host              // fixed
	schedule  *schedule.Schedule // of its alarms. fixed
	scheduled sync.Once          // to run them
	counts    counts

	mu      sync.Mutex
	objects map[ID]*Object // in memory. guarded by mu
	past    turn.Stats     // of objects no longer in memory. guarded by mu
	tour    uint64         // number of the tour that is here; 0: none. guarded by mu
	missed  turn.Stats     // of objects that left memory before that tour counted them. guarded by mu
}

// tourStep is the number of objects of a class that are visited before
// other goroutines get its mutex.
const tourStep = 1000

// each calls f with each object in memory, holding mu. From time to time, and
// in the end, it calls pause without mu. Objects added after the start may be
// left out.
func (c *Class) each(f func(o *Object), pause func()) {
	c.mu.Lock()
	n := 0
	for _, o := range c.objects {
		f(o)
		if n++; n%tourStep == 0 {
			c.mu.Unlock()
			pause()
			c.mu.Lock()
		}
	}
	c.mu.Unlock()
	pause()
}

// Live returns the objects in memory.
func (c *Class) Live() []*Object {
	c.mu.Lock()
	n := len(c.objects)
	c.mu.Unlock()
	all := make([]*Object, 0, n)
	c.each(func(o *Object) { all = append(all, o) }, runtime.Gosched)
	return all
}

// Holder returns the object with this ID if it is in memory, otherwise nil.
// Every look-up by an ID is made here or in [Class.Object], which makes the
// object if there is none. So with several machines this is where another
// machine can turn out to hold it. What has found an object may keep the
// pointer until the object is retired: a stub does, the place that was reserved
// on a replica, and the list of a group's replicas. The other question, how to
// deliver an event to the holder, is [Object.Deliver].
func (c *Class) Holder(id ID) *Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holderLocked(id)
}

// holderLocked is Holder. The caller must hold mu.
func (c *Class) holderLocked(id ID) *Object {
	o := c.objects[id]
	if o == nil || !o.retired.Load() {
		return o
	}
	c.forgetLocked(o) // callers need not wait until the goroutine that retired it does this
	return nil
}

// Object returns the object with this ID and makes it if there is none. The
// class must not be Owned.
func (c *Class) Object(id ID, name string) *Object {
	c.mu.Lock()
	o := c.holderLocked(id)
	made := o == nil
	if made {
		o = c.New(id, name)
		o.fresh.Store(c.Role == Plain)
		c.objects[id] = o
	}
	c.mu.Unlock()
	switch {
	case !made:
	case c.Role == Plain:
		c.host.sweeper.add(o)
	case c.Made != nil:
		c.Made(o)
	}
	return o
}

// Adopt adds a new object of an Owned class.
func (c *Class) Adopt(o *Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if former := c.objects[o.ID]; former != nil {
		c.forgetLocked(former)
	}
	c.objects[o.ID] = o
}

// Forget removes a retired object, if it has not been removed yet.
func (c *Class) Forget(o *Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(o)
}

// forgetLocked is Forget. The caller must hold mu.
func (c *Class) forgetLocked(o *Object) {
	if c.objects[o.ID] != o { // another object has taken its place
		return
	}
	delete(c.objects, o.ID)
	o.peers.Forgotten()
	stats := o.TurnStats()
	c.past = c.past.Add(stats)
	if c.tour != 0 && o.toured != c.tour {
		c.missed = c.missed.Add(stats)
	}
}

// Tour adds up the turns of all present and past objects, and calls f with each
// present one. Only one tour at a time may run. Each has another number above
// 0.
func (c *Class) Tour(number uint64, f func(*Object)) turn.Stats {
	c.mu.Lock()
	c.tour, c.missed = number, turn.Stats{}
	turns := c.past
	c.mu.Unlock()
	// Visiting a step takes long compared with collecting it, so that is done
	// without mu. If an object leaves memory in between, its counts are final,
	// and forgetLocked does not count it again.
	step := make([]*Object, 0, tourStep)
	c.each(func(o *Object) {
		o.toured = number
		step = append(step, o)
	}, func() {
		for _, o := range step {
			turns = turns.Add(o.TurnStats())
			f(o)
		}
		clear(step)
		step = step[:0]
		runtime.Gosched() // others have waited for a processor
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tour = 0
	return turns.Add(c.missed)
}

// AlarmStats returns the counts of the runs of alarms.
func (c *Class) AlarmStats() schedule.Stats { return c.schedule.Stats() }

// Room waits until a plain object may be created that is not in memory. The
// error is the cause of ctx, or turn.ErrOverloaded.
func (c *Class) Room(ctx context.Context) error { return c.host.sweeper.room(ctx) }

// Revive brings a stored object of an Owned class into memory. It returns
// ErrUnregistered if the class of its owner is not registered, ErrRetired, and
// errors of starting the owner.
func (c *Class) Revive(ctx context.Context, id ID, stored store.Identity) (*Object, error) {
	owners := c.host.numbered(stored.Group.Namespace)
	if owners == nil {
		return nil, ErrUnregistered
	}
	if owners.Role != Owner {
		return nil, fmt.Errorf("%w: the owner of an object is of a class that owns none", store.ErrCorrupt)
	}
	owner := owners.Object(IDOf(owners.Origin, stored.Group.Base), stored.Group.Name)
	return owner.peers.Revive(ctx, c, id, stored.Name)
}
