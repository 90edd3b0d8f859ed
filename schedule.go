package dog

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/godurable/dog/internal/store"
)

const (
	maxRunning  = 256              // alarms at a time
	pageSize    = 4 << 10          // of the index, read at a time
	maxQueue    = 4 * pageSize     // alarms in memory
	afterFault  = 2 * time.Second  // when something else than OnAlarm has failed
	longestWait = 10 * time.Minute // of the scheduler; the clock of the system may be set meanwhile
)

// alarms runs alarms when they are due.
//
// The store has an index with the earliest alarm of each object that has any. Of this the queue holds a window: everything up to
// upto. The rest is read, a page at a time, when its time has come; a change of the index within the window changes the queue as
// well. So what waits costs nothing in memory, and a page is read once, from where the last one ended.
//
// What cannot be run now is dropped from the queue and found again by reading the index from its beginning: because its namespace
// is not registered, when one is; because of a fault, a while later.
type alarms struct {
	rt   *Runtime      // fixed
	kick chan struct{} // has a token when run has to look

	// No other mutex is taken while mu is held. It guards all that follows.
	mu      sync.Mutex
	spaces  map[uint32]*namespace         // registered, by number
	deaf    map[uint32]bool               // those without OnAlarm that have alarms, as has been logged
	queue   *btree.BTreeG[store.DueAlarm] // of each object at most one
	times   map[store.Base]int64          // of those in queue
	running map[store.Base]int64          // objects whose alarms run, with the time that was set meanwhile; 0: none
	upto    store.DueAlarm                // everything in the index up to here is in queue or running
	whole   bool                          // and everything after it too
	reading bool                          // a page is being read
	again   int64                         // when to read the index from its beginning; 0: not
	stats   AlarmStats
}

// beginning is before all alarms.
var beginning = store.DueAlarm{At: math.MinInt64}

func newAlarms(rt *Runtime) *alarms {
	return &alarms{
		rt:      rt,
		kick:    make(chan struct{}, 1),
		spaces:  make(map[uint32]*namespace),
		deaf:    make(map[uint32]bool),
		queue:   btree.NewBTreeGOptions(store.DueAlarm.Before, btree.Options{NoLocks: true}),
		times:   make(map[store.Base]int64),
		running: make(map[store.Base]int64),
		upto:    beginning,
	}
}

// register lets the alarms of a namespace run.
func (a *alarms) register(ns *namespace) {
	a.mu.Lock()
	a.spaces[ns.number] = ns
	a.again = beginning.At
	a.mu.Unlock()
	a.look()
}

// set says when the earliest alarm of an object is due.
func (a *alarms) set(due store.DueAlarm) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.running[due.Base]; ok {
		a.running[due.Base] = due.At
		return
	}
	a.placeLocked(due)
}

// look has run look at the queue.
func (a *alarms) look() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// placeLocked puts an object's alarm into the queue, if it belongs there, in place of an earlier one. The caller must hold mu.
func (a *alarms) placeLocked(due store.DueAlarm) {
	if at, ok := a.times[due.Base]; ok {
		if at == due.At {
			return
		}
		a.queue.Delete(store.DueAlarm{At: at, Namespace: due.Namespace, Base: due.Base})
		delete(a.times, due.Base)
	}
	// While a page is being read, nobody knows yet how far it goes.
	if !a.whole && !a.reading && a.upto.Before(due) {
		return
	}
	a.queue.Set(due)
	a.times[due.Base] = due.At
	a.trimLocked()
	if first, _ := a.queue.Min(); first == due {
		a.look()
	}
}

// trimLocked halves the queue when it is too long. The caller must hold mu.
func (a *alarms) trimLocked() {
	if a.reading || a.queue.Len() <= maxQueue {
		return
	}
	for a.queue.Len() > maxQueue/2 {
		last, _ := a.queue.PopMax()
		delete(a.times, last.Base)
	}
	if last, _ := a.queue.Max(); a.whole || last.Before(a.upto) {
		a.upto, a.whole = last, false
	}
}

// run starts alarms until the runtime has ended.
func (a *alarms) run(ctx context.Context) {
	timer := time.NewTimer(longestWait)
	defer timer.Stop()
	for {
		timer.Reset(a.pass())
		select {
		case <-ctx.Done():
			return
		case <-a.kick:
		case <-timer.C:
		}
	}
}

