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
	maxRunning  = 256              // alarms of a namespace at a time
	slowRun     = 10 * time.Second // after which a run counts no more towards maxRunning
	pageSize    = 4 << 10          // of the index, read at a time
	maxQueue    = 4 * pageSize     // alarms of a namespace in memory
	afterFault  = 2 * time.Second  // when something else than OnAlarm has failed
	longestWait = time.Minute      // of a schedule; the clock of the system may be set meanwhile
)

// A schedule runs the alarms of one namespace when they are due.
//
// The store has an index with the earliest alarm of each object that has any.
// Of this the queue holds a window: everything up to upto. The rest is read, a
// page at a time, when its time has come; a change of the index within the
// window changes the queue as well. So what waits costs nothing in memory, and
// a page is read once, from where the last one ended.
//
// What cannot be run now is dropped from the queue and found again by reading
// the index from its beginning: for want of a registered group, when a
// namespace is registered; because of a fault, a while later.
type schedule struct {
	// fixed
	ns   *namespace
	now  func() time.Time // the time of day
	kick chan struct{}    // has a token when run has to look

	// No other mutex is taken while mu is held. It guards all that follows.
	mu       sync.Mutex
	queue    *btree.BTreeG[store.DueAlarm] // of each object at most one
	times    map[store.Base]int64          // of those in queue
	running  map[store.Base]int64          // objects whose alarms run, with the time that was set meanwhile; 0: none
	slow     int                           // of those running, for longer than slowRun
	upto     store.DueAlarm                // everything in the index up to here is in queue or running
	whole    bool                          // and everything after it too
	reading  bool                          // a page is being read
	again    time.Time                     // when to read the index from its beginning, by a clock that is never set; zero: not
	orphaned bool                          // an alarm could not run because its group's namespace is not registered
	stats    AlarmStats
}

// beginning is before all alarms of a namespace.
func (s *schedule) beginning() store.DueAlarm {
	return store.DueAlarm{At: math.MinInt64, Namespace: s.ns.number}
}

func newSchedule(ns *namespace) *schedule {
	s := &schedule{
		ns:      ns,
		now:     ns.rt.wallClock,
		kick:    make(chan struct{}, 1),
		queue:   btree.NewBTreeGOptions(store.DueAlarm.Before, btree.Options{NoLocks: true}),
		times:   make(map[store.Base]int64),
		running: make(map[store.Base]int64),
	}
	s.upto = s.beginning()
	return s
}

// set says when the earliest alarm of an object is due.
func (s *schedule) set(due store.DueAlarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.running[due.Base]; ok {
		s.running[due.Base] = due.At
		return
	}
	s.placeLocked(due)
}

// adopt looks again for alarms that could not run because the namespace of
// their group was not registered.
func (s *schedule) adopt() {
	s.mu.Lock()
	if s.orphaned {
		s.orphaned, s.again = false, time.Now()
	}
	s.mu.Unlock()
	s.look()
}

// look has run look at the queue.
func (s *schedule) look() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// placeLocked puts an object's alarm into the queue, if it belongs there, in
// place of an earlier one. The caller must hold mu.
func (s *schedule) placeLocked(due store.DueAlarm) {
	if at, ok := s.times[due.Base]; ok {
		if at == due.At {
			return
		}
		s.queue.Delete(store.DueAlarm{At: at, Namespace: due.Namespace, Base: due.Base})
		delete(s.times, due.Base)
	}
	// While a page is being read, nobody knows yet how far it goes.
	if !s.whole && !s.reading && s.upto.Before(due) {
		return
	}
	s.queue.Set(due)
	s.times[due.Base] = due.At
	s.trimLocked()
	if first, _ := s.queue.Min(); first == due {
		s.look()
	}
}

// trimLocked halves the queue when it is too long. The caller must hold mu.
func (s *schedule) trimLocked() {
	if s.reading || s.queue.Len() <= maxQueue {
		return
	}
	for s.queue.Len() > maxQueue/2 {
		last, _ := s.queue.PopMax()
		delete(s.times, last.Base)
	}
	if last, _ := s.queue.Max(); s.whole || last.Before(s.upto) {
		s.upto, s.whole = last, false
	}
}

// run starts alarms until the runtime has ended.
func (s *schedule) run(ctx context.Context) {
	timer := time.NewTimer(longestWait)
	defer timer.Stop()
	for {
		timer.Reset(s.pass())
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
		case <-timer.C:
		}
	}
}

