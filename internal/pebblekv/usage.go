package pebblekv

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A meter measures the disk space used by a directory.
type meter struct {
	fs  vfs.FS // fixed
	dir string // fixed

	mu    sync.Mutex
	taken uint64        // guarded by mu
	until time.Time     // guarded by mu: until then taken is not measured again
	done  chan struct{} // guarded by mu: closed when the measurement has ended that runs; nil: none does
}

// meterRest is how long a result is reused, as a multiple of the time that
// measuring took, so that frequent calls do not keep a processor busy. It is
// bounded for a disk that has not responded for long.
const (
	meterRest = 50
	mostRest  = time.Minute
)

// meterPatience is how long a caller waits for a measurement.
const meterPatience = 100 * time.Millisecond

// measure returns the disk space used by the files of the directory, in bytes:
// the last result if it is recent or the disk does not respond, 0 if there is
// none yet. spawn runs a function in a goroutine, or reports that it does not.
func (m *meter) measure(spawn func(func()) bool) uint64 {
	done, begun, first := m.begin()
	if begun && !spawn(m.run) {
		m.end(m.last(), 0)
	}
	if begun || first {
		select {
		case <-done:
		case <-time.After(meterPatience):
		}
	}
	return m.last()
}

func (m *meter) last() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken
}

// begin returns the end of the measurement that runs, nil if none does. If
// begun is set, the caller must run it. If first is set, there is no result
// yet.
func (m *meter) begin() (done <-chan struct{}, begun, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done == nil && !time.Now().Before(m.until) {
		m.done, begun = make(chan struct{}), true
	}
	return m.done, begun, m.until.IsZero()
}

func (m *meter) run() {
	start := time.Now()
	taken := allocatedIn(m.fs, m.dir, "")
	m.end(taken, min(meterRest*time.Since(start), mostRest))
}

func (m *meter) end(taken uint64, rest time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken, m.until = taken, time.Now().Add(rest)
	close(m.done)
	m.done = nil
}
