package dog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/answer"
	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/hookqueue"
	"github.com/godurable/dog/internal/inflight"
	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// A Runtime holds the registered types and their objects, and owns all
// goroutines that serve them. It does not listen for connections: requests come
// in through stubs, from a server of the program. All methods are safe for
// concurrent use.
type Runtime struct {
	// fixed; nil in a zero Runtime
	opts  Options
	ctx   context.Context // lifetime of all objects; done at the end of Shutdown
	stop  context.CancelCauseFunc
	epoch time.Time

	engine   store.Engine
	catalog  *store.Catalog
	sweeper  *sweeper
	hooks    *hookqueue.Queue // of Options.Trace
	answers  answer.Host
	refusals refusals
	places   stopPlaces // of OnStop

	poller  *conn.Poller // nil: sockets keep their goroutines
	writers *conn.Writers

	wallClock func() time.Time // the time of day, for alarms. fixed

	started         atomic.Bool             // set by Start
	work            *inflight.Work          // requests, sockets and goroutines, for which Shutdown waits. fixed
	stopping        context.Context         // done when Shutdown begins, after work is closed. fixed
	announce        context.CancelCauseFunc // ends stopping. fixed
	held            atomic.Int64            // bytes of messages held at gates
	closeFramesSent chan struct{}           // closed when Shutdown has notified all sockets
	ended           chan struct{}           // closed when Shutdown is complete
	closed          error                   // error of closing the store; set before ended is closed
	shutdown        sync.Once
	ending          atomic.Int32 // stage of the shutdown

	idleStopped chan struct{} // closed when OnStop of the objects that were idle has had its time
	firstStops  sync.Once     // closes idleStopped

	services sync.WaitGroup // the clock, the heart and the poller

	// registering serializes registrations, which wait for the store. It is
	// taken before all others.
	registering sync.Mutex

	mu         sync.Mutex
	namespaces map[string]*namespace         // guarded by mu
	watched    map[*groupState]struct{}      // all groups, for clock. guarded by mu
	hearts     map[time.Duration]*conn.Heart // by interval. guarded by mu

	touring sync.Mutex // held by Stats. taken before all others but registering
	past    struct {   // its mutex is taken before all others
		sync.Mutex
		leaving map[*conn.Conn]struct{} // sockets that have left their replica and are not closed yet
		traffic Traffic                 // of closed sockets
		slow    uint64                  // sockets closed as slow
		tours   uint64                  // number of Stats tours so far
		touring bool                    // a tour is in progress
		missed  []*conn.Conn            // sockets that left their replica before that tour counted them
	}
}

// New returns a runtime with these options. The caller should stop it with
// [Runtime.Shutdown].
func New(options Options) (*Runtime, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	rt := &Runtime{
		opts:            options.withDefaults(),
		wallClock:       time.Now,
		epoch:           time.Now(),
		work:            inflight.New(),
		closeFramesSent: make(chan struct{}),
		ended:           make(chan struct{}),
		idleStopped:     make(chan struct{}),
		namespaces:      make(map[string]*namespace),
		watched:         make(map[*groupState]struct{}),
		hearts:          make(map[time.Duration]*conn.Heart),
	}
	if err := rt.opts.Sockets.check(); err != nil {
		return nil, err
	}
	if err := rt.openStore(); err != nil {
		return nil, err
	}
	rt.ctx, rt.stop = context.WithCancelCause(context.Background())
	rt.stopping, rt.announce = context.WithCancelCause(context.Background())
	rt.answers = answer.Host{Work: rt.work, Ended: rt.ctx, Settle: settle, ErrSlow: ErrSlowConsumer}
	rt.hooks = hookqueue.New(rt.work.Spawn)
	rt.places = make(stopPlaces, stopsAtOnce)
	rt.sweeper = newSweeper(rt)
	rt.services.Go(rt.clock)
	rt.services.Go(func() { rt.sweeper.run(rt.ctx) })
	if rt.opts.ParkAfter > 0 {
		rt.poller = conn.NewPoller(rt.opts.ParkAfter)
		rt.services.Go(func() { rt.poller.Run(rt.ctx) })
	}
	rt.writers = conn.NewWriters(rt.work.Spawn)
	rt.past.leaving = make(map[*conn.Conn]struct{})
	return rt, nil
}

// enter admits a request from outside. Unless it returns an error, work.Leave
// must follow.
func (rt *Runtime) enter() error {
	rt.Start()
	return rt.enterQuietly()
}

// enterQuietly is enter for work that the runtime starts itself.
func (rt *Runtime) enterQuietly() error {
	if !rt.work.Enter() {
		return ErrShutdown
	}
	return nil
}

