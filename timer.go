package dog

import (
	"context"
	"sync"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// A Timer is a pending [Object.After] or [Object.Every]. The zero Timer has
// ended. A Timer's methods may be called from any goroutine.
type Timer struct {
	// fixed
	inst  *instance
	f     func(ctx context.Context) error
	every time.Duration // 0: run once

	mu      sync.Mutex
	timer   *time.Timer // guarded by mu
	next    time.Time   // when the next tick is due. guarded by mu
	ended   bool        // guarded by mu
	waiting bool        // a tick waits for its turn or runs. guarded by mu
}

// After runs f as an event of the object after d. The timer lives in memory and
// keeps the object there. It ends with Stop, when the object is reset or
// deleted, and when Shutdown begins, before OnStop. To continue it after a
// restart of the object, call After again in OnStart. For more than minutes use
// an alarm ([Storage.Alarms]).
//
// The event has none of the values of the event that started it. f's error is
// logged. If RollbackOnError is set, the error also undoes f's writes. If
// Options.MaxWaiting events wait for the object when the timer is due, f is not
// run, which is logged. A nil f is never run, which is logged as well. A timer
// goes on even if the handler that started it is undone.
func (c *core) After(d time.Duration, f func(ctx context.Context) error) *Timer {
	return c.begin(d, 0, f)
}

// Every runs f as an event of the object every d, as [Object.After] does once.
// The ticks keep their rate however long f takes. A tick that is due while
// another waits for the turn or runs is skipped. If d is not above 0, Every
// logs an error and does not run f.
func (c *core) Every(d time.Duration, f func(ctx context.Context) error) *Timer {
	if d <= 0 {
		c.Log().Error("Every needs an interval above 0", "interval", d)
		return &Timer{ended: true}
	}
	return c.begin(d, d, f)
}

func (c *core) begin(d, every time.Duration, f func(ctx context.Context) error) *Timer {
	if f == nil {
		c.Log().Error("a timer needs a function")
		return &Timer{ended: true}
	}
	t := &Timer{inst: c.inst, f: f, every: every, next: time.Now().Add(d)}
	if c.inst == nil || !c.inst.timers.add(t) {
		t.ended = true
		return t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended { // the instance may have ended just now
		t.timer = time.AfterFunc(d, t.tick)
	}
	return t
}

// Stop ends the timer and reports whether it was pending, that is, whether f
// would have run again. After the beginning of Shutdown no timer is pending. f
// does not run any more. If a handler of the same object calls Stop, this holds
// even if f was already due.
func (t *Timer) Stop() bool {
	if t == nil || t.inst == nil {
		return false
	}
	pending := t.end() && !t.inst.obj.runtime().work.Closed()
	t.inst.timers.remove(t)
	return pending
}

// end ends the timer and reports whether it was pending.
func (t *Timer) end() (pending bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pending, t.ended = !t.ended, true
	if t.timer != nil {
		t.timer.Stop()
	}
	return pending
}

// tick runs an event, unless one already waits or runs.
func (t *Timer) tick() {
	rt := t.inst.obj.runtime()
	if rt.enterQuietly() != nil {
		t.Stop()
		return
	}
	defer rt.work.Leave()
	if !t.due() {
		return
	}
	err := t.run()
	t.inst.obj.report(EventTimer, err)
	if t.every == 0 {
		t.Stop() // also if f was dropped
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = false
}

// due reports whether an event should begin. It also sets the clock for the
// next one.
func (t *Timer) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	if t.every > 0 {
		now := time.Now()
		missed := max(now.Sub(t.next), 0) / t.every
		t.next = t.next.Add((missed + 1) * t.every)
		t.timer.Reset(t.next.Sub(now))
	}
	if t.waiting {
		return false
	}
	t.waiting = true
	return true
}

func (t *Timer) run() error {
	inst := t.inst
	began := inst.obj.trace().clock()
	ticket, err := inst.turn.Queue(turn.Origin{Limit: inst.obj.runtime().opts.MaxWaiting})
	if err != nil {
		return t.silence(err)
	}
	e, err := ticket.Redeem(inst.life)
	if err != nil {
		return t.silence(err)
	}
	return inst.run(e, EventTimer, began, func(ctx context.Context, _ any) error {
		t.mu.Lock()
		over := t.ended || inst.obj.runtime().work.Closed()
		t.ended = over || t.every == 0
		t.mu.Unlock()
		if over {
			return nil
		}
		return t.f(ctx)
	})
}

// silence drops the error of a turn that failed because the instance has ended.
func (t *Timer) silence(err error) error {
	if t.inst.life.Err() != nil {
		return nil
	}
	return err
}

// timers holds the timers of an instance that are pending or run.
type timers struct {
	mu    sync.Mutex
	all   map[*Timer]struct{} // guarded by mu
	ended bool                // the instance is over. guarded by mu
}

// add adds a timer. It reports false if the instance is over.
func (s *timers) add(t *Timer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if s.all == nil {
		s.all = make(map[*Timer]struct{})
	}
	s.all[t] = struct{}{}
	return true
}

func (s *timers) remove(t *Timer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, t)
}

// pending reports whether there are timers.
func (s *timers) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all) > 0
}

// end ends all timers, including timers that are started later.
func (s *timers) end() {
	s.mu.Lock()
	all := s.all
	s.all, s.ended = nil, true
	s.mu.Unlock()
	for t := range all {
		t.end()
	}
}
