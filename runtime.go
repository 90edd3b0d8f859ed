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

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// A Runtime holds the registered types and their objects, and owns every
// goroutine that serves them. It listens on nothing: requests come in through
// stubs, from a server of yours. All methods may be called from any goroutine.
type Runtime struct {
	// fixed; nil in a zero Runtime
	opts  Options
	ctx   context.Context // the life of every object; done at the end of Shutdown
	stop  context.CancelCauseFunc
	epoch time.Time

	engine   store.Engine
	catalog  *store.Catalog
	sweeper  *sweeper
	hooks    hooks
	refusals refusals
	places   stopPlaces // of OnStop

	poller  *conn.Poller // nil: sockets keep their goroutines
	writers *conn.Writers

	wallClock func() time.Time // the time of day, for alarms. fixed

	started  atomic.Bool             // by Start
	closing  atomic.Bool             // nothing new is let in
	stopping context.Context         // done when Shutdown begins, after closing is set. fixed
	announce context.CancelCauseFunc // ends stopping. fixed
	held     atomic.Int64            // bytes of messages that wait at gates
	busy     atomic.Int64            // what Shutdown waits for: requests, sockets and goroutines under way
	idle     chan struct{}           // has a token when closing and perhaps not busy
	farewell chan struct{}           // closed when all sockets have been told of Shutdown
	ended    chan struct{}           // closed when Shutdown is complete
	closed   error                   // of closing the store; set before ended is closed
	shutdown sync.Once
	ending   atomic.Int32 // the stage of the end

	idleStopped chan struct{} // closed when OnStop of the objects that were idle has had its time
	firstStops  sync.Once     // closes idleStopped

	services sync.WaitGroup // the clock, the heart and the poller

	registering sync.Mutex // makes registrations come one after the other, which wait for the store. taken before all others

	mu         sync.Mutex
	namespaces map[string]*namespace         // guarded by mu
	watched    map[*books]struct{}           // all groups, for the clock. guarded by mu
	hearts     map[time.Duration]*conn.Heart // by their intervals. guarded by mu

	touring sync.Mutex // held by Stats. taken before all others but registering
	past    struct {   // its mutex is taken before all others
		sync.Mutex
		leaving map[*conn.Conn]struct{} // of sockets that have left their replica and are not closed yet
		traffic Traffic                 // of closed sockets
		slow    uint64                  // sockets closed as slow
		tours   uint64                  // of Stats, so far
		touring bool                    // one is under way
		missed  []*conn.Conn            // of sockets that have left their replica before that tour has counted them
	}
}

// New returns a runtime with these options. The caller should end it with
// [Runtime.Shutdown].
func New(options Options) (*Runtime, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	rt := &Runtime{
		opts:        options.withDefaults(),
		wallClock:   time.Now,
		epoch:       time.Now(),
		idle:        make(chan struct{}, 1),
		farewell:    make(chan struct{}),
		ended:       make(chan struct{}),
		idleStopped: make(chan struct{}),
		namespaces:  make(map[string]*namespace),
		watched:     make(map[*books]struct{}),
		hearts:      make(map[time.Duration]*conn.Heart),
	}
	if err := rt.opts.Sockets.check(); err != nil {
		return nil, err
	}
	if err := rt.openStore(); err != nil {
		return nil, err
	}
	rt.ctx, rt.stop = context.WithCancelCause(context.Background())
	rt.stopping, rt.announce = context.WithCancelCause(context.Background())
	rt.hooks.rt = rt
	rt.places = make(stopPlaces, stopsAtOnce)
	rt.sweeper = newSweeper(rt)
	rt.services.Go(rt.clock)
	rt.services.Go(func() { rt.sweeper.run(rt.ctx) })
	if rt.opts.ParkAfter > 0 {
		rt.poller = conn.NewPoller(rt.opts.ParkAfter)
		rt.services.Go(func() { rt.poller.Run(rt.ctx) })
	}
	rt.writers = conn.NewWriters(rt.spawn)
	rt.past.leaving = make(map[*conn.Conn]struct{})
	return rt, nil
}

// enter lets a request from outside in; leave must follow unless there is an
// error.
func (rt *Runtime) enter() error {
	rt.Start()
	return rt.enterQuietly()
}

