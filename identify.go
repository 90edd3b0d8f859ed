package dog

import (
	"context"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/turn"
)

// maxRequestID bounds a request id in bytes.
const maxRequestID = 1024

// Identify decides which replica of a group serves a request id, reserves a place there, and returns the replica's stub.
//
// A request id that has connections, or had them up to Options.Linger ago, goes to the replica that holds them if it has room;
// any other to the replica with the least load; when all are full, to a new one. The decision takes constant time whatever the
// number of replicas and ids, as long as an id is on few replicas at a time.
//
// The reserved place belongs to the first request through the stub and expires after Options.Reservation. Each further request
// through the same stub takes a place of its own on that replica and is answered with 503 if there is none. A request holds its
// place until it is answered, a socket until it is closed.
//
// A request id names a person, a device, whatever connects; several connections may share it. It is 1 to 1,024 bytes of UTF-8
// without control characters, else ErrInvalidRequestID.
//
// Other errors: ErrGroupFull, ErrNotLinked, ErrNotRunning, ErrShutdown, ErrDeadlock, ErrReset when the group could not start,
// what Clusterize returned, and the cause of ctx's end while waiting. In a handler Identify gives up the turn.
func Identify[G, R any](ctx context.Context, group Stub[G], requestID string, family *Family[G, R]) (Stub[R], error) {
	to, err := family.address(group)
	if err != nil {
		return Stub[R]{}, err
	}
	rt := to.ns.rt
	if err := rt.enter(); err != nil {
		return Stub[R]{}, err
	}
	defer rt.leave()
	var a *admission
	err = awaitDurable(ctx, nil, func() (err error) { // Clusterize may tell of the request id
		a, err = to.identify(ctx, requestID)
		return err
	})
	if err != nil {
		return Stub[R]{}, err
	}
	return Stub[R]{to: a}, nil
}

func checkRequestID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidRequestID)
	case len(id) > maxRequestID:
		return fmt.Errorf("%w: it has %d bytes, more than %d", ErrInvalidRequestID, len(id), maxRequestID)
	case !utf8.ValidString(id):
		return fmt.Errorf("%w: it is not UTF-8", ErrInvalidRequestID)
	}
	for _, r := range id {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: it has the control character %U", ErrInvalidRequestID, r)
		}
	}
	return nil
}

// identify is Identify for the group that a refers to, without giving up a turn.
func (a *address) identify(ctx context.Context, requestID string) (*admission, error) {
	if err := checkRequestID(requestID); err != nil {
		a.ns.rt.opts.Logger.Debug("request id refused", "namespace", a.ns.name, "object", a.id.String(), "error", err)
		return nil, err
	}
	var admitted *admission
	err := on(ctx, a, func(o *object) (err error) {
		admitted, err = o.books.admit(ctx, requestID)
		return err
	})
	return admitted, err
}

// admission leads a request id to the replica that Identify chose.
type admission struct {
	// fixed
	member    *member
	requestID string

	reserved *roster.Place[*member, *Socket] // nil once used. guarded by the books' mu
}

func (a *admission) identity() (id ID, name string) { return a.member.obj.id, a.member.obj.name }

func (a *admission) runtime() *Runtime { return a.member.books.runtime() }

func (a *admission) namespace() *namespace { return a.member.obj.ns }

func (a *admission) object() (*object, error) { return a.member.obj, nil }

func (a *admission) room(context.Context) error { return nil }

func (a *admission) live() *object { return a.member.obj }

func (a *admission) retired(*object) error { return ErrReplicaGone }

// admit reserves a place for a request id.
func (b *books) admit(ctx context.Context, requestID string) (*admission, error) {
	for {
		a, m, err := b.reserve(ctx, requestID)
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

// start starts the group, which opens its books.
func (b *books) start(ctx context.Context) error {
	from := turn.OriginOf(ctx)
	_, e, err := b.group.begin(ctx, &from)
	if err != nil {
		return err
	}
	_, _ = e.End() // to start the group was all
	return nil
}

// reserve reserves a place, or returns the making of a replica that has to be waited for, or nothing when the books have yet to
// be opened.
func (b *books) reserve(ctx context.Context, requestID string) (*admission, *making, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.gone:
			return nil, nil, errRetired
		case b.book == nil:
			return nil, nil, nil
		}
		p, err := b.book.Reserve(requestID, b.runtime().now())
		if err == nil {
			return &admission{member: p.Replica().Value, requestID: requestID, reserved: p}, nil, nil
		}
		if !errors.Is(err, roster.ErrNoRoom) {
			return nil, nil, booksError(err)
		}
		if b.group.ns.clusterizes {
			err = b.clusterizeLocked(ctx, requestID)
			return nil, b.making, err
		}
		if err := b.addLocked(""); err != nil {
			return nil, nil, err
		}
	}
}

