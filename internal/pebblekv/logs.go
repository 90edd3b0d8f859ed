package pebblekv

import (
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// spareLogs is the number of unneeded logs kept for reuse, which is faster than
// writing a new file. Pebble would keep as many as ever existed at once.
const spareLogs = 1

// A logbook records the logs that Pebble has created since it was opened.
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

// remove records that a log is being removed and returns its path, or "" if it
// is already gone.
func (l *logbook) remove(number uint64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	path := l.paths[number]
	delete(l.paths, number)
	return path
}

// dropLogs removes the logs that are no longer needed, except for spare of
// them. Pebble notices when it tries to reuse one; see freezer.ReuseForWrite.
func (e *Engine) dropLogs(spare int) {
	// The logs in use are the newest, and are added to the logbook before
	// Pebble counts them. So the logs in excess of the count are not in use,
	// even if Pebble has created or released logs in the meantime.
	known := e.logs.numbers()
	used := int(e.db.Metrics().WAL.Files)
	if len(known) <= used {
		return
	}
	// Pebble reuses the oldest first.
	spares := known[:len(known)-used]
	for _, number := range spares[min(spare, len(spares)):] {
		if path := e.logs.remove(number); path != "" {
			_ = e.fs.Remove(path) // on error, Pebble is reusing it, or the freezer knows of the failure
		}
	}
}

// tidy releases space on request, until the engine has failed or is closing.
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
		// Write memtables to tables, after which their logs can be removed.
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

// wantTidy makes tidy drop logs.
func (e *Engine) wantTidy() {
	select {
	case e.tidying <- struct{}{}:
	default:
	}
}

// wantSpare makes tidy release all the space that it can.
func (e *Engine) wantSpare() {
	e.short.Store(true)
	e.wantTidy()
}

// spare returns how many bytes wantSpare could release: those of the logs,
// except for the beginning of a new one.
func (e *Engine) spare() uint64 {
	logs := allocatedIn(e.cfg.FS, e.cfg.Dir, ".log")
	return logs - min(logs, e.fs.ahead)
}
