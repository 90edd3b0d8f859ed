package pebblekv

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog/internal/store"
)

// lookEvery is how long what was found out about free space holds at most.
const lookEvery = time.Second

// A space watches how much is free on the disk.
type space struct {
	fs    vfs.FS    // fixed
	dir   string    // fixed
	min   uint64    // fixed
	start time.Time // fixed

	credit atomic.Int64          // bytes that may be written before the next look
	next   atomic.Int64          // when to look next, after start
	full   atomic.Pointer[error] // what commits are refused with, or nil
	mu     sync.Mutex            // held by who looks
}

func newSpace(fs vfs.FS, dir string, minFree uint64) *space {
	return &space{fs: fs, dir: dir, min: minFree, start: time.Now()}
}

// take takes note that so many bytes are to be written. It returns store.ErrFull when too little is free.
func (s *space) take(size uint64) error {
	if s.credit.Add(-int64(size)) < 0 || int64(time.Since(s.start)) >= s.next.Load() {
		s.look()
	}
	if full := s.full.Load(); full != nil {
		return *full
	}
	return nil
}

// look asks the file system, unless another goroutine just does: its answer will do for the next commit.
func (s *space) look() {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.next.Store(int64(time.Since(s.start) + lookEvery))
	s.credit.Store(int64(s.min / 8))
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil || usage.AvailBytes >= s.min {
		s.full.Store(nil) // A file system that cannot tell has to fail the write itself.
		return
	}
	err = fmt.Errorf("%w: %d bytes free, of which %d are kept in reserve", store.ErrFull, usage.AvailBytes, s.min)
	s.full.Store(&err)
}
