package schedule

import (
	"math"
	"time"

	"github.com/godurable/dog/internal/store"
)

// beginning returns an entry before all alarms of the namespace.
func (s *Schedule) beginning() store.DueAlarm {
	return store.DueAlarm{At: math.MinInt64, Namespace: s.Namespace}
}

// Any returns an error if the index cannot be read, and otherwise whether it
// has alarms of the namespace.
func (s *Schedule) Any() (bool, error) {
	for _, err := range store.AlarmsAfter(s.Engine, s.beginning()) {
		return err == nil, err
	}
	return false, nil
}

// placeLocked puts an object's alarm into the queue, if it belongs there, and
// replaces the object's previous alarm. The caller must hold mu.
func (s *Schedule) placeLocked(due store.DueAlarm) {
	if at, ok := s.times[due.Base]; ok {
		if at == due.At {
			return
		}
		s.queue.Delete(store.DueAlarm{At: at, Namespace: due.Namespace, Base: due.Base})
		delete(s.times, due.Base)
	}
	// While a page is being read, it is not known how far it goes.
	if !s.whole && !s.reading && s.horizon.Before(due) {
		return
	}
	s.queue.Set(due)
	s.times[due.Base] = due.At
	s.trimLocked()
	if first, _ := s.queue.Min(); first == due {
		s.Look()
	}
}

// trimLocked halves the queue if it is too long. The caller must hold mu.
func (s *Schedule) trimLocked() {
	if s.reading || s.queue.Len() <= maxQueue {
		return
	}
	for s.queue.Len() > maxQueue/2 {
		last, _ := s.queue.PopMax()
		delete(s.times, last.Base)
	}
	if last, _ := s.queue.Max(); s.whole || last.Before(s.horizon) {
		s.horizon, s.whole = last, false
	}
}

// completeLocked reports whether the queue has every alarm up to due. The
// caller must hold mu.
func (s *Schedule) completeLocked(due store.DueAlarm) bool { return s.whole || !s.horizon.Before(due) }

// lowLocked reports whether more of the index should be read once it is due.
// The caller must hold mu.
func (s *Schedule) lowLocked() bool {
	first, _ := s.queue.Min()
	return !s.whole && (s.queue.Len() < pageSize/2 || s.horizon.Before(first))
}

// wanting reports whether a page should be read now.
func (s *Schedule) wanting() bool {
	if s.Work.Closed() {
		return false
	}
	now := s.Now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.again.IsZero() && time.Until(s.again) <= 0 {
		s.again, s.horizon, s.whole = time.Time{}, s.beginning(), false
	}
	return s.lowLocked() && s.horizon.At <= now
}

// read reads the next page of the index into the queue.
func (s *Schedule) read() error {
	s.mu.Lock()
	s.reading = true
	from := s.horizon
	s.mu.Unlock()

	page := make([]store.DueAlarm, 0, pageSize)
	var err error
	for due, failed := range store.AlarmsAfter(s.Engine, from) {
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
func (s *Schedule) takeInLocked(page []store.DueAlarm) {
	for _, due := range page {
		_, queued := s.times[due.Base]
		_, runs := s.running[due.Base]
		if !queued && !runs {
			s.queue.Set(due)
			s.times[due.Base] = due.At
		}
	}
	if len(page) > 0 {
		s.horizon = page[len(page)-1]
	}
	s.whole = len(page) < pageSize
	s.trimLocked()
}
