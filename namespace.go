package dog

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/godurable/dog/internal/conn"
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

// A Namespace is a registered type that embeds [Object], and its objects.
type Namespace[T any] struct{ ns *namespace }

// Named returns the stub of the object with this name, which is 1 to 1,024
// bytes of UTF-8 without control characters; any other answers with
// [ErrInvalidName]. Making a stub makes no object: its first event does, so
// check names that clients choose: each makes an object that stays in memory
// for a while (Options.EvictAfter).
func (n *Namespace[T]) Named(name string) Stub[T] { return stubTo[T](n.own().named(name)) }

// New returns the stub of a new object without a name, under a random ID that
// no other has. It is found again by that ID ([Namespace.Parse]).
func (n *Namespace[T]) New() Stub[T] { return stubTo[T](n.own().unnamed()) }

// Parse returns the stub of the object with the ID that was written as 64
// hexadecimal digits. [ErrForeignID] when that is no ID of this namespace.
// Whether the object has ever been used is not checked.
func (n *Namespace[T]) Parse(id string) (Stub[T], error) {
	a, err := n.own().parsed(id)
	return stubTo[T](a), err
}

// ByID is [Namespace.Parse] for an ID.
func (n *Namespace[T]) ByID(id ID) (Stub[T], error) {
	a, err := n.own().byID(id)
	return stubTo[T](a), err
}

// List returns the objects of the namespace that are in memory or have stored
// something, each once: those with a name in the order of their names' bytes,
// then the others in the order of their IDs. No object is started for it. What
// comes or goes meanwhile may be missing or not. A caller may do with the
// objects what it likes, delete them for example.
//
// It does not give up the turn. An error is the last item: the cause of ctx's
// end, a [UsageError] for a negative limit, [ErrShutdown], and errors of
// reading.
func (n *Namespace[T]) List(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	return n.own().entries(ctx, options)
}

// Objects returns the objects that are in memory, or have open sockets, now, in
// no order.
func (n *Namespace[T]) Objects() iter.Seq[LiveObject] { return n.own().states() }

func (n *Namespace[T]) own() *namespace {
	if n == nil {
		return nil
	}
	return n.ns
}

// Replicas is a registered type that embeds [Replica], and its replicas, of all
// groups. They are made by [GroupStub.Identify].
type Replicas[T any] struct{ ns *namespace }

// Parse returns the stub of the replica with the ID that was written as 64
// hexadecimal digits. [ErrForeignID] when that is no ID of this namespace. A
// replica is reached only while it is in memory, else its stub answers with
// [ErrReplicaGone].
func (n *Replicas[T]) Parse(id string) (Stub[T], error) {
	a, err := n.own().parsed(id)
	return stubTo[T](a), err
}

// ByID is [Replicas.Parse] for an ID.
func (n *Replicas[T]) ByID(id ID) (Stub[T], error) {
	a, err := n.own().byID(id)
	return stubTo[T](a), err
}

// List returns the replicas that are in memory or have stored something: see
// [Namespace.List].
func (n *Replicas[T]) List(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	return n.own().entries(ctx, options)
}

// Objects returns the replicas, of all groups that are in memory, or have open
// sockets, now, in no order.
func (n *Replicas[T]) Objects() iter.Seq[LiveObject] { return n.own().states() }

func (n *Replicas[T]) own() *namespace {
	if n == nil {
		return nil
	}
	return n.ns
}

// Groups is a registered type that embeds [Group], its groups, and the type of
// replicas over which they spread.
type Groups[G, R any] struct{ ns *namespace }

// Named returns the stub of the group with this name: see [Namespace.Named]. A
// group stays in memory for Options.RetireAfter.
func (n *Groups[G, R]) Named(name string) GroupStub[G, R] {
	return GroupStub[G, R]{stubTo[G](n.own().named(name))}
}

// New returns the stub of a new group without a name: see [Namespace.New].
func (n *Groups[G, R]) New() GroupStub[G, R] { return GroupStub[G, R]{stubTo[G](n.own().unnamed())} }

// Parse returns the stub of the group with an ID: see [Namespace.Parse].
func (n *Groups[G, R]) Parse(id string) (GroupStub[G, R], error) {
	a, err := n.own().parsed(id)
	return GroupStub[G, R]{stubTo[G](a)}, err
}

// ByID is [Groups.Parse] for an ID.
func (n *Groups[G, R]) ByID(id ID) (GroupStub[G, R], error) {
	a, err := n.own().byID(id)
	return GroupStub[G, R]{stubTo[G](a)}, err
}

// List returns the groups that are in memory or have stored something: see
// [Namespace.List].
func (n *Groups[G, R]) List(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	return n.own().entries(ctx, options)
}

// Objects returns the groups that are in memory now, in no order.
func (n *Groups[G, R]) Objects() iter.Seq[LiveObject] { return n.own().states() }

func (n *Groups[G, R]) own() *namespace {
	if n == nil {
		return nil
	}
	return n.ns
}

