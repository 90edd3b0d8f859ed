package object

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/hookqueue"
	"github.com/godurable/dog/internal/inflight"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// Config holds what a [Host] needs. Times of 0 mean no limit where the field
// states so. The public options document them.
type Config struct {
	Engine store.Engine
	Logger *slog.Logger

	MaxWaiting     int           // events that wait for an object; 0: no limit
	MaxObjects     int           // plain objects in memory; 0 or less: no limit
	EvictAfter     time.Duration // for plain objects
	HibernateAfter time.Duration
	StartTimeout   time.Duration // 0: no limit
	CheckTurns     bool
	SQLLimits      store.SQLLimits

	Errors Errors
	Trace  Trace

	// Report logs the error of a handler that has no caller waiting for it. err
	// may be nil.
	Report func(o *Object, kind EventKind, err error)
}

// A Host holds what all objects of a runtime share. It is safe for concurrent
// use.
type Host struct {
	Config // fixed

	// fixed
	Ctx       context.Context  // lifetime of all objects
	Work      *inflight.Work   // for which a shutdown waits
	WallClock func() time.Time // the time of day, for alarms; set before the first class is added
	cancel    context.CancelCauseFunc
	sweeper   *sweeper
	hooks     *hookqueue.Queue // of Trace
	traced    bool             // Trace has a hook for events
	places    stopPlaces       // of OnStop

	// Services are the goroutines that end when Ctx is done: the sweeper, the
	// schedules of alarms, and those that the owner of the host adds.
	Services sync.WaitGroup

	started     atomic.Bool   // set by Start
	idleStopped chan struct{} // closed when OnStop of the objects that were idle has had its time
	firstStops  sync.Once     // closes idleStopped

	mu      sync.Mutex
	classes map[string]*Class // by name. guarded by mu
}

// NewHost returns a host without classes. [Host.End] ends its goroutines.
func NewHost(c Config) *Host {
	h := &Host{
		Config:      c,
		traced:      c.Trace.EventBegin != nil || c.Trace.EventDone != nil,
		Work:        inflight.New(),
		WallClock:   time.Now,
		places:      make(stopPlaces, stopsAtOnce),
		idleStopped: make(chan struct{}),
		classes:     make(map[string]*Class),
	}
	h.Ctx, h.cancel = context.WithCancelCause(context.Background())
	h.hooks = hookqueue.New(h.Work.Spawn)
	h.sweeper = newSweeper(h)
	h.Services.Go(func() { h.sweeper.run(h.Ctx) })
	return h
}

// End ends the contexts of all objects and the services. It waits for nothing.
func (h *Host) End(cause error) { h.cancel(cause) }

// Start lets alarms run. Further calls do nothing.
func (h *Host) Start() {
	if h.started.Swap(true) {
		return
	}
	for _, c := range h.Classes() {
		c.startAlarms()
	}
}

// Enter admits a request from outside, the first of which starts the host.
// Unless it returns an error, Work.Leave must follow.
func (h *Host) Enter() error {
	if !h.started.Load() {
		h.Start()
	}
	return h.enterQuietly()
}

// enterQuietly is Enter for work that the host starts itself.
func (h *Host) enterQuietly() error {
	if !h.Work.Enter() {
		return ErrShutdown
	}
	return nil
}

// EnterFrom is Enter for calls that may come from a handler of this host, which
// has been admitted already.
func (h *Host) EnterFrom(ctx context.Context) (leave func(), err error) {
	if e := turn.From(ctx); e != nil && e.Owner().(*Life).obj.host() == h {
		return func() {}, nil
	}
	if err := h.Enter(); err != nil {
		return nil, err
	}
	return h.Work.Leave, nil
}

// Add adds a class that is ready for its objects. The caller serializes
// additions.
func (h *Host) Add(c *Class) {
	c.host = h
	c.counts.init(h.traced)
	c.objects = make(map[ID]*Object)
	c.schedule = c.newSchedule()
	h.mu.Lock()
	h.classes[c.Name] = c
	h.mu.Unlock()
	if h.started.Load() {
		c.startAlarms()
	}
	for _, other := range h.Classes() {
		other.schedule.Adopt()
	}
}

// Classes returns the classes.
func (h *Host) Classes() []*Class {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.classes))
}

// Class returns the class with a name, or nil.
func (h *Host) Class(name string) *Class {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.classes[name]
}

// numbered returns the class with a number, or nil.
func (h *Host) numbered(number uint32) *Class {
	for _, c := range h.Classes() {
		if c.Number == number {
			return c
		}
	}
	return nil
}

// Objects returns all objects that are in memory.
func (h *Host) Objects() []*Object {
	var all []*Object
	for _, c := range h.Classes() {
		all = append(all, c.Live()...)
	}
	return all
}
