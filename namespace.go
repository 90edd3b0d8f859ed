package dog

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/tally"
)

// A Namespace has the objects of a registered type, one that embeds [Object].
type Namespace[T any] struct{ ns *namespace }

// Named returns the stub of the object with this name. A name is 1 to 1,024
// bytes of UTF-8 without control characters. With any other name, calls and
// requests through the stub fail with [ErrInvalidName]. Making a stub does not
// make an object, but its first event does. Check names that clients choose:
// each of them makes an object that stays in memory for a while
// (Options.EvictAfter).
func (n *Namespace[T]) Named(name string) Stub[T] { return stubTo[T](n.own().named(name)) }

// New returns the stub of a new object without a name. It has a random ID that
// no other object has, and can be found again by that ID ([Namespace.Parse]).
func (n *Namespace[T]) New() Stub[T] { return stubTo[T](n.own().unnamed()) }

// Parse returns the stub of the object with the ID that is written as 64
// hexadecimal digits. It returns [ErrForeignID] if that is not an ID of this
// namespace. It does not check whether the object has ever been used.
func (n *Namespace[T]) Parse(id string) (Stub[T], error) {
	a, err := n.own().parsed(id)
	return stubTo[T](a), err
}

// ByID is like [Namespace.Parse], but takes an ID.
func (n *Namespace[T]) ByID(id ID) (Stub[T], error) {
	a, err := n.own().byID(id)
	return stubTo[T](a), err
}

// List returns the objects of the namespace that are in memory or have stored
// something, each once. Objects with a name come first, in byte order of their
// names, then the others in the order of their IDs. List starts no objects.
// Objects that appear or disappear during the listing may be missing or not.
// The caller may use the objects during the listing, for example delete them.
//
// List does not give up the turn. An error is the last item: the cause of ctx's
// end, a [UsageError] for a negative limit, [ErrShutdown], or a read error.
func (n *Namespace[T]) List(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	return n.own().entries(ctx, options)
}

// Objects returns the objects that are now in memory or have open sockets, in
// no particular order.
func (n *Namespace[T]) Objects() iter.Seq[LiveObject] { return n.own().states() }

func (n *Namespace[T]) own() *namespace {
	if n == nil {
		return nil
	}
	return n.ns
}

// Replicas are the replicas of a registered type, one that embeds [Replica], of
// all groups. [GroupStub.Identify] makes them.
type Replicas[T any] struct{ ns *namespace }

// Parse returns the stub of the replica with the ID that is written as 64
// hexadecimal digits. It returns [ErrForeignID] if that is not an ID of this
// namespace. A replica can be reached only while it is in memory. Otherwise
// calls and requests through the stub fail with [ErrReplicaGone].
func (n *Replicas[T]) Parse(id string) (Stub[T], error) {
	a, err := n.own().parsed(id)
	return stubTo[T](a), err
}

// ByID is like [Replicas.Parse], but takes an ID.
func (n *Replicas[T]) ByID(id ID) (Stub[T], error) {
	a, err := n.own().byID(id)
	return stubTo[T](a), err
}

// List returns the replicas that are in memory or have stored something: see
// [Namespace.List].
func (n *Replicas[T]) List(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	return n.own().entries(ctx, options)
}

// Objects returns the replicas of all groups that are now in memory or have
// open sockets, in no particular order.
func (n *Replicas[T]) Objects() iter.Seq[LiveObject] { return n.own().states() }

func (n *Replicas[T]) own() *namespace {
	if n == nil {
		return nil
	}
	return n.ns
}

// Groups are the groups of a registered type, one that embeds [Group]. They
// spread over the replicas of another type.
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

// ByID is like [Groups.Parse], but takes an ID.
func (n *Groups[G, R]) ByID(id ID) (GroupStub[G, R], error) {
	a, err := n.own().byID(id)
	return GroupStub[G, R]{stubTo[G](a)}, err
}

// List returns the groups that are in memory or have stored something: see
// [Namespace.List].
func (n *Groups[G, R]) List(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	return n.own().entries(ctx, options)
}

// Objects returns the groups that are now in memory, in no particular order.
func (n *Groups[G, R]) Objects() iter.Seq[LiveObject] { return n.own().states() }

func (n *Groups[G, R]) own() *namespace {
	if n == nil {
		return nil
	}
	return n.ns
}

// namespace is the untyped part of Namespace, Replicas and Groups. Fields
// without a comment are set at registration and do not change.
type namespace struct {
	object.Class // the objects, and what they need

	rt      *Runtime
	kind    Kind
	typ     reflect.Type // of the pointer to the user's type
	coreOf  func(v any) *core
	problem string             // why it cannot be registered
	methods map[uintptr]string // names of the type's exported methods, by their code

	// from the options
	maxSockets         int                     // of an object; 0 or less: no limit
	sockets            SocketOptions           // the defaults of the type
	shared             [variants]*conn.Options // of sockets with default options
	history            HistoryOptions
	limit, maxReplicas int           // of a group
	order              Order         // of a group
	lingerFor          time.Duration // of a group; 0 or less: disabled
	holdPlaces         bool          // of a group
	replicas           *namespace    // of a group
	presence           Presence      // of an object or a group; Every has its default

	counts typeCounts

	connects bool // requests open a WebSocket if the type has no Receive

	// whether the type has these handlers
	clusterizes, gateway, gossips, receives, onError, onClose, onPresence bool
}