// states describes the objects in memory. ns may be nil, here and below.
func (ns *namespace) states() iter.Seq[LiveObject] {
	return func(yield func(LiveObject) bool) {
		if ns == nil {
			return
		}
		for _, o := range ns.live() {
			if !yield(o.state()) {
				return
			}
		}
	}
}

func (ns *namespace) named(name string) *address {
	if ns == nil {
		return nil
	}
	return &address{ns: ns, id: namedID(ns.origin, ID{}, name), name: name, refusal: checkName("name", name)}
}

func (ns *namespace) unnamed() *address {
	if ns == nil {
		return nil
	}
	return &address{ns: ns, id: randomID(ns.origin), known: true}
}

func (ns *namespace) parsed(id string) (*address, error) {
	if ns == nil {
		return nil, notRunning("Namespace.Parse")
	}
	var parsed ID
	if err := parsed.UnmarshalText([]byte(id)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeignID, err)
	}
	return ns.byID(parsed)
}

func (ns *namespace) byID(id ID) (*address, error) {
	if ns == nil {
		return nil, notRunning("Namespace.ByID")
	}
	if id != idOf(ns.origin, id.base()) {
		return nil, fmt.Errorf("%w: %s is not one of %q", ErrForeignID, id, ns.name)
	}
	return &address{ns: ns, id: id}, nil
}

// stubTo returns the stub that leads to an address; the zero Stub for nil.
func stubTo[T any](a *address) Stub[T] {
	if a == nil {
		return Stub[T]{}
	}
	return Stub[T]{to: a}
}

// Self returns the stub of an object, from inside it: for its own requests and
// calls to others, or to be handed on. The zero Stub when it is not running.
func Self[T any, P instanceType[T]](o P) Stub[T] {
	if c := o.base(); c.inst != nil {
		return stubTo[T](c.inst.obj.address())
	}
	return Stub[T]{}
}

// NamespaceOf returns the namespace of an object, to reach others of its type;
// nil when it is not running.
func NamespaceOf[T any, P objectType[T]](o P) *Namespace[T] {
	if c := o.base(); c.inst != nil {
		return &Namespace[T]{c.inst.obj.ns}
	}
	return nil
}

// GroupOf returns the stub of a replica's group; the zero GroupStub when the
// replica is not running. G is the group's type: with another one, calls fail.
//
//	lobby := dog.GroupOf[Lobby](room)
func GroupOf[G, R any, P replicaType[R]](r P) GroupStub[G, R] {
	if c := r.base(); c.inst != nil {
		return GroupStub[G, R]{stubTo[G](c.inst.obj.member.books.group.address())}
	}
	return GroupStub[G, R]{}
}

// address returns the way to the object.
func (o *object) address() *address {
	a := &address{ns: o.ns, id: o.id, name: o.name, known: true}
	a.seen.Store(o)
	return a
}

// state describes the object as it is now.
func (o *object) state() LiveObject {
	l := LiveObject{ObjectInfo: o.info(), Hibernated: o.current.Load() == nil}
	if s := o.crowd.Load(); s != nil {
		l.Sockets = s.set.Len()
	}
	return l
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	ID        ID
	Kind      Kind
	Namespace string
	Name      string // "" when the object has none
}

// A LiveObject is an object that is in memory or has open sockets.
type LiveObject struct {
	ObjectInfo
	Sockets    int
	Hibernated bool // it has left memory but for its sockets
}

// namespace is the untyped part of Namespace. Fields without a comment are
// fixed at registration.
type namespace struct {
	rt      *Runtime
	name    string
	kind    Kind
	typ     reflect.Type // of the pointer to the user's type
	number  uint32       // in the store's catalog
	origin  string       // the name it had first, on which the IDs depend
	build   func(*instance) (any, error)
	coreOf  func(v any) *core
	problem string             // why it cannot be registered
	methods map[uintptr]string // the names of the type's exported methods by their code

	// what the options say
	schema                      Schema
	allowNewerSchema            bool
	hibernates, rollbackOnError bool
	maxSockets                  int           // of an object; not above 0: no bound
	sockets                     SocketOptions // the defaults of the type
	shared                      *conn.Options // of sockets that have nothing special
	limit, maxReplicas          int           // of a group
	order                       Order         // of a group
	lingerFor                   time.Duration // of a group; not above 0: not at all
	holdPlaces                  bool          // of a group
	replicas                    *namespace    // of a group

	connects bool // requests connect where the type has no Receive

	clusterizes, gateway, gossips, onError, onClose, starts, stops, alarms bool // whether the type has these handlers

	schedule *schedule // of its alarms
	starting sync.Once // to run them

	mu      sync.Mutex
	objects map[ID]*object // in memory now. guarded by mu
	past    turn.Stats     // of objects no longer in memory. guarded by mu
	tour    uint64         // the number of the tour of Stats that is here; 0: none. guarded by mu
	missed  turn.Stats     // of objects that have left memory before that tour has counted them. guarded by mu
}

// tourStep is how many objects of a namespace are looked at before others get
// its mutex.
const tourStep = 1000

// each calls f with each object in memory, holding mu. It lets others have mu
// now and then: what comes meanwhile may be left out.
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

// object returns the object or group with this ID, which it makes when there is
// none.
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
