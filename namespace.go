package dog

import (
	"iter"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/godurable/dog/internal/turn"
)

// Kind is what a registered type embeds.
type Kind int

// The kinds of objects.
const (
	KindGroup   Kind = iota + 1 // a type that embeds Group
	KindReplica                 // a type that embeds Replica
)

func (k Kind) String() string {
	switch k {
	case KindGroup:
		return "Group"
	case KindReplica:
		return "Replica"
	}
	return "unknown kind"
}

// A Namespace is a registered type and its objects.
type Namespace[T any] struct {
	ns *namespace
}

// Named returns the stub of the group with this name. Making a stub makes no group: its first event does. Every string is a
// name, so check those that clients choose: each makes a group that stays for Options.Retire at least. Replicas are not addressed by name but through [Identify]: for them the stub answers with [ErrNotRunning].
func (n *Namespace[T]) Named(name string) Stub[T] {
	if n == nil || n.ns == nil {
		return Stub[T]{}
	}
	return Stub[T]{to: &address{ns: n.ns, id: namedID(n.ns.name, ID{}, name), name: name}}
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

// ObjectInfo describes a live object.
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
	build   func(*instance) any
	check   func() (problem string)
	groupOf func(v any) *Group // nil unless a group

	clusterizes, gateway, gossips, onError bool // whether the type has these handlers

	mu      sync.Mutex
	objects map[ID]*object // in memory now. guarded by mu
	linked  *namespace     // the replicas of this group type, set by Link. guarded by mu
	past    turn.Stats     // of objects no longer in memory. guarded by mu
}

func (ns *namespace) live() []*object {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return slices.Collect(maps.Values(ns.objects))
}

// history returns the objects in memory and the turns of those that no longer are.
func (ns *namespace) history() ([]*object, turn.Stats) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return slices.Collect(maps.Values(ns.objects)), ns.past
}

// find returns the object if it is in memory, else nil.
func (ns *namespace) find(id ID) *object {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.objects[id]
}

// object returns the group with this ID, which it makes when there is none.
func (ns *namespace) object(id ID, name string) *object {
	ns.mu.Lock()
	o := ns.objects[id]
	made := o == nil
	if made {
		o = &object{ns: ns, id: id, name: name}
		o.books = newBooks(o)
		ns.objects[id] = o
	}
	ns.mu.Unlock()
	if made {
		ns.rt.watch(o.books)
	}
	return o
}

// adopt takes a new replica in.
func (ns *namespace) adopt(o *object) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.objects[o.id] = o
}

// forget drops an object that has been retired.
func (ns *namespace) forget(o *object) {
	stats := o.turnStats()
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.past = ns.past.Add(stats)
	if ns.objects[o.id] == o { // a replica of the same name may have taken its place
		delete(ns.objects, o.id)
	}
}

func (ns *namespace) replicas() *namespace {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.linked
}
