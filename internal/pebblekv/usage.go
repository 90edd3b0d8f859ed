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

	mu    sync.Mutex // held during a measurement
	taken uint64     // guarded by mu
	until time.Time  // guarded by mu: until then taken is not measured again
}

// meterRest is how long a result is reused, as a multiple of the time that
// measuring took, so that frequent calls do not keep a processor busy.
const meterRest = 50

// measure returns the disk space used by the files of the directory, in bytes.
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
