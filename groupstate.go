package dog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/presence"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/session"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// groupState is a group's record of its replicas, connections and uids. It
// belongs to the group's identity, not to its life, so a reset of the group
// does not change it.
//
// The lock order is in docs/design.md.
type groupState struct {
	// fixed
	obj        *objectState
	attendance *presence.Attendance // nil: its type has no Presence
	record     *record.Record       // the history; nil: its type has none

	sessions atomic.Pointer[session.Book] // of the clients; nil: none

	peers atomic.Pointer[[]*replicaState] // the replicas, for fan-out; nil: to be rebuilt from book

	mu     sync.Mutex
	book   *roster.Book[*replicaState, *Socket] // nil until the first start of the group; guarded by mu
	making *making                              // the replica that Clusterize is naming; nil: none; guarded by mu
	gone   bool                                 // the group has been retired; guarded by mu
	quiet  bool                                 // see since; guarded by mu

	// dormant holds the replicas without a name that have written to storage
	// and are not in memory, and perhaps some that are in memory. The next
	// replica without a name reuses one of them. Guarded by mu.
	dormant map[store.Base]struct{}

	// since records since when only time has passed, if quiet is set, for
	// retirement. Guarded by mu.
	since  roster.Time
	events uint64
}

// making is the creation of a replica that several Identify calls wait for.
type making struct {
	event *turn.Event   // in which Clusterize runs
	done  chan struct{} // closed when err is set
	err   error
	// the group was reset before Clusterize began; owned by the goroutine that
	// runs it
	again bool
	runs  *object.Life // the life whose Clusterize is running, or nil; guarded by the group state's mu
	over  bool         // done is closed; guarded by the group state's mu
}

func newGroupState(group *objectState) *groupState {
	g := &groupState{obj: group, attendance: newAttendance(group)}
	g.record = group.newRecord(g.drainSockets)
	return g
}

func (g *groupState) runtime() *Runtime { return g.obj.ns.rt }

