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

	mu      sync.Mutex
	taken   uint64    // guarded by mu
	until   time.Time // guarded by mu: until then taken is not measured again
	running bool      // guarded by mu: a measurement is
}

// meterRest is how long a result is reused, as a multiple of the time that
// measuring took, so that frequent calls do not keep a processor busy.
const meterRest = 50

// meterPatience is how long the caller that begins a measurement waits for it.
const meterPatience = 100 * time.Millisecond

// measure returns the disk space used by the files of the directory, in bytes:
// the last result, if it is recent, or if the disk does not respond. spawn runs
// a function in a goroutine, or reports that it does not.
func (m *meter) measure(spawn func(func()) bool) uint64 {
	if m.begin() {
		done := make(chan struct{})
		if spawn(func() { defer close(done); m.run() }) {
			select {
			case <-done:
			case <-time.After(meterPatience):
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken
}

// begin reports whether the caller must run a measurement.
func (m *meter) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running || time.Now().Before(m.until) {
		return false
	}
	m.running = true
	return true
}

func (m *meter) run() {
	start := time.Now()
	taken := allocatedIn(m.fs, m.dir, "")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken, m.running, m.until = taken, false, time.Now().Add(meterRest*time.Since(start))
}