// over returns ErrShutdown once the lives of all objects have ended. Handlers
// that Shutdown still waits for get nil.
func (rt *Runtime) over() error {
	if rt.ctx.Err() != nil {
		return ErrShutdown
	}
	return nil
}

// letIn reports whether the event belongs to this runtime. e may be nil.
func (rt *Runtime) letIn(e *turn.Event) bool {
	return e != nil && e.Owner().(*instance).obj.ns.rt == rt
}

// enterFrom is enter for calls that may come from a handler of this runtime,
// which has been admitted already.
func (rt *Runtime) enterFrom(ctx context.Context) (leave func(), err error) {
	if rt.letIn(turn.From(ctx)) {
		return func() {}, nil
	}
	if err := rt.enter(); err != nil {
		return nil, err
	}
	return rt.work.Leave, nil
}

func (rt *Runtime) now() roster.Time { return roster.Time(time.Since(rt.epoch)) }

// made hands a new group or object to the clock or the sweeper, which retire
// it.
func (rt *Runtime) made(o *object) {
	if o.group == nil {
		rt.sweeper.add(o)
		return
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.watched[o.group] = struct{}{}
}

// heart returns the Heart that pings sockets at an interval, or nil if the
// interval is 0 or less. The caller must have entered, or be registering a
// type.
func (rt *Runtime) heart(interval time.Duration) *conn.Heart {
	if interval <= 0 {
		return nil
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	h := rt.hearts[interval]
	if h == nil {
		h = conn.NewHeart(interval)
		rt.hearts[interval] = h
		rt.services.Go(func() { h.Run(rt.ctx) })
	}
	return h
}

// openStore opens the store, or a store in memory if there is none.
func (rt *Runtime) openStore() (err error) {
	rt.engine = store.NewMemory()
	if rt.opts.Store != nil {
		if rt.engine, err = rt.opts.Store.openEngine(rt.opts.Logger); err != nil {
			return fmt.Errorf("dog: open store: %w", err)
		}
	}
	done, left := make(chan error), make(chan struct{})
	defer close(left)
	go func() { // ends when the disk responds
		err := rt.prepareStore()
		if err != nil {
			_ = rt.engine.Close() // the first error is the one that matters
		}
		select {
		case done <- err:
		case <-left:
			if err == nil {
				err = rt.engine.Close()
			}
			rt.opts.Logger.Info("the disk answers again; the store has been closed", "error", err)
		}
	}()
	if err := rt.engine.Await(done); err != nil {
		if errors.Is(err, store.ErrFull) {
			rt.engine.GiveUp() // stop waiting, so that the other goroutine ends
		}
		return fmt.Errorf("dog: open store: %w", err)
	}
	return nil
}

// prepareStore reads the catalog of namespaces and migrates them.
func (rt *Runtime) prepareStore() (err error) {
	if rt.catalog, err = store.OpenCatalog(rt.engine); err != nil {
		return err
	}
	return rt.migrate()
}

// clock runs the time-driven work of all groups.
func (rt *Runtime) clock() {
	// A quarter of the shortest time is not noticed as a delay, and one second
	// is rare enough to cost nothing. Options document both.
	shortest := min(rt.opts.ReserveFor, rt.opts.RetireAfter)
	if rt.opts.LingerFor > 0 {
		shortest = min(shortest, rt.opts.LingerFor)
	}
	ticker := time.NewTicker(min(max(shortest/4, 10*time.Millisecond), time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-rt.ctx.Done():
			return
		case <-ticker.C:
		}
		for _, b := range rt.groups() {
			if b.tick(rt.now()) {
				rt.mu.Lock()
				delete(rt.watched, b)
				rt.mu.Unlock()
			}
		}
	}
}

// groups returns the states of the groups that are in memory.
func (rt *Runtime) groups() []*groupState {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return slices.Collect(maps.Keys(rt.watched))
}

// objects returns all objects that are in memory.
func (rt *Runtime) objects() []*object {
	var all []*object
	for _, ns := range rt.registered() {
		all = append(all, ns.live()...)
	}
	return all
}

// registeredAs returns the namespace with a name, or nil.
func (rt *Runtime) registeredAs(name string) *namespace {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.namespaces[name]
}

func (rt *Runtime) registered() []*namespace {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return slices.Collect(maps.Values(rt.namespaces))
}

// numbered returns the registered namespace with a number, or nil.
func (rt *Runtime) numbered(number uint32) *namespace {
	for _, ns := range rt.registered() {
		if ns.number == number {
			return ns
		}
	}
	return nil
}

// add adds a namespace to the runtime.
func (rt *Runtime) add(ns *namespace) {
	rt.mu.Lock()
	rt.namespaces[ns.name] = ns
	rt.mu.Unlock()
	if rt.started.Load() {
		ns.startAlarms()
	}
	for _, other := range rt.registered() {
		other.schedule.Adopt()
	}
}
