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
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/sparselog"
	"github.com/godurable/dog/internal/store"
)

// A Runtime holds the registered types and their objects, and owns all
// goroutines that serve them. It does not listen for connections: requests come
// in through stubs, from a server of the program. All methods are safe for
// concurrent use.
type Runtime struct {
	// fixed; nil in a zero Runtime
	opts     Options
	host     *object.Host // what the objects share. Its context is done at the end of Shutdown
	catalog  *store.Catalog
	epoch    time.Time
	process  string // its name in histories; see record.Config
	answers  answer.Host
	refusals sparselog.Log // why clients were refused, by namespace: they try again

	poller  *conn.Poller // nil: sockets keep their goroutines
	writers *conn.Writers

	stopping        context.Context         // done when Shutdown begins, after the host admits nothing more. fixed
	announce        context.CancelCauseFunc // ends stopping. fixed
	held            atomic.Int64            // bytes of output held at gates
	closeFramesSent chan struct{}           // closed when Shutdown has notified all sockets
	ended           chan struct{}           // closed when Shutdown is complete
	closed          error                   // error of closing the store; set before ended is closed
	shutdown        sync.Once
	ending          atomic.Int32   // stage of the shutdown
	farewell        *conn.Farewell // of all sockets; set before Work is closed

	// registering serializes registrations, which wait for the store. It is
	// taken before all others.
	registering sync.Mutex

	mu      sync.Mutex
	watched map[*groupState]struct{}      // all groups, for clock. guarded by mu
	hearts  map[time.Duration]*conn.Heart // by interval. guarded by mu

	touring sync.Mutex // held by Stats. taken before all others but registering
	past    struct {   // its mutex is taken before all others
		sync.Mutex
		leaving map[*conn.Conn]struct{} // sockets that have left their object and are not closed yet
		traffic Traffic                 // of closed sockets
		slow    uint64                  // sockets closed as slow
		tours   uint64                  // number of Stats tours so far
		touring bool                    // a tour is in progress
		missed  []*conn.Conn            // sockets that left their object before that tour counted them
	}
}

// New returns a runtime with these options. The caller should stop it with
// [Runtime.Shutdown].
//
// New returns a [UsageError] for a wrong option, a [MigrationError],
// [ErrStoreFull], [ErrStoreStalled], [ErrStoreLocked], [ErrStoreCorrupt],
// [ErrStoreTooNew], [ErrStoreForeign], or an error of the file system.
func New(options Options) (*Runtime, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	rt := &Runtime{
		opts:            options.withDefaults(),
		epoch:           time.Now(),
		process:         record.NewProcess(),
		closeFramesSent: make(chan struct{}),
		ended:           make(chan struct{}),
		watched:         make(map[*groupState]struct{}),
		hearts:          make(map[time.Duration]*conn.Heart),
	}
	if err := rt.opts.Sockets.check(); err != nil {
		return nil, err
	}
	engine, err := rt.openStore()
	if err != nil {
		return nil, err
	}
	rt.host = object.NewHost(object.Config{
		Engine: engine, Logger: rt.opts.Logger,
		MaxWaiting: rt.opts.MaxWaiting, MaxObjects: rt.opts.MaxObjects,
		EvictAfter: rt.opts.EvictAfter, HibernateAfter: rt.opts.HibernateAfter, StartTimeout: rt.opts.StartTimeout,
		CheckTurns: rt.opts.CheckTurns, SQLLimits: sqlLimits,
		Errors: objectErrors, Trace: rt.opts.Trace.hooks(),
		Report: func(o *object.Object, kind object.EventKind, err error) { stateOf(o).report(EventKind(kind), err) },
	})
	rt.stopping, rt.announce = context.WithCancelCause(context.Background())
	rt.answers = answer.Host{
		Work: rt.host.Work, Ended: rt.host.Ctx, Settle: object.Settle, ErrSlow: ErrSlowConsumer,
		Held: &rt.held, MaxHeld: maxHeldResponse, ErrHeldBack: ErrHeldBack,
	}
	rt.host.Services.Go(rt.clock)
	if rt.opts.ParkAfter > 0 {
		rt.poller = conn.NewPoller(rt.opts.ParkAfter)
		rt.host.Services.Go(func() { rt.poller.Run(rt.host.Ctx) })
	}
	rt.writers = conn.NewWriters(rt.host.Work.Spawn)
	rt.past.leaving = make(map[*conn.Conn]struct{})
	return rt, nil
}

