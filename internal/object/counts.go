package object

import (
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/tally"
)

// timedOneIn is how many events there are for about one that is timed, if no
// hook wants the times of all. Reading the clock takes as long as a short
// event.
const timedOneIn = 128

// Clock returns the time if an event that is queued now is to be timed,
// otherwise the zero time.
func (o *Object) Clock() time.Time {
	if !o.events.timed.Load() {
		return time.Time{}
	}
	return time.Now()
}

// Counts are what the objects of a class have done.
type Counts struct {
	Awake                 int // started, and neither stopped nor reset
	Starts, Stops, Resets uint64
	Late                  *tally.Histogram // how late alarms ran

	// What follows is counted since the first call of Class.Counts.

	Events        [EventAdmin + 1]EventCounts // by kind
	Reads, Writes uint64                      // of storage, by the program

	// Of one event in timedOneIn, or of all if there is a hook for each.
	Wait, Run *tally.Histogram
	// From the end of a handler that has written until its writes are durable;
	// of the same events.
	Durable *tally.Histogram
}

// EventCounts are the counts of the events of a kind.
type EventCounts struct{ Done, Failed uint64 }

// counts is what a class counts of its objects. It is safe for concurrent use.
type counts struct {
	awake                    atomic.Int64
	starts, stops, resets    atomic.Uint64
	wait, run, durable, late tally.Histogram
	stripes                  [8]stripe // of events, by object, so that few share a cache line
}

type stripe struct {
	done, failed  [EventAdmin + 1]atomic.Uint64
	reads, writes atomic.Uint64
	on            atomic.Bool // events are counted: an addition to a shared word takes 9 ns
	timed         atomic.Bool // events that are queued now are timed
	always        bool        // all are. fixed
	_             [64]byte    // keeps the next stripe in other cache lines
}

// init prepares the counts. always is whether a hook wants the times of all
// events.
func (c *counts) init(always bool) {
	for i := range c.stripes {
		c.stripes[i].always = always
		c.stripes[i].timed.Store(always)
	}
}

// stripe returns where the events of an object are counted.
func (c *counts) stripe(id ID) *stripe { return &c.stripes[id[0]%byte(len(c.stripes))] }

// Counts returns what the objects have done so far. The first call begins the
// counting of events.
func (c *Class) Counts() Counts {
	for i := range c.counts.stripes {
		if s := &c.counts.stripes[i]; !s.on.Load() {
			s.on.Store(true)
		}
	}
	n := Counts{
		Awake:  int(c.counts.awake.Load()),
		Starts: c.counts.starts.Load(), Stops: c.counts.stops.Load(), Resets: c.counts.resets.Load(),
		Wait: &c.counts.wait, Run: &c.counts.run, Durable: &c.counts.durable, Late: &c.counts.late,
	}
	for i := range c.counts.stripes {
		s := &c.counts.stripes[i]
		n.Reads += s.reads.Load()
		n.Writes += s.writes.Load()
		for kind := range n.Events {
			n.Events[kind].Done += s.done[kind].Load()
			n.Events[kind].Failed += s.failed[kind].Load()
		}
	}
	return n
}

// Len returns the number of objects in memory.
func (c *Class) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.objects)
}

// count counts an event whose handler has returned err.
func (life *Life) count(s *stripe, kind EventKind, err error) {
	done := s.done[kind].Add(1)
	if err != nil {
		s.failed[kind].Add(1)
	}
	if timed := done%timedOneIn == 0; timed != s.timed.Load() && !s.always {
		s.timed.Store(timed)
	}
	if !life.Tx.Used() || life.turn.Closed() != nil { // after a reset the event may not have the turn
		return
	}
	reads, writes := life.Tx.TakeUses()
	if !life.counted { // some of them are from before
		life.counted = true
		return
	}
	s.reads.Add(reads)
	s.writes.Add(writes)
}

// time counts how long an event took that is timed. commits is the number of
// the life's transactions before its handler ran.
func (life *Life) time(h *handling, began time.Time, commits uint64) {
	c := &life.obj.Class.counts
	now := time.Now()
	c.wait.Add(began.Sub(h.queued))
	c.run.Add(now.Sub(began))
	if life.turn.Closed() != nil || life.Tx.Commits() == commits {
		return
	}
	life.obj.Gate.Notify(func(lost error) {
		if lost == nil {
			c.durable.Add(time.Since(now))
		}
	})
}