// typeCounts is what a type counts besides what its objects do. It is safe for
// concurrent use.
type typeCounts struct {
	traffic       tally.Traffic
	opened        atomic.Uint64
	closed        tally.Codes
	refused       tally.Codes
	refusedFor    tally.Counts[string]
	identified    [roster.Ways]atomic.Uint64
	full          atomic.Uint64
	resumed, gaps atomic.Uint64
	history       history.Usage // of objects in memory
}

// namespaceOf returns the namespace of a class.
func namespaceOf(c *object.Class) *namespace { return c.Data.(*namespace) }

// states describes the objects in memory. ns may be nil, here and in the
// functions below.
func (ns *namespace) states() iter.Seq[LiveObject] {
	return func(yield func(LiveObject) bool) {
		if ns == nil {
			return
		}
		for _, o := range ns.Live() {
			if !yield(stateOf(o).state()) {
				return
			}
		}
	}
}

func (ns *namespace) named(name string) *address {
	if ns == nil {
		return nil
	}
	return &address{
		ns: ns, id: ID(object.NamedID(ns.Origin, object.ID{}, name)), name: name, refusal: checkName("name", name),
	}
}

func (ns *namespace) unnamed() *address {
	if ns == nil {
		return nil
	}
	return &address{ns: ns, id: ID(object.RandomID(ns.Origin)), known: true}
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
	if object.ID(id) != object.IDOf(ns.Origin, object.ID(id).Base()) {
		return nil, fmt.Errorf("%w: %s is not one of %q", ErrForeignID, id, ns.Name)
	}
	return &address{ns: ns, id: id}, nil
}

// stubTo returns the stub that leads to an address, or the zero Stub for nil.
func stubTo[T any](a *address) Stub[T] {
	if a == nil {
		return Stub[T]{}
	}
	return Stub[T]{to: a}
}

// Self returns the stub of an object, for use inside the object: for its own
// requests and calls to others, or to pass on. It returns the zero Stub if the
// object is not running.
func Self[T any, P anyType[T]](o P) Stub[T] {
	if o := o.base().object(); o != nil {
		return stubTo[T](o.address())
	}
	return Stub[T]{}
}

// NamespaceOf returns the namespace of an object, to reach other objects of its
// type. It returns nil if the object is not running.
func NamespaceOf[T any, P objectType[T]](o P) *Namespace[T] {
	if o := o.base().object(); o != nil {
		return &Namespace[T]{o.ns}
	}
	return nil
}

// GroupOf returns the stub of a replica's group, or the zero GroupStub if the
// replica is not running. G is the group's type. With another type, calls fail.
//
//	lobby := dog.GroupOf[Lobby](room)
func GroupOf[G, R any, P replicaType[R]](r P) GroupStub[G, R] {
	if o := r.base().object(); o != nil {
		return GroupStub[G, R]{stubTo[G](o.replica.group.obj.address())}
	}
	return GroupStub[G, R]{}
}

// ObjectListOptions select objects of a namespace. The zero value selects all
// of them.
//
// To continue where an earlier listing ended, set After if the last object had
// a name, and AfterID if it had none. Replicas count as objects without a name
// here, since different groups may give the same name.
type ObjectListOptions struct {
	Prefix  string // only objects whose names have this prefix; "": all, including objects without a name
	After   string // only objects after the object with this name, whether it exists or not
	AfterID ID     // only objects without a name, after the object with this ID
	Limit   int    // maximum number of objects; 0: no limit
}

// An ObjectEntry is an object in a listing.
type ObjectEntry struct {
	ObjectInfo
	Live   bool // it is in memory
	Stored bool // it has stored something, which may not be durable yet
}

// entries implements List, see [Namespace.List]. ns may be nil.
func (ns *namespace) entries(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	return func(yield func(ObjectEntry, error) bool) {
		if ns == nil {
			yield(ObjectEntry{}, notRunning("Namespace.List"))
			return
		}
		if options.Limit < 0 {
			yield(ObjectEntry{}, misuse("Namespace.List", "Limit is %d", options.Limit))
			return
		}
		listed := 0
		selected := object.ListOptions{
			Prefix: options.Prefix, After: options.After, AfterID: object.ID(options.AfterID),
		}
		for e, err := range ns.List(ctx, selected) {
			if err != nil {
				yield(ObjectEntry{}, err)
				return
			}
			if !yield(ns.entry(e), nil) {
				return
			}
			if listed++; listed == options.Limit {
				return
			}
		}
	}
}

func (ns *namespace) entry(e object.Entry) ObjectEntry {
	info := ObjectInfo{ID: ID(e.ID), Kind: ns.kind, Namespace: ns.Name, Name: e.Name}
	return ObjectEntry{info, e.Live, e.Stored}
}
