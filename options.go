package dog

import (
	"cmp"
	"log/slog"
	"math"
	"time"
)

// Options configures a [Runtime]. The zero value is ready for production. If a
// time is negative where the field does not allow it, [New] returns a
// [UsageError] that names the field.
type Options struct {
	// Logger receives records of errors made by handlers and clients, with the
	// object's namespace and ID. Nil: [slog.Default].
	Logger *slog.Logger

	// Trace holds hooks that are called at points of interest. Nil: no hooks.
	Trace *Trace

	// ReserveFor is how long a place is kept between Identify and the first
	// request through its stub, to the nanosecond. [GroupStub.Replicas] and
	// Stats may count an expired place for up to a second longer if it has not
	// been asked for since. 0: 10 s; not negative.
	ReserveFor time.Duration

	// LingerFor is how long a uid without connections is sent back to the
	// replica it was on, to the nanosecond. GroupOptions.LingerFor overrides
	// it. 0: 30 s; negative: not at all.
	LingerFor time.Duration

	// RetireAfter is how long a replica without connections stays in memory,
	// and then how long a group without replicas stays after its last event. It
	// is never shorter than LingerFor (for a replica, the LingerFor of its
	// group).
	//
	// A replica is retired up to a second late, a group up to two seconds late.
	// A short ReserveFor, LingerFor or RetireAfter lowers these limits: to a
	// quarter of the shortest of the three for a replica, at least 10 ms, and
	// to half of it for a group, at least 20 ms. If the replica or group is
	// busy at that time, the limits count from when it becomes idle. 0: 60 s;
	// not negative.
	RetireAfter time.Duration

	// GossipTimeout is how long Gossip waits for replies. The time starts when
	// the question is sent, which is when the asking object's writes are
	// durable. Gossip returns when it is over at the latest. A handler that
	// asks may have to wait longer to get its turn back. The context's own
	// deadline applies if it is earlier. 0: 5 s; not negative.
	GossipTimeout time.Duration

	// ParkAfter is how long a client must be silent before its socket gives up
	// its goroutine and leaves the waiting to the kernel. The socket does so
	// before twice that time has passed. This halves the memory of an idle
	// socket and costs its next message a few microseconds. It is on by default
	// because no socket in use is ever parked. 0: 10 s; negative: never. Values
	// below 10 ms count as 10 ms.
	//
	// Only the connections of a TCP or Unix listener on Linux can be parked
	// (epoll), and only these are written without a goroutine of their own.
	// TLS, other platforms, and listeners that wrap their connections, such as
	// a limiting listener, work at a higher cost.
	ParkAfter time.Duration

	// Store holds the data of objects. Nil: data is in memory only, without
	// SQL, and is lost with the process. disk.At("data") opens a data
	// directory. New opens the store, and Shutdown closes it.
	Store Store

	// Migrations lists all changes that releases have made to the namespaces of
	// a store, oldest first. See [Migration]. [New] fails with a
	// [MigrationError] if they contradict themselves or the store.
	Migrations []Migration

	// MaxWaiting bounds the queue for the turn of one object. While this many
	// events of any kind wait, a further call, request, gossip or event of [Go]
	// fails with [ErrOverloaded]. Alarms are not refused, nor are sockets and
	// timers, each of which waits with one event at a time. 0: 10,000;
	// negative: no limit.
	MaxWaiting int

	// ShutdownTimeout is how long [Runtime.Serve] waits for the shutdown at its
	// end. 0: 10 s; not negative.
	ShutdownTimeout time.Duration

	// EvictAfter is how long a plain object without sockets stays in memory
	// after the end of its last event. The object is evicted, or its OnStop is
	// due (see [Stopper]), up to two seconds later. If EvictAfter or
	// HibernateAfter is short, the delay is at most half of the shorter one, or
	// 20 ms if that is more. An object whose writes are not durable yet stays
	// until they are. 0: 60 s; not negative.
	EvictAfter time.Duration

	// MaxObjects is the maximum number of plain objects in memory. When there
	// are more, those that have been idle longest are evicted early. Objects
	// with an event in progress, or with writes that are not durable yet, stay,
	// and do not prevent new objects: their number is bounded by that of the
	// events. A caller that creates an object while idle objects remain to be
	// evicted waits for that, for at most 5 s. When OnStop of more than
	// MaxObjects objects is due or hangs, the caller waits as long and then
	// gets [ErrOverloaded]. 0: 100,000; negative: no limit.
	MaxObjects int

	// StartTimeout is the time limit for OnStart and for the other parts of the
	// start of an object whose type has OnStart: its New and its [Schema]. For
	// other types, it limits only the Schema. When the time is over, the object
	// is reset, and all callers that waited for the start get that error. A
	// handler that hangs continues with its context cancelled, and its output
	// is dropped. 0: 30 s; negative: no limit.
	StartTimeout time.Duration

	// HibernateAfter is how long an object with sockets, a group or a replica
	// stays in memory after the end of its last event, if its type hibernates
	// (ObjectOptions.Hibernate). The delay is that of EvictAfter. 0: 10 s; not
	// negative.
	HibernateAfter time.Duration

	// Sockets holds the defaults for the sockets of all types.
	Sockets SocketOptions

	// CheckTurns detects three kinds of mistakes. A call that uses a running
	// handler's context in a foreign goroutine fails with [ErrOutsideTurn].
	// Output that a handler sends past the output gate of its object fails with
	// [ErrPastGate]. A handler that calls its own object with another context
	// than its own gets [ErrDeadlock], unless by RoundTrip. The check costs
	// about 3 µs for each event, each wait and each message, and is on in
	// package dogtest. When it is off, contexts are only checked for use after
	// their handler.
	CheckTurns bool
}

