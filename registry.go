package dog

import (
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/schedule"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// namespace is the untyped part of Namespace. Fields without a comment are set
// at registration and do not change.
type namespace struct {
	rt      *Runtime
	name    string
	kind    Kind
	typ     reflect.Type // of the pointer to the user's type
	number  uint32       // in the store's catalog
	origin  string       // its first name, on which the IDs depend
	build   func(*instance) (any, error)
	coreOf  func(v any) *core
	problem string             // why it cannot be registered
	methods map[uintptr]string // names of the type's exported methods, by their code

	// from the options
	schema                      tx.Schema
	hibernates, rollbackOnError bool
	maxSockets                  int           // of an object; 0 or less: no limit
	sockets                     SocketOptions // the defaults of the type
	shared                      *conn.Options // of sockets with default options
	limit, maxReplicas          int           // of a group
	order                       Order         // of a group
	lingerFor                   time.Duration // of a group; 0 or less: disabled
	holdPlaces                  bool          // of a group
	replicas                    *namespace    // of a group

	connects bool // requests open a WebSocket if the type has no Receive

	clusterizes, gateway, gossips, onError, onClose, starts, stops, alarms bool // whether the type has these handlers

	schedule *schedule.Schedule // of its alarms
	starting sync.Once          // to run them

	mu      sync.Mutex
	objects map[ID]*object // in memory. guarded by mu
	past    turn.Stats     // of objects no longer in memory. guarded by mu
	tour    uint64         // number of the Stats tour that is here; 0: none. guarded by mu
	missed  turn.Stats     // of objects that left memory before that tour counted them. guarded by mu
}

// tourStep is the number of objects of a namespace that are visited before
// other goroutines get its mutex.
const tourStep = 1000

// each calls f with each object in memory, holding mu. It releases mu from time
// to time for other goroutines. Objects added after the start may be left out.
func (ns *namespace) each(f func(o *object)) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	n := 0
	for _, o := range ns.objects {
		f(o)
		if n++; n%tourStep == 0 {
			ns.mu.Unlock()
			runtime.Gosched()
			ns.mu.Lock()
		}
	}
}

// live returns the objects in memory.
func (ns *namespace) live() []*object {
	ns.mu.Lock()
	all := make([]*object, 0, len(ns.objects))
	ns.mu.Unlock()
	ns.each(func(o *object) { all = append(all, o) })
	return all
}

// holder returns the object with this ID if it is in memory, otherwise nil.
// Nothing else looks objects up by their ID, so with several machines this is
// where another machine can turn out to hold the object. The other question,
// how to deliver an event to the holder, is object.deliver.
func (ns *namespace) holder(id ID) *object {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.holderLocked(id)
}

// holderLocked is holder. The caller must hold mu.
func (ns *namespace) holderLocked(id ID) *object {
	o := ns.objects[id]
	if o == nil || !o.retired.Load() {
		return o
	}
	ns.forgetLocked(o) // callers need not wait until the goroutine that retired it does this
	return nil
}

// object returns the object or group with this ID and makes it if there is
// none.
func (ns *namespace) object(id ID, name string) *object {
	ns.mu.Lock()
	o := ns.holderLocked(id)
	made := o == nil
	if made {
		o = newObject(ns, id, name)
		o.fresh.Store(ns.kind == KindObject)
		if ns.kind == KindGroup {
			o.group = newGroupState(o)
		}
		ns.objects[id] = o
	}
	ns.mu.Unlock()
	if made {
		ns.rt.made(o)
	}
	return o
}

// adopt adds a new replica.
func (ns *namespace) adopt(o *object) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if former := ns.objects[o.id]; former != nil {
		ns.forgetLocked(former)
	}
	ns.objects[o.id] = o
}

// forget removes a retired object, if it has not been removed yet.
func (ns *namespace) forget(o *object) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.forgetLocked(o)
}

// forgetLocked is forget. The caller must hold mu.
func (ns *namespace) forgetLocked(o *object) {
	if ns.objects[o.id] != o { // another object has taken its place
		return
	}
	delete(ns.objects, o.id)
	stats := o.turnStats()
	ns.past = ns.past.Add(stats)
	if ns.tour != 0 && o.toured != ns.tour {
		ns.missed = ns.missed.Add(stats)
	}
}
