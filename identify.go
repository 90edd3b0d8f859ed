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
// Other errors are ErrGroupFull, ErrShutdown, ErrDeadlock, ErrReset when the
// group could not start, the error of Clusterize, and the cause of ctx's end
// while waiting. In a handler Identify gives up the turn.
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
	var a *reservation
	err := object.AwaitDurable(ctx, nil, func() (err error) { // Clusterize may send the uid elsewhere
		a, err = to.identify(ctx, uid)
		return err
	})
	if err != nil {
		return Stub[R]{}, err
	}
	return Stub[R]{to: a}, nil
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

func (a *reservation) identity() (id ID, name string) { return a.replica.obj.id(), a.replica.obj.Name }

func (a *reservation) runtime() *Runtime { return a.replica.group.runtime() }

func (a *reservation) namespace() *namespace { return a.replica.obj.ns }

func (a *reservation) object() (*objectState, error) { return a.replica.obj, nil }

func (a *reservation) room(context.Context) error { return nil }

func (a *reservation) live() (*objectState, error) { return a.replica.obj, nil }

func (a *reservation) retired(*objectState) error { return ErrReplicaGone }

// admit reserves a place for a uid.
func (b *groupState) admit(ctx context.Context, uid string) (*reservation, error) {
	for {
		a, m, err := b.reserve(ctx, uid)
		switch {
		case err != nil || a != nil:
			return a, err
		case m != nil:
			err = m.wait(ctx)
		default:
			err = b.start(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

// start starts the group. A group that starts opens its state.
func (b *groupState) start(ctx context.Context) error {
	from := turn.OriginOf(ctx)
	return b.obj.Start(ctx, &from)
}

// reserve reserves a place. If a replica must be waited for first, it returns
// the making of that replica. If the state is not open yet, it returns nothing.
func (b *groupState) reserve(ctx context.Context, uid string) (*reservation, *making, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.gone:
			return nil, nil, object.ErrRetired
		case b.book == nil:
			return nil, nil, nil
		}
		p, err := b.book.Reserve(uid, b.runtime().now())
		if err == nil {
			return &reservation{replica: p.Replica().Value, uid: uid, place: p}, nil, nil
		}
		if !errors.Is(err, roster.ErrNoRoom) {
			return nil, nil, rosterError(err)
		}
		if b.obj.ns.clusterizes {
			err = b.clusterizeLocked(ctx, uid)
			return nil, b.making, err
		}
		if err := b.addLocked(""); err != nil {
			return nil, nil, err
		}
	}
}

// clusterizeLocked begins to make a replica, unless one is being made. The
// caller must hold mu.
func (b *groupState) clusterizeLocked(ctx context.Context, uid string) error {
	if m := b.making; m != nil {
		if m.runs == nil || m.runs.Context().Err() == nil {
			return nil
		}
		b.making = nil // it is ending in a reset, which new callers do not share
	}
	life, ticket, err := b.obj.TryQueue(turn.Follow(ctx))
	if err != nil {
		return err
	}
	if life == nil {
		return nil // admit waits for the next life, without mu
	}
	m := &making{event: ticket.Event, done: make(chan struct{})}
	b.making = m
	m.event.Share()
	rt := b.runtime()
	queued := rt.host.Clock()
	rt.host.Work.Spawn(func() {
		var name string
		err := errors.New("dog: Clusterize ended its goroutine") // stays if it does not return
		defer m.event.Unshare()
		defer func() { b.made(m, name, err) }()
		e, again, failed := life.Begin(rt.host.Ctx, ticket)
		if failed != nil {
			// The waiting callers have joined this very event. If the group was
			// reset before the event began, they start again.
			m.again, err = again, failed
			return
		}
		var outcome <-chan error
		b.clusterizes(m, life)
		// Do not wait for a handler that hangs after its life has ended.
		stop := context.AfterFunc(life.Context(), func() {
			b.made(m, "", life.AwaitStart(rt.host.Ctx, context.Cause(life.Context())))
		})
		err = life.Run(e, object.EventClusterize, queued, func(ctx context.Context, v any) (err error) {
			defer func() {
				stop()
				b.clusterizes(m, nil)
				outcome = b.obj.Gate.Outcome()
			}()
			name, err = v.(Clusterizer).Clusterize(ctx, uid)
			return err
		})
		if outcome != nil {
			err = b.obj.AwaitOutcome(rt.host.Ctx, outcome, err)
		}
	})
	return nil
}

// clusterizes records the life whose Clusterize runs for a making, nil for
// none.
func (b *groupState) clusterizes(m *making, life *object.Life) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.runs = life
}

// made ends the making of a replica, unless it has ended already.
func (b *groupState) made(m *making, name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.over {
		return
	}
	m.over = true
	switch {
	case m.again:
		err = nil
	case err == nil:
		err = b.addLocked(name)
	}
	if b.making == m {
		b.making = nil
	}
	m.err = err
	close(m.done)
}

// wait waits for the replica on behalf of the event of ctx, if any.
func (m *making) wait(ctx context.Context) error {
	e := turn.From(ctx)
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
func (a *reservation) release() {
	b := a.replica.group
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.place != nil {
		b.book.Release(a.place, b.runtime().now())
		a.place = nil
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
func (a *reservation) take(s *slot) error {
	b := a.replica.group
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.runtime().now()
	place := a.place
	a.place = nil
	if place == nil || !b.book.Claim(place, now) {
		var err error
		if place, err = b.book.Take(a.replica.entry, a.uid, now); err != nil {
			return rosterError(err)
		}
	}
	s.obj, s.uid, s.place = a.replica.obj, a.uid, place
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
	b := s.group()
	if b == nil {
		s.open.Store(false)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.place != nil {
		b.book.Release(s.place, b.runtime().now())
		s.place = nil
	}
}

// over reports whether the request has been answered or its place passed on.
func (s *slot) over() bool {
	b := s.group()
	if b == nil {
		return !s.open.Load()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.place == nil
}

// passOn gives the place to a socket. It reports false when the slot is over.
func (s *slot) passOn(to *Socket) bool {
	b := s.group()
	if b == nil {
		return s.open.CompareAndSwap(true, false)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.place == nil {
		return false
	}
	to.place = s.place
	b.book.Attach(s.place, to)
	s.place = nil
	return true
}
