package pebblekv

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A meter knows what a directory takes on its disk.
type meter struct {
	fs  vfs.FS // fixed
	dir string // fixed

	mu    sync.Mutex // held by who measures
	taken uint64     // guarded by mu
	until time.Time  // guarded by mu: so long taken is not measured anew
}

// meterRest is how many times as long as measuring took the result serves, so
// that whoever asks all the time does not keep a processor busy with it.
const meterRest = 50

// measure returns what the files of the directory take, in bytes.
func (m *meter) measure() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	start := time.Now()
	if start.Before(m.until) {
		return m.taken
	}
	m.taken = allocatedIn(m.fs, m.dir, "")
	m.until = time.Now().Add(meterRest * time.Since(start))
	return m.taken
}
