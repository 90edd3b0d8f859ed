package dog

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/turn"
)

// Identify picks the replica of the group that serves a uid, reserves a place
// there, and returns the replica's stub.
//
// A uid that has connections, or had them up to GroupOptions.LingerFor ago,
// goes to the replica that has or had them, if there is room.
// GroupOptions.HoldPlaces keeps that room free. Any other uid goes to the
// replica with the least load, or to the one that GroupOptions.Order selects.
// When all replicas are full or locked, it goes to a new one. The decision
// takes constant time for any number of replicas and uids, as long as a uid is
// on few replicas at a time.
//
// The reserved place belongs to the first request through the stub and expires
// after Options.ReserveFor. Each further request through the same stub takes a
// place of its own on that replica. If there is none, the response is 503. A
// request holds its place until it is answered, a socket until it is closed.
//
// A uid names a person, a device, or another source of connections. Several
// connections may share it. It is 1 to 1,024 bytes of UTF-8 without control
// characters. For any other, the error is ErrInvalidName.
//
// Other errors are ErrGroupFull, ErrShutdown, ErrDeadlock, ErrOutsideTurn,
// ErrInTransaction, ErrReset when the group could not start, the error of
// Clusterize, a [UsageError] when Clusterize returns the name of a live
// replica, read errors of the store, and the cause of ctx's end. In a handler
// Identify gives up the turn.
func (s GroupStub[G, R]) Identify(ctx context.Context, uid string) (Stub[R], error) {
	to := s.address()
	if to == nil {
		return Stub[R]{}, notRunning("GroupStub.Identify")
	}
	rt := to.ns.rt
	if err := rt.host.Enter(); err != nil {
		return Stub[R]{}, err
	}
	defer rt.host.Work.Leave()
	var r *reservation
	err := object.AwaitDurable(ctx, nil, func() (err error) { // Clusterize may send the uid elsewhere
		r, err = to.identify(ctx, uid)
		return err
	})
	if err != nil {
		return Stub[R]{}, err
	}
	return Stub[R]{to: r}, nil
}

// identify is Identify for the group that a refers to, without giving up a
// turn.
func (a *address) identify(ctx context.Context, uid string) (*reservation, error) {
	if err := checkUID(uid); err != nil {
		a.refused(err)
		return nil, err
	}
	var reserved *reservation
	err := on(ctx, a, func(o *objectState) (err error) {
		reserved, err = o.group.admit(ctx, uid)
		return err
	})
	return reserved, err
}

// reservation is the target that leads a uid to the replica chosen by Identify.
type reservation struct {
	// fixed
	replica *replicaState
	uid     string

	place *roster.Place[*replicaState, *Socket] // nil once used. guarded by the group state's mu
}

func (r *reservation) identity() (id ID, name string) { return r.replica.obj.id(), r.replica.obj.Name }

func (r *reservation) runtime() *Runtime { return r.replica.group.runtime() }

func (r *reservation) namespace() *namespace { return r.replica.obj.ns }

func (r *reservation) object() (*objectState, error) { return r.replica.obj, nil }

func (r *reservation) room(context.Context) error { return nil }

func (r *reservation) live() (*objectState, error) { return r.replica.obj, nil }

func (r *reservation) retired(*objectState) error { return ErrReplicaGone }