// clusterizeLocked begins to make a replica unless one is being made. The caller must hold mu.
func (b *books) clusterizeLocked(ctx context.Context, requestID string) error {
	if m := b.making; m != nil {
		if m.runs == nil || m.runs.life.Err() == nil {
			return nil
		}
		b.making = nil // it is ending in a reset, and those who come now do not share that
	}
	inst, err := b.group.instance()
	if err != nil {
		return err
	}
	ticket, err := inst.turn.Queue(turn.Follow(ctx))
	if errors.Is(err, ErrReset) || err == errAsleep {
		return nil // admit waits for the next instance, without mu
	}
	if err != nil {
		return err
	}
	m := &making{event: ticket.Event, done: make(chan struct{})}
	b.making = m
	m.event.Share()
	rt := b.runtime()
	began := rt.opts.Trace.clock()
	rt.spawn(func() {
		var name string
		err := errors.New("dog: Clusterize ended its goroutine") // what remains when it does not return
		defer m.event.Unshare()
		defer func() { b.made(m, name, err) }()
		e, failed := ticket.Redeem(rt.ctx)
		if failed != nil {
			// Those who wait have joined this very event: when the group was reset before it began, they begin anew.
			m.again, err = (errors.Is(failed, ErrReset) && !inst.unstartable()) || failed == errAsleep, failed
			return
		}
		if failed := inst.started(rt.ctx, e); failed != nil {
			m.again, err = inst.phase.Load() == wakesAgain, failed
			return
		}
		var outcome <-chan error
		b.clusterizes(m, inst)
		// A handler that hangs is not waited for when its life has ended.
		stop := context.AfterFunc(inst.life, func() { b.made(m, "", inst.toldStart(rt.ctx, context.Cause(inst.life))) })
		err = inst.run(e, EventClusterize, began, func(ctx context.Context, v any) (err error) {
			defer func() {
				stop()
				b.clusterizes(m, nil)
				outcome = b.group.gate.Outcome()
			}()
			name, err = v.(Clusterizer).Clusterize(ctx, requestID)
			return err
		})
		if outcome != nil {
			err = b.group.told(rt.ctx, outcome, err)
		}
	})
	return nil
}

// clusterizes notes whose Clusterize runs for a making, nil for none.
func (b *books) clusterizes(m *making, inst *instance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.runs = inst
}

// made ends the making of a replica, unless it has ended already.
func (b *books) made(m *making, name string, err error) {
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

// wait waits for the replica on behalf of the event that ctx belongs to, if any.
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
func (a *admission) release() {
	b := a.member.books
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.reserved != nil {
		b.book.Release(a.reserved, b.runtime().now())
		a.reserved = nil
	}
}

// visit is a request that has a place on a replica.
type visit struct {
	member    *member
	requestID string

	place *roster.Place[*member, *Socket] // nil when it has been given back or passed on. guarded by the books' mu
}

// visit takes a place for a request: the reserved one for the first, unless it has expired.
func (a *admission) visit() (*visit, error) {
	b := a.member.books
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.runtime().now()
	place := a.reserved
	a.reserved = nil
	if place == nil || !b.book.Claim(place, now) {
		var err error
		if place, err = b.book.Take(a.member.entry, a.requestID, now); err != nil {
			return nil, booksError(err)
		}
	}
	return &visit{member: a.member, requestID: a.requestID, place: place}, nil
}

// end gives the place back if the visit still has it.
func (v *visit) end() {
	b := v.member.books
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.place != nil {
		b.book.Release(v.place, b.runtime().now())
		v.place = nil
	}
}

// over reports whether the request has been answered or its place passed on.
func (v *visit) over() bool {
	b := v.member.books
	b.mu.Lock()
	defer b.mu.Unlock()
	return v.place == nil
}

// passOn gives the place to a socket. It reports false when the visit is over.
func (v *visit) passOn(s *Socket) bool {
	b := v.member.books
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.place == nil {
		return false
	}
	s.place = v.place
	b.book.Attach(v.place, s)
	v.place = nil
	return true
}