// ObjectOptions configures a type that embeds [Object].
type ObjectOptions[T any] struct {
	// New creates the value for each life of an object, before its OnStart, and
	// passes it the dependencies of T. It runs for real objects only, never at
	// registration. It must not wait, and must not return a value twice. It
	// does not know which object the value is for. OnStart does. Nil: new(T).
	New func() *T

	// Schema lists the steps that bring the SQL database to its present form.
	Schema Schema

	// AllowNewerSchema accepts a database that has taken more steps than Schema
	// has, because a later release was rolled back. Without it the object does
	// not start.
	AllowNewerSchema bool

	// Hibernate lets an idle object be evicted from memory
	// (Options.HibernateAfter) even while it has sockets. They stay open with
	// their tags and attachments, and the next event starts the object again,
	// with OnStart. Without Hibernate, an object with sockets stays in memory.
	Hibernate bool

	// RollbackOnError undoes the writes of a handler's last transaction when
	// the handler returns an error. Without it only a panic does.
	RollbackOnError bool

	// MaxSockets is the maximum number of sockets of one object. It includes
	// sockets that are connecting and sockets whose OnClose has not returned. A
	// further socket is refused with 503 ([ErrSocketsFull]). 0: 10,000;
	// negative: no limit.
	MaxSockets int

	// Presence keeps the list of the uids that have sockets in the object.
	// Default: off.
	Presence Presence

	// Sockets holds the defaults for the type's sockets. A zero field stands
	// for that of Options.Sockets.
	Sockets SocketOptions

	// History makes objects keep what they send to their sockets. Default:
	// nothing is kept.
	History HistoryOptions
}

// Order selects the replica for a newcomer, among the replicas that have room
// and are neither draining nor locked. The choice takes constant time, however
// many replicas there are.
type Order int

const (
	// LeastLoaded selects the replica with the most room. Clients are spread
	// evenly.
	LeastLoaded Order = iota
	// FullestFirst selects the replica with the least room. Each replica fills
	// up before the next gets a client, as for a game that starts when it is
	// full.
	FullestFirst
)

