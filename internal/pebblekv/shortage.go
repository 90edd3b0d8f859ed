package pebblekv

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/osfile"
	"github.com/godurable/dog/internal/store"
)

// errNoSpace is the error of commits while a write waits for space.
var errNoSpace = fmt.Errorf("%w: make room on the volume, and writing goes on", store.ErrFull)

// How long a change that found no space waits before it is retried. The pause
// doubles each time, up to a maximum.
const (
	firstPause = time.Millisecond
	mostPause  = 100 * time.Millisecond
)

// A shortage makes changes that find no space on the disk wait for it. A write
// that found none has at most written a part and continues after it, and other
// changes have changed nothing, so the result is the same as with a slow disk.
// This does not hold for syncs, after which it is unknown what has been
// written.
type shortage struct {
	// called with the change in the number of waiting changes; if nil, changes
	// fail instead of waiting
	waits atomic.Pointer[func(int)]

	once     sync.Once
	hopeless chan struct{} // closed by stopWaiting
}

// await makes changes wait for space from now on. waits is called with 1 when
// one begins to wait, and with -1 when it stops waiting.
func (s *shortage) await(waits func(int)) { s.waits.Store(&waits) }

// stopWaiting makes all changes that wait for space fail, now and in the
// future.
func (s *shortage) stopWaiting() { s.once.Do(func() { close(s.hopeless) }) }

// persist runs a change, and retries it while there is no space. run must
// continue where it stopped.
func (z *freezer) persist(run func() error) error {
	err := run()
	if err == nil || !osfile.IsFull(err) {
		return err
	}
	waits := z.waits.Load()
	if waits == nil {
		return err
	}
	(*waits)(1)
	defer (*waits)(-1)
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		select {
		case <-time.After(pause):
		case <-z.broken:
			return err
		case <-z.hopeless:
			return err
		}
		if z.look(); z.frozen.Load() {
			return err
		}
		if err = run(); err == nil || !osfile.IsFull(err) {
			return err
		}
	}
}

// lack records that more changes wait for space. While there are any, commits
// are refused, including those waiting to be admitted.
func (e *Engine) lack(more int) {
	e.mu.Lock()
	before := e.lacking
	e.lacking += more
	after := e.lacking
	if before == 0 && e.err == nil {
		for _, w := range e.blocked {
			w.err = errNoSpace
			close(w.in)
		}
		e.blocked = nil
	}
	if after == 0 {
		e.moved = time.Now()
	}
	e.mu.Unlock()
	switch {
	case before == 0:
		e.space.letGo()
		e.log.Error("the disk is full; the store writes nothing until there is room on the volume")
	case after == 0:
		e.log.Info("the store writes again")
	}
}
