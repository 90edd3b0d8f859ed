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
	maxRunning  = 256              // alarms of a namespace that run at a time
	slowRun     = 10 * time.Second // after which a run no longer counts towards maxRunning
	pageSize    = 4 << 10          // alarms read from the index at a time
	maxQueue    = 4 * pageSize     // alarms of a namespace in memory
	afterFault  = 2 * time.Second  // pause after a failure other than OnAlarm's
	longestWait = time.Minute      // of a schedule; the system's clock may be set in the meantime
)

// A schedule runs the alarms of one namespace when they are due.
//
// The store has an index with the earliest alarm of each object that has any.
// The queue holds a window of this index: everything up to upto. The rest is
// read when its time has come, a page at a time. A change of the index within
// the window changes the queue too. So alarms outside of the window need no
// memory, and each page is read once, starting where the previous page ended.
//
// An alarm that cannot run now is dropped from the queue and found again when
// the index is read from its beginning. That is when a namespace is registered,
// if the alarm's group was not registered, or after a pause, if there was a
// fault.
type schedule struct {
	// fixed
	ns   *namespace
	now  func() time.Time // the time of day
	kick chan struct{}    // has a token when run has to check the queue

	// No other mutex is taken while mu is held. It guards all fields below.
	mu    sync.Mutex
	queue *btree.BTreeG[store.DueAlarm] // at most one alarm for each object
	times map[store.Base]int64          // of the alarms in queue
	// objects whose alarms are running, with the time of an alarm set since
	// then; 0: none
	running map[store.Base]int64
	slow    int            // those in running for longer than slowRun
	upto    store.DueAlarm // everything in the index up to here is in queue or running
	whole   bool           // so is everything after upto
	reading bool           // a page is being read
	// when to read the index from its beginning, by a clock that is never set;
	// zero: not planned
	again    time.Time
	orphaned bool // an alarm could not run because its group's namespace is not registered
	stats    AlarmStats
}

// beginning returns an entry before all alarms of the namespace.
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

// set records when the earliest alarm of an object is due.
func (s *schedule) set(due store.DueAlarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.running[due.Base]; ok {
		s.running[due.Base] = due.At
		return
	}
	s.placeLocked(due)
}

// adopt retries alarms that could not run because the namespace of their group
// was not registered.
func (s *schedule) adopt() {
	s.mu.Lock()
	if s.orphaned {
		s.orphaned, s.again = false, time.Now()
	}
	s.mu.Unlock()
	s.look()
}

// look makes run check the queue.
func (s *schedule) look() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// placeLocked puts an object's alarm into the queue, if it belongs there, and
// replaces the object's previous alarm. The caller must hold mu.
func (s *schedule) placeLocked(due store.DueAlarm) {
	if at, ok := s.times[due.Base]; ok {
		if at == due.At {
			return
		}
		s.queue.Delete(store.DueAlarm{At: at, Namespace: due.Namespace, Base: due.Base})
		delete(s.times, due.Base)
	}
	// While a page is being read, it is not known how far it goes.
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

// trimLocked halves the queue if it is too long. The caller must hold mu.
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

// pass reads due alarms into the queue, starts goroutines that run them, and
// returns how long to wait before the next pass.
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
	if s.ns.rt.work.Closed() {
		return longestWait
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := longestWait
	if !s.again.IsZero() {
		wait = min(wait, time.Until(s.again))
	}
	// Otherwise a goroutine that runs alarms continues with it.
	if first, ok := s.queue.Min(); ok && s.completeLocked(first) && s.roomLocked() {
		wait = min(wait, time.Unix(0, first.At).Sub(now))
	}
	if s.lowLocked() {
		wait = min(wait, time.Unix(0, s.upto.At).Sub(now))
	}
	return wait
}

// roomLocked reports whether one more alarm may run. The caller must hold mu.
func (s *schedule) roomLocked() bool { return len(s.running)-s.slow < maxRunning }

// completeLocked reports whether the queue has every alarm up to due. The
// caller must hold mu.
func (s *schedule) completeLocked(due store.DueAlarm) bool { return s.whole || !s.upto.Before(due) }

// lowLocked reports whether more of the index should be read once it is due.
// The caller must hold mu.
func (s *schedule) lowLocked() bool {
	first, _ := s.queue.Min()
	return !s.whole && (s.queue.Len() < pageSize/2 || s.upto.Before(first))
}

// wanting reports whether a page should be read now.
func (s *schedule) wanting() bool {
	if s.ns.rt.work.Closed() {
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

// takeInLocked puts a page into the queue. An object's alarm that is in the
// queue already is newer than the page, and stays. The caller must hold mu.
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

// start starts goroutines that run the due alarms. It returns an error if the
// store accepts no writes, without which no alarm can run.
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

// take removes the first due alarm from the queue and returns it. It returns
// nil if no alarm is due or may run now. The error is that of start.
func (s *schedule) take() (*firing, error) {
	if s.ns.rt.work.Closed() {
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

// slowDown lets another alarm run in addition to one that takes long: it may
// hang, or wait for an object that hangs.
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

// done ends what take began. If again is set, the alarm is retried later.
// Otherwise it has run, has failed, or can never run.
func (s *schedule) done(f *firing, again bool) {
	f.slowly.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.over = true; f.slow {
		s.slow--
	}
	at := s.running[f.due.Base]
	delete(s.running, f.due.Base)
	if at == 0 { // no alarm has been set in the meantime
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

// orphan records that an alarm cannot run before another namespace is
// registered.
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

// work runs alarms until none is due. The caller has entered the runtime.
func (s *schedule) work(f *firing) {
	defer s.ns.rt.work.Leave()
	defer s.look()
	for f != nil {
		f.run()
		f, _ = s.take() // run will see the error too
	}
}
