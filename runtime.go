package dog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/answer"
	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/roster"
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
	answers  answer.Host
	refusals refusals

	poller  *conn.Poller // nil: sockets keep their goroutines
	writers *conn.Writers

	stopping        context.Context         // done when Shutdown begins, after the host admits nothing more. fixed
	announce        context.CancelCauseFunc // ends stopping. fixed
	held            atomic.Int64            // bytes of messages held at gates
	closeFramesSent chan struct{}           // closed when Shutdown has notified all sockets
	ended           chan struct{}           // closed when Shutdown is complete
	closed          error                   // error of closing the store; set before ended is closed
	shutdown        sync.Once
	ending          atomic.Int32 // stage of the shutdown

	// registering serializes registrations, which wait for the store. It is
	// taken before all others.
	registering sync.Mutex

	mu      sync.Mutex
	watched map[*groupState]struct{}      // all groups, for clock. guarded by mu
	hearts  map[time.Duration]*conn.Heart // by interval. guarded by mu

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
		epoch:           time.Now(),
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
	rt.answers = answer.Host{Work: rt.host.Work, Ended: rt.host.Ctx, Settle: object.Settle, ErrSlow: ErrSlowConsumer}
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
			rt.opts.Logger.Info("the disk answers again; the store has been closed", "error", err)
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
func (rt *Runtime) objects() []*objectState {
	objects := rt.host.Objects()
	all := make([]*objectState, len(objects))
	for i, o := range objects {
		all[i] = stateOf(o)
	}
	return all
}

// Serve starts the runtime ([Runtime.Start]) and serves HTTP until ctx ends.
// Then it shuts down the runtime and the server at the same time, as
// [Runtime.Shutdown] recommends, and waits for both for up to
// Options.ShutdownTimeout. If listener is nil, Serve listens on server.Addr. If
// server has a TLSConfig, Serve serves HTTPS with its certificates.
//
// Serve returns nil if everything has ended in good order. Otherwise the error
// describes what has not: why the server could not listen or ended by itself,
// after which the runtime is shut down too, and the error of Shutdown. If other
// code shuts down the server or the runtime, Serve ends in the same way,
// without an error of its own. If the runtime has been shut down before, Serve
// returns [ErrShutdown]. Serve closes the listener.
func (rt *Runtime) Serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	if rt == nil || rt.host == nil || server == nil {
		if listener != nil {
			_ = listener.Close()
		}
		if rt == nil || rt.host == nil {
			return notRunning("Runtime.Serve")
		}
		return misuse("Runtime.Serve", "the server is nil")
	}
	if rt.stopping.Err() != nil && ctx.Err() == nil {
		if listener != nil {
			_ = listener.Close()
		}
		return ErrShutdown
	}
	served, failed := rt.serve(ctx, server, listener)
	patience, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), rt.opts.ShutdownTimeout,
		fmt.Errorf("Options.ShutdownTimeout of %v is over: %w", rt.opts.ShutdownTimeout, context.DeadlineExceeded))
	defer cancel()
	var both sync.WaitGroup
	var ended, closed error
	both.Go(func() { ended = rt.Shutdown(patience) })
	both.Go(func() {
		if closed = server.Shutdown(patience); closed != nil {
			closed = errors.Join(fmt.Errorf("dog: the server has not ended: %w", closed), server.Close())
		}
	})
	both.Wait()
	<-served
	return errors.Join(failed, ended, closed)
}

// serve serves until ctx, the runtime or the server ends. If the server ended
// without being shut down, serve returns the cause. served is closed when the
// server has ended.
func (rt *Runtime) serve(ctx context.Context, server *http.Server, listener net.Listener) (served chan struct{}, failed error) {
	served = make(chan struct{})
	if listener == nil {
		addr := server.Addr
		if addr == "" && server.TLSConfig != nil {
			addr = ":https"
		} else if addr == "" {
			addr = ":http"
		}
		if listener, failed = new(net.ListenConfig).Listen(ctx, "tcp", addr); failed != nil {
			close(served)
			if ctx.Err() != nil && errors.Is(failed, ctx.Err()) { // while the address was looked up
				return served, nil
			}
			return served, fmt.Errorf("dog: serve: %w", failed)
		}
	}
	rt.Start()
	var err error
	go func() {
		defer close(served)
		if server.TLSConfig != nil {
			once := &onceListener{Listener: listener}
			defer func() { _ = once.Close() }() // ServeTLS leaves it open if the certificates are missing
			err = server.ServeTLS(once, "", "")
		} else {
			err = server.Serve(listener)
		}
	}()
	select {
	case <-ctx.Done():
		return served, nil
	case <-rt.stopping.Done():
		return served, nil
	case <-served:
	}
	if errors.Is(err, http.ErrServerClosed) {
		return served, nil
	}
	return served, fmt.Errorf("dog: serve: %w", err)
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

// onceListener is a listener that is closed once, however often Close is
// called.
type onceListener struct {
	net.Listener
	once sync.Once
	err  error // owned by once
}

func (l *onceListener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}