// admit reserves a place for a uid.
func (g *groupState) admit(ctx context.Context, uid string) (*reservation, error) {
	for {
		r, m, err := g.reserve(ctx, uid)
		switch {
		case err != nil || r != nil:
			return r, err
		case m != nil:
			err = m.wait(ctx)
		default:
			err = g.start(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

// reserve reserves a place. If a replica must be waited for first, it returns
// the making of that replica. If the state is not open yet, it returns nothing.
func (g *groupState) reserve(ctx context.Context, uid string) (*reservation, *making, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		switch {
		case g.gone:
			return nil, nil, object.ErrRetired
		case g.book == nil:
			return nil, nil, nil
		}
		p, err := g.book.Reserve(uid, g.runtime().now())
		if err == nil {
			g.obj.ns.counts.identified[p.Way()].Add(1)
			return &reservation{replica: p.Replica().Value, uid: uid, place: p}, nil, nil
		}
		if errors.Is(err, roster.ErrFull) {
			g.obj.ns.counts.full.Add(1)
		}
		if !errors.Is(err, roster.ErrNoRoom) {
			return nil, nil, rosterError(err)
		}
		if g.obj.ns.clusterizes {
			err = g.clusterizeLocked(ctx, uid)
			return nil, g.making, err
		}
		if err := g.addLocked(""); err != nil {
			return nil, nil, err
		}
	}
}

// clusterizeLocked begins to make a replica, unless one is being made. The
// caller must hold mu.
func (g *groupState) clusterizeLocked(ctx context.Context, uid string) error {
	if m := g.making; m != nil {
		if m.runs == nil || m.runs.Context().Err() == nil {
			return nil
		}
		g.making = nil // it is ending in a reset, which new callers do not share
	}
	life, ticket, err := g.obj.TryQueue(turn.Follow(ctx))
	if err != nil {
		return err
	}
	if life == nil {
		return nil // admit waits for the next life, without mu
	}
	m := &making{event: ticket.Event, done: make(chan struct{})}
	g.making = m
	m.event.Share()
	rt := g.runtime()
	queued, starter := g.obj.Clock(), rt.host.Starter(ctx)
	rt.host.Work.Spawn(func() {
		var name string
		err := errors.New("dog: Clusterize ended its goroutine") // stays if it does not return
		defer m.event.Unshare()
		defer func() { g.made(m, name, err) }()
		e, again, failed := life.Begin(rt.host.Ctx, ticket)
		if failed != nil {
			// The waiting callers have joined this very event. If the group was
			// reset before the event began, they start again.
			m.again, err = again, failed
			return
		}
		var outcome <-chan error
		g.clusterizes(m, life)
		// Do not wait for a handler that hangs after its life has ended.
		stop := context.AfterFunc(life.Context(), func() {
			g.made(m, "", life.AwaitStart(rt.host.Ctx, context.Cause(life.Context())))
		})
		err = life.Run(e, object.EventClusterize, queued, starter, func(ctx context.Context, v any) (err error) {
			defer func() {
				stop()
				g.clusterizes(m, nil)
				outcome = g.obj.Gate.Outcome()
			}()
			name, err = v.(Clusterizer).Clusterize(ctx, uid)
			return err
		})
		if outcome != nil {
			err = g.obj.AwaitOutcome(rt.host.Ctx, outcome, err)
		}
	})
	return nil
}

// clusterizes records the life whose Clusterize runs for a making, nil for
// none.
func (g *groupState) clusterizes(m *making, life *object.Life) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.runs = life
}

// made ends the making of a replica, unless it has ended already.
func (g *groupState) made(m *making, name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.over {
		return
	}
	m.over = true
	switch {
	case m.again:
		err = nil
	case err == nil:
		err = g.addLocked(name)
	}
	if g.making == m {
		g.making = nil
	}
	m.err = err
	close(m.done)
}

// wait waits for the replica on behalf of the event of ctx, if any.
func (m *making) wait(ctx context.Context) error {
	e := turn.From(ctx)
	if m.event.RunsHere() { // with a context that is not its own
		return turn.ErrDeadlock
	}
	if err := m.event.Join(e); err != nil {
		return err
	}
	defer m.event.Part(e)
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release gives back the reserved place if it has not been used.
func (r *reservation) release() {
	g := r.replica.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.place != nil {
		g.book.Release(r.place, g.runtime().now())
		r.place = nil
	}
}

// slot is what a request that has reached an object holds there. On a replica
// it is a place.
type slot struct {
	// fixed
	obj *objectState
	uid string // of the requester; "" if unknown

	// on a replica; nil when it has been given back or passed on. guarded by
	// the group state's mu
	place *roster.Place[*replicaState, *Socket]
	open  atomic.Bool // on a plain object or a group: neither answered nor passed on
}

// take takes a place for a request. The first request takes the reserved place,
// unless that has expired.
func (r *reservation) take(s *slot) error {
	g := r.replica.group
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.runtime().now()
	place := r.place
	r.place = nil
	if place == nil || !g.book.Claim(place, now) {
		var err error
		if place, err = g.book.Take(r.replica.entry, r.uid, now); err != nil {
			return rosterError(err)
		}
	}
	s.obj, s.uid, s.place = r.replica.obj, r.uid, place
	return nil
}

// group returns the state of the replica's group. It returns nil if the object
// is not a replica.
func (s *slot) group() *groupState {
	if s.obj == nil || s.obj.replica == nil {
		return nil
	}
	return s.obj.replica.group
}

// end gives the place back if the slot still has it.
func (s *slot) end() {
	g := s.group()
	if g == nil {
		s.open.Store(false)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.place != nil {
		g.book.Release(s.place, g.runtime().now())
		s.place = nil
	}
}

// over reports whether the request has been answered or its place passed on.
func (s *slot) over() bool {
	g := s.group()
	if g == nil {
		return !s.open.Load()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return s.place == nil
}

// passOn gives the place to a socket. It reports false when the slot is over.
func (s *slot) passOn(to *Socket) bool {
	g := s.group()
	if g == nil {
		return s.open.CompareAndSwap(true, false)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.place == nil {
		return false
	}
	to.place = s.place
	g.book.Attach(s.place, to)
	s.place = nil
	return true
}
