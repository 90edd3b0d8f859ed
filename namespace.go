package dog

import (
	"fmt"
	"iter"
	"reflect"
	"runtime"
	"sync"

	"github.com/godurable/dog/internal/turn"
)

// Kind is what a registered type embeds.
type Kind int

// The kinds of objects.
const (
	KindGroup   Kind = iota + 1 // a type that embeds Group
	KindReplica                 // a type that embeds Replica
	KindObject                  // a type that embeds Object itself
)

func (k Kind) String() string {
	switch k {
	case KindGroup:
		return "Group"
	case KindReplica:
		return "Replica"
	case KindObject:
		return "Object"
	}
	return "unknown kind"
}

// A Namespace is a registered type and its objects.
type Namespace[T any] struct {
	ns *namespace
}

// Named returns the stub of the object or group with this name. Making a stub makes no object: its first event does. Every string
// but "" is a name, so check those that clients choose: each makes an object that stays in memory for a while (Options.Retire for
// a group). Replicas are not addressed by name but through [Identify]: for them, and for "", the stub answers with
// [ErrNotRunning].
func (n *Namespace[T]) Named(name string) Stub[T] {
	if n == nil || n.ns == nil || name == "" || n.ns.kind == KindReplica {
		return Stub[T]{}
	}
	return Stub[T]{to: &address{ns: n.ns, id: namedID(n.ns.origin, ID{}, name), name: name}}
}

// New returns the stub of a new object or group without a name, under a random ID that no other has. It is found again by that ID
// ([Namespace.Parse]). Replicas are made by [Identify] only: the stub answers with [ErrNotRunning].
func (n *Namespace[T]) New() Stub[T] {
	if n == nil || n.ns == nil || n.ns.kind == KindReplica {
		return Stub[T]{}
	}
	return Stub[T]{to: &address{ns: n.ns, id: randomID(n.ns.origin), known: true}}
}

// Parse returns the stub of the object with the ID that was written as 64 hexadecimal digits. [ErrForeignID] when that is no ID
// of this namespace. Whether the object has ever been used is not checked. A replica is reached only while it is in memory, else
// its stub answers with [ErrReplicaGone].
func (n *Namespace[T]) Parse(id string) (Stub[T], error) {
	if n == nil || n.ns == nil {
		return Stub[T]{}, ErrNotRunning
	}
	var parsed ID
	if err := parsed.UnmarshalText([]byte(id)); err != nil {
		return Stub[T]{}, fmt.Errorf("%w: %w", ErrForeignID, err)
	}
	return n.WithID(parsed)
}

// WithID is [Namespace.Parse] for an ID.
func (n *Namespace[T]) WithID(id ID) (Stub[T], error) {
	if n == nil || n.ns == nil {
		return Stub[T]{}, ErrNotRunning
	}
	if id != idOf(n.ns.origin, id.base()) {
		return Stub[T]{}, fmt.Errorf("%w: %s is not one of %q", ErrForeignID, id, n.ns.name)
	}
	return Stub[T]{to: &address{ns: n.ns, id: id}}, nil
}

// Objects returns the objects of the namespace that are in memory now, in no order.
func (n *Namespace[T]) Objects() iter.Seq[ObjectInfo] {
	return func(yield func(ObjectInfo) bool) {
		if n == nil || n.ns == nil {
			return
		}
		for _, o := range n.ns.live() {
			if !yield(o.info()) {
				return
			}
		}
	}
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	ID        ID
	Kind      Kind
	Namespace string
	Name      string // "" when the object has none
}

// namespace is the untyped part of Namespace. Fields without a comment are fixed at registration.
type namespace struct {
	rt      *Runtime
	name    string
	kind    Kind
	typ     reflect.Type // of the pointer to the user's type
	number  uint32       // in the store's catalog
	origin  string       // the name it had first, on which the IDs depend
	build   func(*instance) any
	baseOf  func(v any) *Object
	check   func() (problem string)
	groupOf func(v any) *Group // nil unless a group
	methods map[uintptr]string // the names of the type's exported methods by their code

	clusterizes, gateway, gossips, onError, starts, stops, alarms bool // whether the type has these handlers

	schedule *schedule // of its alarms
	starting sync.Once // to run them

	mu      sync.Mutex
	objects map[ID]*object // in memory now. guarded by mu
	linked  *namespace     // the replicas of this group type, set by Link. guarded by mu
	past    turn.Stats     // of objects no longer in memory. guarded by mu
	tour    uint64         // the number of the tour of Stats that is here; 0: none. guarded by mu
	missed  turn.Stats     // of objects that have left memory before that tour has counted them. guarded by mu
}

// tourStep is how many objects of a namespace are looked at before others get its
// mutex.
const tourStep = 1000

// each calls f with each object in memory, holding mu. It lets others have mu now
// and then: what comes meanwhile may be left out.
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

// find returns the object if it is in memory, else nil.
func (ns *namespace) find(id ID) *object {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.findLocked(id)
}

// findLocked is find. The caller must hold mu.
func (ns *namespace) findLocked(id ID) *object {
	o := ns.objects[id]
	if o == nil || !o.retired.Load() {
		return o
	}
	ns.forgetLocked(o) // nobody need wait until who has retired it comes to that
	return nil
}

// object returns the object or group with this ID, which it makes when there is none.
func (ns *namespace) object(id ID, name string) *object {
	ns.mu.Lock()
	o := ns.findLocked(id)
	made := o == nil
	if made {
		o = newObject(ns, id, name)
		o.fresh.Store(ns.kind == KindObject)
		if ns.kind == KindGroup {
			o.books = newBooks(o)
		}
		ns.objects[id] = o
	}
	ns.mu.Unlock()
	if made {
		ns.rt.made(o)
	}
	return o
}

// adopt takes a new replica in.
func (ns *namespace) adopt(o *object) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if former := ns.objects[o.id]; former != nil {
		ns.forgetLocked(former)
	}
	ns.objects[o.id] = o
}

// forget drops an object that has been retired, if that has not been done.
func (ns *namespace) forget(o *object) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.forgetLocked(o)
}

// forgetLocked is forget. The caller must hold mu.
func (ns *namespace) forgetLocked(o *object) {
	if ns.objects[o.id] != o { // another has taken its place
		return
	}
	delete(ns.objects, o.id)
	stats := o.turnStats()
	ns.past = ns.past.Add(stats)
	if ns.tour != 0 && o.toured != ns.tour {
		ns.missed = ns.missed.Add(stats)
	}
}

func (ns *namespace) replicas() *namespace {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.linked
}
