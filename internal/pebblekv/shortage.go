package pebblekv

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/osfile"
	"github.com/godurable/dog/internal/store"
)

// errNoSpace is what commits are refused with while a write waits for space.
var errNoSpace = fmt.Errorf("%w: make room on the volume, and writing goes on", store.ErrFull)

// How long a change that found no space waits before it is tried again: twice
// as long each time, up to a bound.
const (
	firstPause = time.Millisecond
	mostPause  = 100 * time.Millisecond
)

// A shortage has changes that find no space on the disk wait for it. A write
// that found none has written a part at most and goes on behind that, and other
// changes have changed nothing, so all is as if the disk had been slow. That is
// not so for syncs, after which it is open what has been written.
type shortage struct {
	waits atomic.Pointer[func(int)] // is told that so many more changes wait; nil: they do not wait, but fail

	once     sync.Once
	hopeless chan struct{} // closed by giveUp
}

// await has changes wait for space from now on, and waits told of that: with 1
// when one begins to wait, and with -1 when it ends to.
func (s *shortage) await(waits func(int)) { s.waits.Store(&waits) }

// giveUp has all changes fail that wait for space, now or later.
func (s *shortage) giveUp() { s.once.Do(func() { close(s.hopeless) }) }

// persist runs a change, again and again while it finds no space. What is run
// goes on where it has stopped.
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

// lack notes that so many more changes wait for space. While any does, commits
// are refused, and so are those that wait to be let in.
func (e *Engine) lack(more int) {
	e.mu.Lock()
	before := e.lacking
	e.lacking += more
	after := e.lacking
	if before == 0 && e.err == nil {
		for _, a := range e.blocked {
			a.err = errNoSpace
			close(a.in)
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