// pass reads what is due into the queue, starts goroutines that run it, and
// returns for how long there is nothing to do.
func (s *schedule) pass() time.Duration {
	for s.wanting() {
		if err := s.read(); err != nil {
			s.ns.rt.opts.Logger.Error("cannot read the index of alarms", "error", err)
			return afterFault
		}
		if err := s.start(); err != nil {
			return afterFault
		}
	}
	if err := s.start(); err != nil {
		return afterFault
	}
	if s.ns.rt.closing.Load() {
		return longestWait
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := longestWait
	if !s.again.IsZero() {
		wait = min(wait, time.Until(s.again))
	}
	if first, ok := s.queue.Min(); ok && s.completeLocked(first) && s.roomLocked() { // else a goroutine goes on with it
		wait = min(wait, time.Unix(0, first.At).Sub(now))
	}
	if s.lowLocked() {
		wait = min(wait, time.Unix(0, s.upto.At).Sub(now))
	}
	return wait
}

// roomLocked reports whether one more alarm may run. The caller must hold mu.
func (s *schedule) roomLocked() bool { return len(s.running)-s.slow < maxRunning }

// completeLocked reports whether the queue has every alarm up to this one. The
// caller must hold mu.
func (s *schedule) completeLocked(due store.DueAlarm) bool { return s.whole || !s.upto.Before(due) }

// lowLocked reports whether more should be read once it is due. The caller must
// hold mu.
func (s *schedule) lowLocked() bool {
	first, _ := s.queue.Min()
	return !s.whole && (s.queue.Len() < pageSize/2 || s.upto.Before(first))
}

// wanting reports whether a page should be read now.
func (s *schedule) wanting() bool {
	if s.ns.rt.closing.Load() {
		return false
	}
	now := s.now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.again.IsZero() && time.Until(s.again) <= 0 {
		s.again, s.upto, s.whole = time.Time{}, s.beginning(), false
	}
	return s.lowLocked() && s.upto.At <= now
}

// read reads the next page of the index into the queue.
func (s *schedule) read() error {
	s.mu.Lock()
	s.reading = true
	from := s.upto
	s.mu.Unlock()

	page := make([]store.DueAlarm, 0, pageSize)
	var err error
	for due, failed := range store.AlarmsAfter(s.ns.rt.engine, from) {
		if failed != nil {
			err = failed
			break
		}
		if page = append(page, due); len(page) == pageSize {
			break
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	if err == nil {
		s.takeInLocked(page)
	}
	return err
}

// takeInLocked puts a page into the queue. What the queue has of an object
// already was set while the page was read, or later than it was read before,
// and stays. The caller must hold mu.
func (s *schedule) takeInLocked(page []store.DueAlarm) {
	for _, due := range page {
		_, queued := s.times[due.Base]
		_, runs := s.running[due.Base]
		if !queued && !runs {
			s.queue.Set(due)
			s.times[due.Base] = due.At
		}
	}
	if len(page) > 0 {
		s.upto = page[len(page)-1]
	}
	s.whole = len(page) < pageSize
	s.trimLocked()
}

// start starts goroutines that run what is due. The error says why the store
// takes no changes, without which no alarm can run.
func (s *schedule) start() error {
	for {
		f, err := s.take()
		if f == nil {
			return err
		}
		if s.ns.rt.enterQuietly() != nil {
			s.done(f, true)
			return nil
		}
		go s.work(f)
	}
}

// take takes what is due first out of the queue; nil when nothing is, or may
// run now. The error is that of start.
func (s *schedule) take() (*firing, error) {
	if s.ns.rt.closing.Load() {
		return nil, nil
	}
	if err := s.ns.rt.engine.Writable(); err != nil {
		return nil, err
	}
	now := s.now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	due, ok := s.queue.Min()
	if !ok || due.At > now || !s.completeLocked(due) || !s.roomLocked() {
		return nil, nil
	}
	s.queue.PopMin()
	delete(s.times, due.Base)
	s.running[due.Base] = 0
	if s.lowLocked() {
		s.look()
	}
	f := &firing{schedule: s, due: due}
	f.slowly = time.AfterFunc(slowRun, f.slowDown)
	return f, nil
}

// slowDown lets another alarm run in place of one that takes its time: it may
// hang, or wait for an object that does.
func (f *firing) slowDown() {
	s := f.schedule
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.over {
		f.slow = true
		s.slow++
		s.look()
	}
}

// done ends what take began. Unless it is to be tried again, the alarm has run,
// failed, or can never run.
func (s *schedule) done(f *firing, again bool) {
	f.slowly.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.over = true; f.slow {
		s.slow--
	}
	at := s.running[f.due.Base]
	delete(s.running, f.due.Base)
	if at == 0 { // nothing has been set meanwhile
		at = f.later
	}
	switch {
	case again:
		if after := time.Now().Add(afterFault); s.again.IsZero() || after.Before(s.again) {
			s.again = after
			s.look()
		}
	case at != 0:
		s.placeLocked(store.DueAlarm{At: at, Namespace: f.due.Namespace, Base: f.due.Base})
	}
}

// orphan notes that an alarm cannot run before another namespace is registered.
func (s *schedule) orphan() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphaned = true
}

func (s *schedule) count(event func(*AlarmStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	event(&s.stats)
}

func (s *schedule) snapshot() AlarmStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Running = len(s.running)
	return stats
}

// work runs alarms until none is due. The caller has entered.
func (s *schedule) work(f *firing) {
	defer s.ns.rt.leave()
	defer s.look()
	for f != nil {
		f.run()
		f, _ = s.take() // the error shows when run looks
	}
}