// open opens the state after the group has started. Later lives find it
// open.
func (g *groupState) open() error {
	dormant := make(map[store.Base]struct{})
	for base, err := range store.Members(g.runtime().host.Engine, g.obj.ns.Number, g.obj.ID.Base()) {
		if err != nil {
			return err
		}
		dormant[base] = struct{}{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.book == nil {
		g.dormant = dormant
		o, ns := g.runtime().opts, g.obj.ns
		g.book = roster.New[*replicaState, *Socket](roster.Config{
			Limit: ns.limit, MaxReplicas: ns.maxReplicas,
			Reserve: o.ReserveFor, Linger: ns.lingerFor, Retire: o.RetireAfter,
			FullestFirst: ns.order == FullestFirst, Hold: ns.holdPlaces,
		})
	}
	return nil
}

// start starts the group. A group that starts opens its state.
func (g *groupState) start(ctx context.Context) error {
	from := turn.OriginOf(ctx)
	return g.obj.Start(ctx, &from)
}

// addLocked adds a replica. An empty name means a random identity. The caller
// must hold mu.
func (g *groupState) addLocked(name string) error {
	replicas := g.obj.ns.replicas
	var id object.ID
	stored := false
	if name == "" {
		id, stored = g.dormantLocked(replicas)
	} else {
		id = object.NamedID(replicas.Origin, g.obj.ID, name)
	}
	o, err := g.enterLocked(replicas, id, name, g.book.Add)
	switch {
	case !stored:
	case err == nil:
		o.SetStored()
	default: // keep it for reuse when there is room
		g.dormant[id.Base()] = struct{}{}
	}
	return err
}

// dormantLocked returns the ID of a stored replica that is not in memory, or a
// new ID. The caller must hold mu.
func (g *groupState) dormantLocked(replicas *namespace) (id object.ID, stored bool) {
	for base := range g.dormant {
		delete(g.dormant, base)
		if id := object.IDOf(replicas.Origin, base); replicas.Holder(id) == nil {
			return id, true
		}
	}
	return object.RandomID(replicas.Origin), false
}

// enterLocked creates the object of a replica, which add enters into the book.
// The caller must hold mu.
func (g *groupState) enterLocked(
	replicas *namespace, id object.ID, name string,
	add func(id string, r *replicaState, now roster.Time) (*rosterReplica, error),
) (*objectState, error) {
	o := newObject(replicas, id, name)
	r := &replicaState{obj: o, group: g}
	o.replica = r
	entry, err := add(string(o.ID[:]), r, g.runtime().now())
	if err != nil {
		return nil, rosterError(err)
	}
	r.entry = entry
	replicas.Adopt(&o.Object)
	g.peers.Store(nil)
	return o, nil
}

// revive returns a replica that has written to storage and may not be in
// memory. MaxReplicas does not apply, since the replica exists already. Errors
// are those of start, and object.ErrRetired.
func (g *groupState) revive(ctx context.Context, replicas *namespace, id object.ID, name string) (*objectState, error) {
	for {
		o, err := g.tryRevive(replicas, id, name)
		if o != nil || err != nil {
			return o, err
		}
		if err := g.start(ctx); err != nil {
			return nil, err
		}
	}
}

// tryRevive is revive, but returns nil if the state is not open yet.
func (g *groupState) tryRevive(replicas *namespace, id object.ID, name string) (*objectState, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.gone:
		return nil, object.ErrRetired
	case g.book == nil:
		return nil, nil
	}
	if o := replicas.holder(ID(id)); o != nil {
		return o, nil
	}
	o, err := g.enterLocked(replicas, id, name, g.book.Readd)
	if err == nil {
		o.SetStored()
	}
	return o, err
}

// replicaStates returns the replicas of the group. The slice is shared and must
// not be changed.
func (g *groupState) replicaStates() []*replicaState {
	if p := g.peers.Load(); p != nil {
		return *p
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*replicaState
	if g.book != nil {
		list = make([]*replicaState, 0, g.book.Len())
		for r := range g.book.All() {
			list = append(list, r.Value)
		}
	}
	g.peers.Store(&list)
	return list
}

// replica returns a replica of the group, or ErrReplicaGone. A replica that it
// returns is in the book for as long as mu is held.
func (g *groupState) replica(id ID) (*replicaState, error) {
	if o := g.obj.ns.replicas.holder(id); o != nil && o.replica.group == g {
		return o.replica, nil
	}
	return nil, ErrReplicaGone
}

// socketsOf returns the sockets of a uid, in the order in which they connected.
func (g *groupState) socketsOf(uid string) []*Socket {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.book == nil {
		return nil
	}
	var sockets []*Socket
	for s := range g.book.Sockets(uid) {
		if !s.lost.Load() {
			sockets = append(sockets, s)
		}
	}
	return sockets
}

// tick does the work that depends on time alone: reservations expire, uids are
// forgotten, and empty replicas and finally the group itself are retired. It
// reports whether the group is gone.
func (g *groupState) tick(now roster.Time) (gone bool) {
	var retired []*objectState
	var ended []*object.Life
	retire := func(o *objectState) bool {
		life, ok := o.Retire()
		if life != nil {
			ended = append(ended, life)
		}
		if ok {
			retired = append(retired, o)
		}
		return ok
	}
	release := g.record.Hold() // until release, no message is kept
	g.mu.Lock()
	if g.book != nil {
		g.book.Tick(now, func(r *rosterReplica) bool {
			o := r.Value.obj
			if !retire(o) {
				return false
			}
			if o.Name == "" && o.Stored() {
				g.dormant[o.ID.Base()] = struct{}{}
			}
			return true
		})
	}
	if len(retired) > 0 {
		g.peers.Store(nil)
	}
	if g.quietLocked(now) && retire(g.obj) {
		g.gone, gone = true, true
		g.record.EndLocked()
	}
	g.mu.Unlock()
	release()
	for _, o := range retired {
		o.ns.Forget(&o.Object)
	}
	for _, life := range ended {
		life.Over()
	}
	return gone
}

// quietLocked reports whether the group has been idle for long enough to be
// retired. The caller must hold mu.
func (g *groupState) quietLocked(now roster.Time) bool {
	// Read before the check of the turn, so that an event beginning in between
	// counts as busy.
	events := g.obj.TurnStats().Events
	quiet := g.obj.Idle() && g.making == nil && (g.book == nil || g.book.Empty()) && !g.record.Holds()
	if !quiet || !g.quiet || events != g.events {
		g.quiet, g.since, g.events = quiet, now, events
		return false
	}
	return time.Duration(now-g.since) >= g.runtime().opts.RetireAfter
}

// rosterError translates an error of package roster.
func rosterError(err error) error {
	switch {
	case errors.Is(err, roster.ErrFull):
		return ErrGroupFull
	case errors.Is(err, roster.ErrReplicaFull):
		return ErrReplicaFull
	case errors.Is(err, roster.ErrLocked):
		return fmt.Errorf("%w: it is locked", ErrReplicaFull)
	case errors.Is(err, roster.ErrDraining), errors.Is(err, roster.ErrGone):
		return ErrReplicaGone
	case errors.Is(err, roster.ErrExists):
		return misuse("Clusterize", "a live replica of the group has this name already")
	}
	return err
}

// replicaState connects a replica with its group.
type replicaState struct {
	// fixed
	obj   *objectState
	group *groupState
	entry *rosterReplica
}

// rosterReplica is an entry for a replica in a group's roster.
type rosterReplica = roster.Replica[*replicaState, *Socket]

// drain stops new requests from reaching a replica.
func (g *groupState) drain(r *rosterReplica) { g.book.Drain(r, g.runtime().now()) }

// setLocked closes a replica to new clients, or opens it again.
func (g *groupState) setLocked(locked bool) func(*rosterReplica) {
	return func(r *rosterReplica) { g.book.SetLocked(r, locked, g.runtime().now()) }
}

// restrict calls f for a replica of the group, with mu held. It returns
// ErrReplicaGone if the group has no replica with this ID.
func (g *groupState) restrict(id ID, f func(*rosterReplica)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, err := g.replica(id)
	if err != nil {
		return err
	}
	f(r.entry)
	return nil
}

// restrictLater is restrict, delayed until the gate of the source opens.
func (g *groupState) restrictLater(source voice, id ID, f func(*rosterReplica)) error {
	if _, err := g.replica(id); err != nil {
		return err
	}
	if err := source.CheckGate(); err != nil {
		return err
	}
	return source.gated(func(lost error) {
		if lost == nil {
			_ = g.restrict(id, f) // a replica that has gone since admits no clients either
		}
	})
}

// drainSockets waits while more messages are queued for the sockets of the
// group than the machine writes.
func (g *groupState) drainSockets() {
	for _, r := range g.replicaStates() {
		r.obj.drain()
	}
}
