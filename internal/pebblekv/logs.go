package pebblekv

import (
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// spareLogs is how many logs that are not needed any more are kept to be
// written anew, which is faster than to write a new file. Pebble would keep as
// many as there have ever been at once.
const spareLogs = 1

// A logbook knows the logs that Pebble has begun since it was opened.
type logbook struct {
	mu    sync.Mutex
	paths map[uint64]string // guarded by mu: by number
}

func (l *logbook) created(info pebble.WALCreateInfo) {
	if info.Err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paths == nil {
		l.paths = make(map[uint64]string)
	}
	delete(l.paths, uint64(info.RecycledFileNum))
	l.paths[uint64(info.FileNum)] = info.Path
}

func (l *logbook) deleted(info pebble.WALDeleteInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.paths, uint64(info.FileNum))
}

// numbers returns the numbers of the logs, the oldest first.
func (l *logbook) numbers() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.paths))
}

// remove takes note that a log is being removed and returns its path; "" when
// it has gone already.
func (l *logbook) remove(number uint64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	path := l.paths[number]
	delete(l.paths, number)
	return path
}

// dropLogs removes the logs that are not needed any more, but for some. Pebble
// finds out when it wants to write one anew; see freezer.ReuseForWrite.
func (e *Engine) dropLogs(spare int) {
	// The logs in use are the youngest, and are in the logbook before Pebble
	// counts them: so what is too many for the count is not in use, whatever
	// Pebble has begun or done with in between.
	known := e.logs.numbers()
	used := int(e.db.Metrics().WAL.Files)
	if len(known) <= used {
		return
	}
	// Pebble takes up the oldest first.
	spares := known[:len(known)-used]
	for _, number := range spares[min(spare, len(spares)):] {
		if path := e.logs.remove(number); path != "" {
			_ = e.fs.Remove(path) // it is Pebble's that reuses it, or the freezer has been told
		}
	}
}

// tidy gives space back, when it is asked to, until the engine has failed or is
// closing.
func (e *Engine) tidy() {
	for {
		select {
		case <-e.flushed:
			return
		case <-e.tidying:
		}
		e.dropLogs(spareLogs)
		if !e.short.Swap(false) {
			continue
		}
		// What is in memtables goes into tables, and their logs go.
		if flushed, err := e.db.AsyncFlush(); err == nil {
			select {
			case <-e.flushed:
				return
			case <-flushed:
			}
		}
		e.dropLogs(0)
		e.space.tidied()
	}
}

// wantTidy has tidy drop logs.
func (e *Engine) wantTidy() {
	select {
	case e.tidying <- struct{}{}:
	default:
	}
}

// wantSpare has tidy give back all that it can.
func (e *Engine) wantSpare() {
	e.short.Store(true)
	e.wantTidy()
}

// spare returns how many bytes that would be: the logs, but for the beginning
// of another.
func (e *Engine) spare() uint64 {
	logs := allocatedIn(e.cfg.FS, e.cfg.Dir, ".log")
	return logs - min(logs, e.fs.ahead)
}
