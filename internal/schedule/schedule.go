// Package schedule runs the alarms of one namespace when they are due.
//
// The store has an index with the earliest alarm of each object that has any. A
// [Schedule] reads the index in pages, keeps a window of it in memory, and
// limits how many alarms run at a time.
//
// The package knows the index and the time. It does not know objects: its owner
// runs an alarm, and reports what has become of it with [Schedule.Done].
package schedule

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/godurable/dog/internal/inflight"
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

// Config holds what a [Schedule] needs.
type Config struct {
	Engine    store.Engine
	Namespace uint32           // its number in the store
	Now       func() time.Time // the time of day
	Work      *inflight.Work   // counts the goroutines that run alarms; nothing begins when it is closed
	Log       *slog.Logger
	// Start runs an alarm and calls [Schedule.Done] when it has ended. Start
	// may exit its goroutine if another one calls Done and [Schedule.Look].
	Start func(*Run)
}

// Stats counts runs of alarms.
type Stats struct {
	Running int // runs in progress
	Runs    uint64
	Retries uint64
	Failed  uint64
	// Overdue is for how long the earliest alarm has been due that has not
	// begun, as far as is known.
	Overdue time.Duration
}

// A Run is a run of the earliest alarm of an object.
type Run struct {
	Due store.DueAlarm // fixed

	// Later is when the object's earliest alarm is due, if that is not yet. 0
	// means unknown. Set by the goroutine that runs the alarm.
	Later int64

	slowly *time.Timer // calls slowDown. fixed
	slow   bool        // no longer counts towards maxRunning; guarded by Schedule.mu
	over   bool        // guarded by Schedule.mu
}

// A Schedule is safe for concurrent use.
//
// The queue holds a window of the index: everything up to the horizon. The rest
// is read when its time has come, a page at a time. A change of the index
// within the window changes the queue too. So alarms outside of the window need
// no memory, and each page is read once, starting where the previous page
// ended.
//
// An alarm that cannot run now is dropped from the queue and found again when
// the index is read from its beginning. That is when a namespace is registered,
// if the alarm's group was not registered, or after a pause, if there was a
// fault.
type Schedule struct {
	// fixed
	Config
	kick chan struct{} // has a token when Run has to check the queue

	// No other mutex is taken while mu is held. It guards all fields below.
	mu    sync.Mutex
	queue *btree.BTreeG[store.DueAlarm] // at most one alarm for each object
	times map[store.Base]int64          // of the alarms in queue
	// objects whose alarms are running, with the time of an alarm set since
	// then; 0: none
	running map[store.Base]int64
	slow    int            // those in running for longer than slowRun
	horizon store.DueAlarm // everything in the index up to here is in queue or running
	whole   bool           // so is everything after horizon
	reading bool           // a page is being read
	// when to read the index from its beginning, by a clock that is never set;
	// zero: not planned
	again    time.Time
	orphaned bool // an alarm could not run because its group's namespace is not registered
	stats    Stats
}

// New returns a schedule that runs nothing before [Schedule.Run].
func New(c Config) *Schedule {
	s := &Schedule{
		Config:  c,
		kick:    make(chan struct{}, 1),
		queue:   btree.NewBTreeGOptions(store.DueAlarm.Before, btree.Options{NoLocks: true}),
		times:   make(map[store.Base]int64),
		running: make(map[store.Base]int64),
	}
	s.horizon = s.beginning()
	return s
}

// Set records when the earliest alarm of an object is due.
func (s *Schedule) Set(due store.DueAlarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.running[due.Base]; ok {
		s.running[due.Base] = due.At
		return
	}
	s.placeLocked(due)
}

// Adopt retries alarms that could not run because the namespace of their group
// was not registered.
func (s *Schedule) Adopt() {
	s.mu.Lock()
	if s.orphaned {
		s.orphaned, s.again = false, time.Now()
	}
	s.mu.Unlock()
	s.Look()
}

// Look makes Run check the queue.
func (s *Schedule) Look() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Run starts alarms until the runtime has ended.
func (s *Schedule) Run(ctx context.Context) {
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
func (s *Schedule) pass() time.Duration {
	for s.wanting() {
		if err := s.read(); err != nil {
			s.Log.Error("cannot read the index of alarms", "error", err)
			return afterFault
		}
		if err := s.startDue(); err != nil {
			return afterFault
		}
	}
	if err := s.startDue(); err != nil {
		return afterFault
	}
	if s.Work.Closed() {
		return longestWait
	}
	now := s.Now()
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
		wait = min(wait, time.Unix(0, s.horizon.At).Sub(now))
	}
	return wait
}

// roomLocked reports whether one more alarm may run. The caller must hold mu.
func (s *Schedule) roomLocked() bool { return len(s.running)-s.slow < maxRunning }

// startDue starts goroutines that run the due alarms. It returns an error if
// the store accepts no writes, without which no alarm can run.
func (s *Schedule) startDue() error {
	for {
		r, err := s.take()
		if r == nil {
			return err
		}
		if !s.Work.Enter() {
			s.Done(r, true)
			return nil
		}
		go s.work(r)
	}
}

// take removes the first due alarm from the queue and returns it. It returns
// nil if no alarm is due or may run now. The error is that of startDue.
func (s *Schedule) take() (*Run, error) {
	if s.Work.Closed() {
		return nil, nil
	}
	if err := s.Engine.Writable(); err != nil {
		return nil, err
	}
	now := s.Now().UnixNano()
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
		s.Look()
	}
	r := &Run{Due: due}
	r.slowly = time.AfterFunc(slowRun, func() { s.slowDown(r) })
	return r, nil
}

// slowDown lets another alarm run in addition to one that takes long: it may
// hang, or wait for an object that hangs.
func (s *Schedule) slowDown(r *Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !r.over {
		r.slow = true
		s.slow++
		s.Look()
	}
}

// Done ends what take began. If again is set, the alarm is retried later.
// Otherwise it has run, has failed, or can never run.
func (s *Schedule) Done(r *Run, again bool) {
	r.slowly.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.over = true; r.slow {
		s.slow--
	}
	at := s.running[r.Due.Base]
	delete(s.running, r.Due.Base)
	if at == 0 { // no alarm has been set in the meantime
		at = r.Later
	}
	switch {
	case again:
		if after := time.Now().Add(afterFault); s.again.IsZero() || after.Before(s.again) {
			s.again = after
			s.Look()
		}
	case at != 0:
		s.placeLocked(store.DueAlarm{At: at, Namespace: r.Due.Namespace, Base: r.Due.Base})
	}
}

// Orphan records that an alarm cannot run before another namespace is
// registered.
func (s *Schedule) Orphan() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphaned = true
}

// Count changes the counts of the runs.
func (s *Schedule) Count(event func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	event(&s.stats)
}

// Stats returns the counts of the runs.
func (s *Schedule) Stats() Stats {
	now := s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Running = len(s.running)
	if first, ok := s.queue.Min(); ok {
		stats.Overdue = max(now.Sub(time.Unix(0, first.At)), 0)
	}
	return stats
}

// work runs alarms until none is due. The caller has entered Work.
func (s *Schedule) work(r *Run) {
	defer s.Work.Leave()
	defer s.Look()
	for r != nil {
		s.Start(r)
		r, _ = s.take() // Run will see the error too
	}
}
