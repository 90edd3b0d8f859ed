package object

import (
	"sync"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// stopRounds is how many times StopObjects stops objects that the OnStop of
// other objects has started again.
const stopRounds = 8

// StopObjects runs OnStop of all objects, of each as soon as it is idle, and
// returns when no more work is in progress. Work must be closed. patience is
// how long the objects that are idle at first may take before IdleStopped does
// not wait for them any more.
func (h *Host) StopObjects(patience time.Duration) {
	soon := time.AfterFunc(patience, h.stopFirst)
	defer soon.Stop()
	h.endTimers()
	var first sync.WaitGroup
	h.stopIdle(&first)
	h.Work.Spawn(func() {
		first.Wait()
		h.stopFirst()
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause, rounds := 10*time.Millisecond, 0; rounds < stopRounds; pause = min(2*pause, time.Second) {
		timer.Reset(pause)
		select {
		case <-h.Work.Idle():
		case <-timer.C:
		}
		drained := h.Work.Len() == 0
		begun := h.stopIdle(nil)
		switch {
		case drained && begun == 0:
			return
		case drained:
			rounds++
		}
	}
	h.Work.Wait()
}

// endTimers ends all timers, which would otherwise keep their objects in memory
// until they are due. Work is closed, so timers that begin later have ended.
func (h *Host) endTimers() {
	for _, o := range h.Objects() {
		if life := o.current.Load(); life != nil {
			life.timers.end()
		}
	}
}

// IdleStopped returns a channel that is closed when OnStop has had its time in
// the objects that were idle when StopObjects began.
func (h *Host) IdleStopped() <-chan struct{} { return h.idleStopped }

// stopFirst closes the channel of IdleStopped.
func (h *Host) stopFirst() { h.firstStops.Do(func() { close(h.idleStopped) }) }

// stopIdle begins OnStop of the idle objects and returns their number. all
// waits for them. It may be nil.
func (h *Host) stopIdle(all *sync.WaitGroup) (begun int) {
	placed := false
	for _, c := range h.Classes() {
		if c.OnStop == nil {
			continue
		}
		for _, o := range c.Live() {
			life := o.current.Load()
			if life == nil || o.Busy() {
				continue
			}
			if !placed {
				h.places <- struct{}{} // released within stopPlace
				placed = true
			}
			ticket, ok := life.turn.QueueIdle(turn.Origin{}, nil)
			if !ok {
				continue
			}
			placed = false
			begun++
			if all != nil {
				all.Add(1)
			}
			h.Work.Spawn(func() {
				if all != nil {
					defer all.Done()
				}
				defer h.places.hold()()
				o.stop(life, ticket, StopShutdown)
			})
		}
	}
	if placed {
		<-h.places
	}
	return begun
}