// over returns ErrShutdown once the lives of all objects have ended. Handlers
// that Shutdown still waits for get nil.
func (rt *Runtime) over() error {
	if rt.host.Ctx.Err() != nil {
		return ErrShutdown
	}
	return nil
}

func (rt *Runtime) now() roster.Time { return roster.Time(time.Since(rt.epoch)) }

// watch hands a new group to the clock, which retires it.
func (rt *Runtime) watch(group *groupState) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.watched[group] = struct{}{}
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
		rt.host.Services.Go(func() { h.Run(rt.host.Ctx) })
	}
	return h
}

// openStore opens the store, or a store in memory if there is none.
func (rt *Runtime) openStore() (store.Engine, error) {
	var engine store.Engine = store.NewMemory()
	if rt.opts.Store != nil {
		var err error
		if engine, err = rt.opts.Store.openEngine(rt.opts.Logger); err != nil {
			return nil, fmt.Errorf("dog: open store: %w", err)
		}
	}
	done, left := make(chan error), make(chan struct{})
	defer close(left)
	go func() { // ends when the disk responds
		err := rt.prepareStore(engine)
		if err != nil {
			_ = engine.Close() // the first error is the one that matters
		}
		select {
		case done <- err:
		case <-left:
			if err == nil {
				err = engine.Close()
			}
			rt.opts.Logger.Info("the disk responds again; the store has been closed", "error", err)
		}
	}()
	if err := engine.Await(done); err != nil {
		if errors.Is(err, store.ErrFull) {
			engine.GiveUp() // stop waiting, so that the other goroutine ends
		}
		return nil, fmt.Errorf("dog: open store: %w", err)
	}
	return engine, nil
}

// prepareStore reads the catalog of namespaces and migrates them.
func (rt *Runtime) prepareStore(engine store.Engine) (err error) {
	if rt.catalog, err = store.OpenCatalog(engine); err != nil {
		return err
	}
	return rt.migrate()
}

// migrate brings the namespaces of the store to their present form.
func (rt *Runtime) migrate() error {
	migrations := make([]store.Migration, len(rt.opts.Migrations))
	for i, m := range rt.opts.Migrations {
		migrations[i] = store.Migration(m)
	}
	err := rt.catalog.Migrate(
		migrations, func(origin, name string) store.Base { return object.NamedID(origin, object.ID{}, name).Base() },
	)
	if r, ok := errors.AsType[*store.Refusal](err); ok {
		return &MigrationError{Tag: r.Tag, Problem: r.Problem}
	}
	return err
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
		case <-rt.host.Ctx.Done():
			return
		case <-ticker.C:
		}
		for _, g := range rt.groups() {
			if g.tick(rt.now()) {
				rt.mu.Lock()
				delete(rt.watched, g)
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
func (rt *Runtime) objects() []*objectState {
	objects := rt.host.Objects()
	all := make([]*objectState, len(objects))
	for i, o := range objects {
		all[i] = stateOf(o)
	}
	return all
}

// Start lets alarms run. Until then the runtime does nothing on its own, so all
// types can be registered and wired before. The first call or request from
// outside of objects also starts the runtime. Types that are registered later
// run their alarms from then on. Further calls do nothing.
func (rt *Runtime) Start() {
	if rt != nil && rt.host != nil {
		rt.host.Start()
	}
}

// queueBytes returns the bound of what waits for the gate of an object, or for
// one socket.
func (rt *Runtime) queueBytes() int { return rt.opts.Sockets.QueueBytes }