// enterQuietly is enter for what the runtime does by itself.
func (rt *Runtime) enterQuietly() error {
	rt.busy.Add(1)
	if rt.closing.Load() {
		rt.leave()
		return ErrShutdown
	}
	return nil
}

// letIn reports whether the event, which may be nil, is one of this runtime.
func (rt *Runtime) letIn(e *turn.Event) bool {
	return e != nil && e.Owner().(*instance).obj.ns.rt == rt
}

// enterFrom is enter for what may come from a handler of this runtime, which
// has been let in already.
func (rt *Runtime) enterFrom(ctx context.Context) (leave func(), err error) {
	if rt.letIn(turn.From(ctx)) {
		return func() {}, nil
	}
	if err := rt.enter(); err != nil {
		return nil, err
	}
	return rt.leave, nil
}

func (rt *Runtime) leave() {
	if rt.busy.Add(-1) == 0 {
		rt.signalIdle()
	}
}

func (rt *Runtime) signalIdle() {
	if rt.closing.Load() && rt.busy.Load() == 0 {
		select {
		case rt.idle <- struct{}{}:
		default:
		}
	}
}

// drained waits until nothing is under way. closing must be set.
func (rt *Runtime) drained() {
	for rt.busy.Load() != 0 {
		<-rt.idle
	}
}

// spawn runs f in a goroutine that Shutdown waits for. Its caller has entered,
// or runs in such a goroutine, or there is a socket, for which Shutdown waits
// too.
func (rt *Runtime) spawn(f func()) {
	rt.busy.Add(1)
	go func() {
		defer rt.leave()
		f()
	}()
}

func (rt *Runtime) now() roster.Time { return roster.Time(time.Since(rt.epoch)) }

// made puts a new group or object under the care of those who retire it.
func (rt *Runtime) made(o *object) {
	if o.books == nil {
		rt.sweeper.add(o)
		return
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.watched[o.books] = struct{}{}
}

// heart returns what pings sockets at an interval; nil when that is not above
// 0. Whoever asks has entered, or registers a type.
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

// openStore opens the store, or memory.
func (rt *Runtime) openStore() (err error) {
	rt.engine = store.NewMemory()
	if rt.opts.Store != nil {
		if rt.engine, err = rt.opts.Store.openEngine(rt.opts.Logger); err != nil {
			return fmt.Errorf("dog: open store: %w", err)
		}
	}
	done, left := make(chan error), make(chan struct{})
	defer close(left)
	go func() { // ends when the disk answers
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
			rt.engine.GiveUp() // waiting, so that the other goroutine ends
		}
		return fmt.Errorf("dog: open store: %w", err)
	}
	return nil
}

// prepareStore reads what namespaces there are and migrates them.
func (rt *Runtime) prepareStore() (err error) {
	if rt.catalog, err = store.OpenCatalog(rt.engine); err != nil {
		return err
	}
	return rt.migrate()
}

// clock does for all groups what time alone brings about.
func (rt *Runtime) clock() {
	// A quarter of the shortest time is late enough not to notice; a second is
	// rare enough not to cost. Options state both.
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

// groups returns the books of the groups that are in memory.
func (rt *Runtime) groups() []*books {
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

// socketLeft takes a socket off its replica, if that has not been done. The
// mutex, and what is noted for a tour, let Stats count it once, wherever it is.
func (rt *Runtime) socketLeft(s *Socket, slow bool) {
	rt.past.Lock()
	defer rt.past.Unlock()
	if !s.obj.socketSet().set.Remove(s.conn) {
		return
	}
	rt.past.leaving[s.conn] = struct{}{}
	if rt.past.touring && s.toured != rt.past.tours {
		s.toured = rt.past.tours
		rt.past.missed = append(rt.past.missed, s.conn)
	}
	if slow {
		rt.past.slow++
	}
}

// leaving returns the connections of sockets that have left their replica and
// are not closed yet.
func (rt *Runtime) leaving() []*conn.Conn {
	rt.past.Lock()
	defer rt.past.Unlock()
	return slices.Collect(maps.Keys(rt.past.leaving))
}

// socketGone counts in what a closed socket has sent and received.
func (rt *Runtime) socketGone(s *Socket) {
	rt.past.Lock()
	defer rt.past.Unlock()
	s.obj.socketSet().set.Remove(s.conn) // one that was cut off while it lingered
	delete(rt.past.leaving, s.conn)
	rt.past.traffic.add(Traffic(s.conn.Stats()))
}
