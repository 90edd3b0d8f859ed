package pebblekv

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog/internal/store"
)

// The space that a store reserves for itself depends on the size of its volume,
// up to the values that are best with plenty of space. There may be up to seven
// logs, each as large as a memtable. Together with the reserve they leave three
// quarters of the volume to stored data.
const (
	mostMinFree   = 256 << 20 // bytes
	mostMemtable  = 16 << 20
	leastMemtable = 256 << 10

	minFreePart  = 8 // fraction of the volume
	memtablePart = 64
)

// fit sets the limits that depend on the size of the volume. A total of 0 means
// that the size is unknown.
func (c Config) fit(total uint64) Config {
	if c.MinFree == 0 {
		c.MinFree = mostMinFree
		if total > 0 {
			c.MinFree = min(c.MinFree, total/minFreePart)
		}
	}
	if c.Memtable == 0 {
		c.Memtable = mostMemtable
		if total > 0 {
			c.Memtable = max(min(c.Memtable, total/memtablePart), leastMemtable)
		}
	}
	return c
}

// measure returns the size of the volume of a directory and its free space. The
// directory need not exist. known is false if the file system does not report
// them. Then a full disk is noticed only when a write fails.
func measure(fsys vfs.FS, dir string) (usage vfs.DiskUsage, known bool) {
	for {
		_, err := fsys.Stat(dir)
		if err == nil {
			usage, err = fsys.GetDiskUsage(dir)
			return usage, err == nil
		}
		parent := fsys.PathDir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			return usage, false
		}
		dir = parent
	}
}

// openingTakes is the maximum space for a new manifest and other new files when
// opening, in addition to the content of the logs.
const openingTakes = 1 << 20 // bytes

// roomToOpen returns store.ErrFull unless there is room to open the store, that
// is, to write tables with the content of its logs, after which the logs are
// removed. It changes nothing.
func roomToOpen(fsys vfs.FS, dir string, minFree uint64) error {
	usage, known := measure(fsys, dir)
	if !known {
		return nil
	}
	logs := allocatedIn(fsys, dir, ".log")
	takes := logs + openingTakes
	if logs < minFree {
		takes = max(takes, minFree-logs)
	}
	if usage.AvailBytes < takes {
		return fmt.Errorf(
			"%w: opening the store takes %d bytes, MinFree included, and %d are free: make room on the volume",
			store.ErrFull, takes, usage.AvailBytes,
		)
	}
	return nil
}

// allocatedIn returns the disk space used by the files of a directory with a
// suffix. Files that cannot be examined count as 0.
func allocatedIn(fsys vfs.FS, dir, suffix string) (sum uint64) {
	names, err := fsys.List(dir)
	if err != nil {
		return 0
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		if info, err := fsys.Stat(fsys.PathJoin(dir, name)); err == nil {
			sum += allocated(info)
		}
	}
	return sum
}

// lookEvery is the maximum age of a measurement of free space.
const lookEvery = time.Second

// A space monitors the free space on the disk. Before it refuses commits, it
// lets the store release what it can.
type space struct {
	fs    vfs.FS          // fixed
	dir   string          // fixed
	min   uint64          // fixed
	start time.Time       // fixed
	over  <-chan struct{} // fixed; closed when no more space will be released
	store interface {     // fixed: the owner of the space
		// spare returns how many bytes the store could release.
		spare() uint64
		// wantSpare makes the store release them, and call tidied afterwards.
		// It does not block.
		wantSpare()
		// dropLogs immediately releases all logs that need no flush, except for
		// spare of them.
		dropLogs(spare int)
	}

	credit atomic.Int64          // bytes that may be written before the next check
	next   atomic.Int64          // when to check next, relative to start
	taken  atomic.Uint64         // bytes of all admitted commits
	full   atomic.Pointer[error] // error of refused commits, or nil

	// giving is closed when the store has released what it could. It is nil
	// while the store releases nothing, or if commits must not wait for it.
	giving atomic.Pointer[chan struct{}]

	mu    sync.Mutex // held during a check
	asked uint64     // guarded by mu: taken when the store was last asked to release space
	busy  bool       // guarded by mu: the store is releasing space
}

