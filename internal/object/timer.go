package object

import (
	"context"
	"sync"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// A Timer runs events of an object in one of its lives. They wait for their
// turn however many other events do: each timer has one event at a time. The
// zero Timer has ended. It is safe for concurrent use.
type Timer struct {
	// fixed
	life  *Life
	f     func(ctx context.Context) error
	every time.Duration // 0: run once

	mu      sync.Mutex
	timer   *time.Timer // guarded by mu
	next    time.Time   // when the next tick is due. guarded by mu
	ended   bool        // guarded by mu
	waiting bool        // a tick waits for its turn or runs. guarded by mu
}

// Begin makes a zero timer run f as an event after d, and then at an interval
// if every is not 0. If the life or the host is over, the timer has ended.
func (t *Timer) Begin(life *Life, d, every time.Duration, f func(ctx context.Context) error) {
	t.life, t.f, t.every, t.next = life, f, every, time.Now().Add(d)
	if life.obj.host().Work.Closed() || !life.timers.add(t) {
		t.ended = true
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended { // by the end of the life or of the host just now
		t.timer = time.AfterFunc(d, t.tick)
	}
}

// Stop ends the timer and reports whether it was pending, that is, whether f
// would have run again. After the beginning of Shutdown no timer is pending.
// After Stop has returned, f does not start, even if it was already due. Stop
// does not wait for an f that runs.
func (t *Timer) Stop() bool {
	if t.life == nil {
		return false
	}
	pending := t.end() && !t.life.obj.host().Work.Closed()
	t.life.timers.remove(t)
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
	h := t.life.obj.host()
	if h.enterQuietly() != nil {
		t.Stop()
		return
	}
	defer h.Work.Leave()
	if !t.due() {
		return
	}
	err := t.run()
	t.life.obj.Report(EventTimer, err)
	if t.every == 0 {
		t.Stop()
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
	life := t.life
	h := life.obj.host()
	began := life.obj.Clock()
	ticket, err := life.turn.Queue(turn.Origin{})
	if err != nil {
		return t.silence(err)
	}
	e, err := ticket.Redeem(life.ctx)
	if err != nil {
		return t.silence(err)
	}
	return life.Run(e, EventTimer, began, nil, func(ctx context.Context, _ any) error {
		t.mu.Lock()
		over := t.ended || h.Work.Closed()
		t.ended = over || t.every == 0
		t.mu.Unlock()
		if over {
			return nil
		}
		return t.f(ctx)
	})
}

// silence drops the error of a turn that failed because the life has ended.
func (t *Timer) silence(err error) error {
	if t.life.ctx.Err() != nil {
		return nil
	}
	return err
}

// timers holds the timers of a life that are pending or run.
type timers struct {
	mu    sync.Mutex
	all   map[*Timer]struct{} // guarded by mu
	ended bool                // the life is over. guarded by mu
}

// add adds a timer. It reports false if the life is over.
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
