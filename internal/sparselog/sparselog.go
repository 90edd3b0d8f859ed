// Package sparselog logs warnings that recur, each of them once a minute.
//
// It does not know what the warnings are about.
package sparselog

import (
	"log/slog"
	"sync"
	"time"
)

// pause is the time between two entries of the same warning.
const pause = time.Minute

// A Log notes which warnings have been logged. Its zero value is empty. It is
// safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	logged map[warning]time.Time // guarded by mu; bounded by the number of different warnings
}

type warning struct{ subject, message string }

// Warn logs a warning about a subject to a logger, unless it has just done so.
// Messages must be few: what varies belongs into args, which are those of
// [slog.Logger.Warn], or into err, of which there may be none.
func (l *Log) Warn(to *slog.Logger, subject, message string, err error, args ...any) {
	if !l.first(warning{subject, message}) {
		return
	}
	if err != nil {
		args = append(args, "error", err)
	}
	to.Warn(message, args...)
}

// first reports whether the warning should be logged now.
func (l *Log) first(w warning) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if at, found := l.logged[w]; found && now.Sub(at) < pause {
		return false
	}
	if l.logged == nil {
		l.logged = make(map[warning]time.Time)
	}
	l.logged[w] = now
	return true
}
