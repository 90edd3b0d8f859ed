package dog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// books is a group's record of its replicas, connections and uids. It belongs
// to the group's identity, not to its instance, so a reset of the group does
// not change it.
//
// The lock order is in docs/design.md.
type books struct {
	group *object // fixed

	peers atomic.Pointer[[]*member] // the replicas, for fan-out; nil: to be rebuilt from book

	mu     sync.Mutex
	book   *roster.Book[*member, *Socket] // nil until the first start of the group; guarded by mu
	making *making                        // the replica that Clusterize is naming; nil: none; guarded by mu
	gone   bool                           // the group has been retired; guarded by mu

	// dormant holds the replicas without a name that have written to storage
	// and are not in memory, and perhaps some that are in memory. The next
	// replica without a name reuses one of them. Guarded by mu.
	dormant map[store.Base]struct{}

	// quiet and since record since when only time has passed, for retirement.
	// Guarded by mu.
	quiet  bool
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
	runs  *instance // the instance whose Clusterize is running, or nil; guarded by the books' mu
	over  bool      // done is closed; guarded by the books' mu
}

func newBooks(group *object) *books { return &books{group: group} }

func (b *books) runtime() *Runtime { return b.group.ns.rt }

// open opens the books after the group has started. Later instances find them
// open.
func (b *books) open() error {
	dormant := make(map[store.Base]struct{})
	for base, err := range store.Members(b.runtime().engine, b.group.ns.number, b.group.id.base()) {
		if err != nil {
			return err
		}
		dormant[base] = struct{}{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.book == nil {
		b.dormant = dormant
		o, ns := b.runtime().opts, b.group.ns
		b.book = roster.New[*member, *Socket](roster.Config{
			Limit: ns.limit, MaxReplicas: ns.maxReplicas,
			Reserve: o.ReserveFor, Linger: ns.lingerFor, Retire: o.RetireAfter,
			FullestFirst: ns.order == FullestFirst, Hold: ns.holdPlaces,
		})
	}
	return nil
}

// addLocked adds a replica. An empty name means a random identity. The caller
// must hold mu.
func (b *books) addLocked(name string) error {
	replicas := b.group.ns.replicas
	var id ID
	stored := false
	if name == "" {
		id, stored = b.dormantLocked(replicas)
	} else {
		id = namedID(replicas.origin, b.group.id, name)
	}
	o, err := b.enterLocked(replicas, id, name, b.book.Add)
	switch {
	case !stored:
	case err == nil:
		o.stores.Store(true)
	default: // keep it for reuse when there is room
		b.dormant[id.base()] = struct{}{}
	}
	return err
}

// dormantLocked returns the ID of a stored replica that is not in memory, or a
// new ID. The caller must hold mu.
func (b *books) dormantLocked(replicas *namespace) (id ID, stored bool) {
	for base := range b.dormant {
		delete(b.dormant, base)
		if id := idOf(replicas.origin, base); b.book.Replica(string(id[:])) == nil {
			return id, true
		}
	}
	return randomID(replicas.origin), false
}

// enterLocked creates the object of a replica, which add enters into the book.
// The caller must hold mu.
func (b *books) enterLocked(replicas *namespace, id ID, name string,
	add func(id string, m *member, now roster.Time) (*roster.Replica[*member, *Socket], error)) (*object, error) {
	o := newObject(replicas, id, name)
	m := &member{obj: o, books: b}
	o.member = m
	entry, err := add(string(o.id[:]), m, b.runtime().now())
	if err != nil {
		return nil, booksError(err)
	}
	m.entry = entry
	replicas.adopt(o)
	b.peers.Store(nil)
	return o, nil
}

// revive returns a replica that has written to storage and may not be in
// memory. MaxReplicas does not apply, since the replica exists already. Errors
// are those of start, and errRetired.
func (b *books) revive(ctx context.Context, replicas *namespace, id ID, name string) (*object, error) {
	for {
		o, err := b.tryRevive(replicas, id, name)
		if o != nil || err != nil {
			return o, err
		}
		if err := b.start(ctx); err != nil {
			return nil, err
		}
	}
}

// tryRevive is revive, but returns nil if the books are not open yet.
func (b *books) tryRevive(replicas *namespace, id ID, name string) (*object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.gone:
		return nil, errRetired
	case b.book == nil:
		return nil, nil
	}
	if r := b.book.Replica(string(id[:])); r != nil {
		return r.Value.obj, nil
	}
	o, err := b.enterLocked(replicas, id, name, b.book.Readd)
	if err == nil {
		o.stores.Store(true)
	}
	return o, err
}

// members returns the replicas of the group. The slice is shared and must not
// be changed.
func (b *books) members() []*member {
	if p := b.peers.Load(); p != nil {
		return *p
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*member
	if b.book != nil {
		list = make([]*member, 0, b.book.Len())
		for r := range b.book.All() {
			list = append(list, r.Value)
		}
	}
	b.peers.Store(&list)
	return list
}

// replicaLocked returns the books' entry for a replica, or ErrReplicaGone. The
// caller must hold mu.
func (b *books) replicaLocked(id ID) (*roster.Replica[*member, *Socket], error) {
	if b.book != nil {
		if r := b.book.Replica(string(id[:])); r != nil {
			return r, nil
		}
	}
	return nil, ErrReplicaGone
}

// broadcast sends v to every socket of the group except sender, which may be
// nil. It is sent when the speaker's gate opens.
func (b *books) broadcast(speaker *object, sender *Socket, v any, options []SendOption) error {
	out, err := newOutgoing(v, sender, options)
	if err != nil {
		return err
	}
	if err := speaker.heard(); err != nil {
		return err
	}
	return speaker.say(out.frame.Len(), func() { b.send(out) })
}

// broadcastFrom is broadcast on behalf of the holder of ctx.
func (b *books) broadcastFrom(ctx context.Context, v any, options []SendOption) error {
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return err
	}
	return announce(ctx, out.frame.Len(), func() { b.send(out) })
}

func (b *books) send(out outgoing) {
	for _, m := range b.members() {
		m.obj.deliver(out)
	}
}

// whisper sends v to every socket with this uid.
func (b *books) whisper(
	ctx context.Context, speaker *object, uid string, v any, options []SendOption,
) (reached int, err error) {
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return 0, err
	}
	err = awaitDurable(ctx, speaker, func() error {
		for _, s := range b.socketsOf(uid) {
			if s.conn.Send(out.frame, out.key) == nil {
				reached++
			}
		}
		if reached == 0 {
			return fmt.Errorf("%w: %q", ErrNoTarget, uid)
		}
		return nil
	})
	return reached, err
}