func newSpace(fsys vfs.FS, dir string, minFree uint64, e *Engine) *space {
	return &space{fs: fsys, dir: dir, min: minFree, start: time.Now(), over: e.flushed, store: e}
}

// take records that size bytes will be written. It returns store.ErrFull if too
// little space is free, but first waits while the store releases space. If size
// is 0, it does not wait.
func (s *space) take(size uint64) error {
	// If another goroutine is checking, its result is used for the next commit.
	if (s.credit.Add(-int64(size)) < 0 || int64(time.Since(s.start)) >= s.next.Load()) && s.mu.TryLock() {
		s.look()
		s.mu.Unlock()
	}
	full := s.full.Load()
	if full != nil && size > 0 {
		full = s.outlast()
	}
	if full != nil {
		return *full
	}
	if size > 0 {
		s.taken.Add(size)
	}
	return nil
}

// outlast waits until the store has released what it can. It returns the error
// of refused commits, or nil if there is enough space.
func (s *space) outlast() *error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		giving, full := s.giving.Load(), s.full.Load()
		if giving == nil || full == nil {
			return full
		}
		select {
		case <-*giving:
		case <-s.over:
			return full
		case <-timer.C:
			return full
		}
	}
}

// letGo stops all waits for the store to release space.
func (s *space) letGo() {
	if giving := s.giving.Swap(nil); giving != nil {
		close(*giving)
	}
}

// writtenAgain is the maximum number of copies of a commit on the disk at once:
// in the log, in the tables that replace the log, and in the tables of the next
// level, which replace those. For small commits, the reserve has enough room
// for that.
const writtenAgain = 3

// fits returns store.ErrFull if a commit would take space from the reserve that
// the store needs to continue. When it is called, no other large commit may be
// between this call and the log.
func (s *space) fits(size uint64) error {
	const few = 8 // fraction of the reserve
	if size <= max(s.min/few, leastMemtable) {
		return nil
	}
	usage, missing := s.missing(size)
	if missing {
		s.store.dropLogs(0)
		usage, missing = s.missing(size)
	}
	if !missing {
		return nil
	}
	s.store.wantSpare()
	return fmt.Errorf(
		"%w: this transaction has %d bytes, which the store writes %d times, and %d are free, MinFree (%d) included: "+
			"store less at once, or make room on the volume",
		store.ErrFull, size, writtenAgain, usage.AvailBytes, s.min,
	)
}

// missing reports whether there is too little space for a commit, in addition
// to the reserve and the tables with the content of the logs.
func (s *space) missing(size uint64) (vfs.DiskUsage, bool) {
	usage, err := s.fs.GetDiskUsage(s.dir)
	return usage, err == nil && usage.AvailBytes < s.min+writtenAgain*size+allocatedIn(s.fs, s.dir, ".log")
}

// tidied records that the store has released what it could.
func (s *space) tidied() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	before := s.giving.Swap(nil)
	s.look()
	if before != nil {
		close(*before)
	}
}

// look asks the file system for the free space. The caller must hold mu.
func (s *space) look() {
	s.next.Store(int64(time.Since(s.start) + lookEvery))
	s.credit.Store(int64(s.min / 8))
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil || usage.AvailBytes >= s.min {
		s.full.Store(nil) // if the file system does not report it, a full disk is noticed only when a write fails
		return
	}
	if taken, spare := s.taken.Load(), s.store.spare(); taken > s.asked && spare > 0 {
		s.asked = taken
		s.store.wantSpare()
		if s.busy = usage.AvailBytes+spare >= s.min; s.busy && s.giving.Load() == nil {
			giving := make(chan struct{})
			s.giving.Store(&giving)
		}
	}
	if s.busy && usage.AvailBytes >= s.min/2 {
		s.full.Store(nil)
		return // use the reserve for now, including for the tables that replace logs
	}
	err = fmt.Errorf("%w: %d bytes are free, fewer than MinFree (%d): make room on the volume, and writing goes on",
		store.ErrFull, usage.AvailBytes, s.min)
	s.full.Store(&err)
}