// pass reads what is due into the queue, starts goroutines that run it, and returns for how long there is nothing to do.
func (a *alarms) pass() time.Duration {
	for a.wanting() {
		if err := a.read(); err != nil {
			a.rt.opts.Logger.Error("cannot read the index of alarms", "error", err)
			return afterFault
		}
		if err := a.start(); err != nil {
			return afterFault
		}
	}
	if err := a.start(); err != nil {
		return afterFault
	}
	if a.rt.closing.Load() {
		return longestWait
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	next := time.Now().Add(longestWait).UnixNano()
	if a.again != 0 {
		next = min(next, a.again)
	}
	if first, ok := a.queue.Min(); ok && a.completeLocked(first) && len(a.running) < maxRunning { // else a goroutine goes on with it
		next = min(next, first.At)
	}
	if a.lowLocked() && len(a.spaces) > 0 {
		next = min(next, a.upto.At)
	}
	return time.Until(time.Unix(0, next))
}

// completeLocked reports whether the queue has every alarm up to this one. The caller must hold mu.
func (a *alarms) completeLocked(due store.DueAlarm) bool { return a.whole || !a.upto.Before(due) }

// lowLocked reports whether more should be read once it is due. The caller must hold mu.
func (a *alarms) lowLocked() bool {
	first, _ := a.queue.Min()
	return !a.whole && (a.queue.Len() < pageSize/2 || a.upto.Before(first))
}

// wanting reports whether a page should be read now.
func (a *alarms) wanting() bool {
	if a.rt.closing.Load() {
		return false
	}
	now := time.Now().UnixNano()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.again != 0 && a.again <= now {
		a.again, a.upto, a.whole = 0, beginning, false
	}
	return a.lowLocked() && a.upto.At <= now && len(a.spaces) > 0
}

// read reads the next page of the index into the queue.
func (a *alarms) read() error {
	a.mu.Lock()
	a.reading = true
	from := a.upto
	a.mu.Unlock()

	page := make([]store.DueAlarm, 0, pageSize)
	var err error
	for due, failed := range store.AlarmsAfter(a.rt.engine, from) {
		if failed != nil {
			err = failed
			break
		}
		if page = append(page, due); len(page) == pageSize {
			break
		}
	}

	a.mu.Lock()
	a.reading = false
	var deaf []*namespace
	if err == nil {
		deaf = a.takeInLocked(page)
	}
	a.mu.Unlock()
	for _, ns := range deaf {
		a.rt.opts.Logger.Warn("objects have alarms that cannot run: their type has no OnAlarm", "namespace", ns.name)
	}
	return err
}

// takeInLocked puts a page into the queue, and returns namespaces without OnAlarm that are seen here first. What the queue has of
// an object already was set while the page was read, or later than it was read before, and stays. The caller must hold mu.
func (a *alarms) takeInLocked(page []store.DueAlarm) (deaf []*namespace) {
	for _, due := range page {
		ns := a.spaces[due.Namespace]
		if ns == nil {
			continue
		}
		if !ns.alarms {
			if !a.deaf[ns.number] {
				a.deaf[ns.number] = true
				deaf = append(deaf, ns)
			}
			continue
		}
		_, queued := a.times[due.Base]
		_, runs := a.running[due.Base]
		if !queued && !runs {
			a.queue.Set(due)
			a.times[due.Base] = due.At
		}
	}
	if len(page) > 0 {
		a.upto = page[len(page)-1]
	}
	a.whole = len(page) < pageSize
	a.trimLocked()
	return deaf
}

// start starts goroutines that run what is due. The error says why the store takes no changes, without which no alarm can run.
func (a *alarms) start() error {
	for {
		f, err := a.take()
		if f == nil {
			return err
		}
		if a.rt.enter() != nil {
			a.done(f, true)
			return nil
		}
		go a.work(f)
	}
}

// take takes what is due first out of the queue; nil when nothing is, or may run now. The error is that of start.
func (a *alarms) take() (*firing, error) {
	if a.rt.closing.Load() {
		return nil, nil
	}
	if err := a.rt.engine.Writable(); err != nil {
		return nil, err
	}
	now := time.Now().UnixNano()
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.running) < maxRunning {
		due, ok := a.queue.Min()
		if !ok || due.At > now || !a.completeLocked(due) {
			break
		}
		a.queue.PopMin()
		delete(a.times, due.Base)
		if ns := a.spaces[due.Namespace]; ns != nil && ns.alarms {
			a.running[due.Base] = 0
			if a.lowLocked() {
				a.look()
			}
			return &firing{alarms: a, ns: ns, due: due, known: len(a.spaces)}, nil
		}
	}
	return nil, nil
}

// done ends what take began. Unless it is to be tried again, the alarm has run, failed, or can never run.
func (a *alarms) done(f *firing, again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.running[f.due.Base]
	delete(a.running, f.due.Base)
	switch {
	case again:
		if after := time.Now().Add(afterFault).UnixNano(); a.again == 0 || after < a.again {
			a.again = after
			a.look()
		}
	case at != 0:
		a.placeLocked(store.DueAlarm{At: at, Namespace: f.due.Namespace, Base: f.due.Base})
	}
}

// namespace returns a registered namespace, or nil.
func (a *alarms) namespace(number uint32) *namespace {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.spaces[number]
}

// registeredSince reports whether a namespace has been registered since there were so many.
func (a *alarms) registeredSince(known int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.spaces) > known
}

func (a *alarms) count(event func(*AlarmStats)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	event(&a.stats)
}

func (a *alarms) snapshot() AlarmStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.Running = len(a.running)
	return s
}

// work runs alarms until none is due. The caller has entered.
func (a *alarms) work(f *firing) {
	defer a.rt.leave()
	defer a.look()
	for f != nil {
		f.run()
		f, _ = a.take() // the error shows when run looks
	}
}