// A Migration describes the changes that a release makes to the namespaces of
// earlier releases, so that their objects are still found. Options.Migrations
// lists all migrations there have ever been, oldest first. Add new migrations
// at the end and leave released migrations as they are.
//
//	Migrations: []dog.Migration{
//		{Tag: "v2", Renamed: map[string]string{"user": "account"}},
//		{Tag: "v3", Deleted: []string{"session"}},
//	},
//
// A store applies each migration once, when [New] opens it, and remembers the
// tag. A store that has no namespaces yet only remembers the tags. Object IDs
// are the same in both cases: the IDs of a renamed namespace are still derived
// from its first name.
//
// Each name may have only one role within a migration, so the order of the
// changes in it does not matter. Changes that build on each other need two
// migrations. A namespace that is renamed, deleted or merged must be known to
// the store or to an earlier migration.
//
// A name that was given up cannot be registered again until a later migration
// renames another namespace to it or lists it in Created.
type Migration struct {
	// Tag names the migration. It must never change.
	Tag string

	// Renamed maps names to new names, which no namespace may have. Renaming
	// takes no time, regardless of the number of objects, and object IDs stay
	// the same.
	Renamed map[string]string

	// Deleted lists namespaces whose objects are deleted with their storage.
	// For a group type, its replicas are deleted too.
	Deleted []string

	// Merged maps the names of namespaces to the names of the namespaces that
	// take over their objects. Only namespaces of plain objects can be merged,
	// and no two objects may have the same name. A named object gets the ID
	// that its name has in the new namespace. Other objects keep their IDs
	// except for the last 8 bytes. Alarms move with their objects. The storage
	// of the objects is copied, which takes time and temporarily space.
	Merged map[string]string

	// Created lists names that an earlier migration gave up and that a new type
	// now takes. Its objects have other IDs than the earlier objects. A name
	// that no migration has mentioned does not need to be listed.
	Created []string
}

// defaultMaxSockets is the default of ObjectOptions.MaxSockets.
const defaultMaxSockets = 10_000

// ReplicaOptions configures a type that embeds [Replica]. The fields are those
// of [ObjectOptions]. The number of sockets of a replica is limited by its
// group's Limit.
type ReplicaOptions[T any] struct {
	New              func() *T
	Schema           Schema
	AllowNewerSchema bool
	Hibernate        bool
	RollbackOnError  bool
	Sockets          SocketOptions
}

// check returns an error if a time or a size is negative and must not be.
func (o Options) check() error {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"ReserveFor", o.ReserveFor}, {"RetireAfter", o.RetireAfter}, {"GossipTimeout", o.GossipTimeout},
		{"EvictAfter", o.EvictAfter}, {"ShutdownTimeout", o.ShutdownTimeout}, {"HibernateAfter", o.HibernateAfter},
	} {
		if f.value < 0 {
			return misuse("Options."+f.name, "%v: it must not be negative; 0 stands for the default", f.value)
		}
	}
	if o.Sockets.Slow == CatchUp {
		return misuse("Options.Sockets.Slow", "CatchUp is for types with a History, whose default it is")
	}
	return o.Sockets.checkDefaults()
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Trace == nil {
		o.Trace = &Trace{}
	}
	o.ReserveFor = cmp.Or(o.ReserveFor, 10*time.Second)
	o.LingerFor = max(cmp.Or(o.LingerFor, 30*time.Second), 0)
	o.RetireAfter = max(cmp.Or(o.RetireAfter, 60*time.Second), o.LingerFor)
	if o.MaxWaiting = cmp.Or(o.MaxWaiting, 10_000); o.MaxWaiting < 0 {
		o.MaxWaiting = 0
	}
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 10*time.Second)
	o.EvictAfter = cmp.Or(o.EvictAfter, 60*time.Second)
	o.MaxObjects = min(cmp.Or(o.MaxObjects, 100_000), math.MaxInt/2) // leaves room for sums
	o.StartTimeout = max(cmp.Or(o.StartTimeout, 30*time.Second), 0)
	o.HibernateAfter = cmp.Or(o.HibernateAfter, 10*time.Second)
	o.GossipTimeout = cmp.Or(o.GossipTimeout, 5*time.Second)
	if o.ParkAfter = cmp.Or(o.ParkAfter, 10*time.Second); o.ParkAfter > 0 {
		o.ParkAfter = max(o.ParkAfter, 10*time.Millisecond)
	}
	o.Sockets = o.Sockets.over(SocketOptions{
		MaxMessage:   64 << 10,
		QueueBytes:   256 << 10,
		WriteTimeout: 10 * time.Second,
		CloseTimeout: 5 * time.Second,
		PingInterval: 25 * time.Second,
	})
	return o
}