// emit sends v to every socket of one replica on behalf of the group.
func (b *books) emit(replica ID, v any, options []SendOption) error {
	m, err := b.member(replica)
	if err != nil {
		return err
	}
	return m.obj.emit(b.group, nil, v, options)
}

// emitFrom is emit on behalf of the holder of ctx.
func (b *books) emitFrom(ctx context.Context, replica ID, v any, options []SendOption) error {
	m, err := b.member(replica)
	if err != nil {
		return err
	}
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return err
	}
	return announce(ctx, out.frame.Len(), func() { m.obj.deliver(out) })
}

// member returns a replica of the group, or ErrReplicaGone.
func (b *books) member(id ID) (*member, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, err := b.replicaLocked(id)
	if err != nil {
		return nil, err
	}
	return r.Value, nil
}

// disconnect closes every open socket with this uid, and counts those that it
// closes.
func (b *books) disconnect(
	ctx context.Context, speaker *object, uid string, code int, reason string,
) (closed int, err error) {
	if err := checkClose("Disconnect", code, reason); err != nil {
		return 0, err
	}
	err = awaitDurable(ctx, speaker, func() error {
		for _, s := range b.socketsOf(uid) {
			if s.conn.Over() {
				continue
			}
			// Now, also where its own object's gate holds a Close back that may
			// yet be undone.
			if err := s.conn.Close(code, reason); err != nil {
				return err
			}
			closed++
		}
		if closed == 0 {
			return fmt.Errorf("%w: %q", ErrNoTarget, uid)
		}
		return nil
	})
	return closed, err
}

func (b *books) socketsOf(uid string) []*Socket {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.book == nil {
		return nil
	}
	var sockets []*Socket
	for s := range b.book.Sockets(uid) {
		if !s.lost.Load() {
			sockets = append(sockets, s)
		}
	}
	return sockets
}

// tick does the work that depends on time alone: reservations expire, uids are
// forgotten, and empty replicas and finally the group itself are retired. It
// reports whether the group is gone.
func (b *books) tick(now roster.Time) (gone bool) {
	var retired []*object
	var ended []*instance
	retire := func(o *object) bool {
		inst, ok := o.retire()
		if inst != nil {
			ended = append(ended, inst)
		}
		if ok {
			retired = append(retired, o)
		}
		return ok
	}
	b.mu.Lock()
	if b.book != nil {
		b.book.Tick(now, func(r *roster.Replica[*member, *Socket]) bool {
			o := r.Value.obj
			if !retire(o) {
				return false
			}
			if o.name == "" && o.stores.Load() {
				b.dormant[o.id.base()] = struct{}{}
			}
			return true
		})
	}
	if len(retired) > 0 {
		b.peers.Store(nil)
	}
	if b.quietLocked(now) && retire(b.group) {
		b.gone, gone = true, true
	}
	b.mu.Unlock()
	for _, o := range retired {
		o.ns.forget(o)
	}
	for _, inst := range ended {
		inst.over()
	}
	return gone
}

// quietLocked reports whether the group has been idle for long enough to be
// retired. The caller must hold mu.
func (b *books) quietLocked(now roster.Time) bool {
	// Read before the check of the turn, so that an event beginning in between
	// counts as busy.
	events := b.group.turnStats().Events
	inst := b.group.current.Load()
	quiet := (inst == nil || inst.turn.Idle()) && b.making == nil && (b.book == nil || b.book.Empty())
	if !quiet || !b.quiet || events != b.events {
		b.quiet, b.since, b.events = quiet, now, events
		return false
	}
	return time.Duration(now-b.since) >= b.runtime().opts.RetireAfter
}

// replicas returns the state of each replica.
func (b *books) replicas() iter.Seq[ReplicaStats] {
	return func(yield func(ReplicaStats) bool) {
		for _, m := range b.members() {
			if !yield(m.stats(nil)) {
				return
			}
		}
	}
}

// booksError translates an error of package roster.
func booksError(err error) error {
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
