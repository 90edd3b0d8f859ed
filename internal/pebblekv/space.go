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

// What a store takes for itself follows from the size of its volume, up to what
// serves best where there is plenty. Of its logs, each as large as a memtable,
// there may be as many as seven; together with the reserve they leave three
// quarters of the volume to what is stored.
const (
	mostMinFree   = 256 << 20 // bytes
	mostMemtable  = 16 << 20
	leastMemtable = 256 << 10

	minFreePart  = 8 // of the volume
	memtablePart = 64
)

// fit sets the limits that follow from the size of the volume. 0 stands for a
// size that is not known.
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

// measure returns how large the volume of a directory is, and how much of it is
// free. The directory need not exist. It returns false when the file system
// cannot tell: then it has to fail the write itself.
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

// openingTakes is how much a new manifest and the like take at most, besides
// what the logs hold.
const openingTakes = 1 << 20 // bytes

// roomToOpen returns store.ErrFull unless there is room to open the store: for
// tables of what its logs hold, after which the logs go. Nothing has been
// changed then.
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
		return fmt.Errorf("%w: opening the store takes %d bytes, MinFree included, and %d are free: make room on the volume",
			store.ErrFull, takes, usage.AvailBytes)
	}
	return nil
}

// allocatedIn returns what the files of a directory with a suffix take on the
// disk; of one that cannot be looked at nothing.
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

// lookEvery is how long what was found out about free space holds at most.
const lookEvery = time.Second

// A space watches how much is free on the disk. Before it has commits refused,
// it lets the store give back what is its own to give.
type space struct {
	fs    vfs.FS          // fixed
	dir   string          // fixed
	min   uint64          // fixed
	start time.Time       // fixed
	over  <-chan struct{} // closed when nothing is given back any more. fixed
	store interface {     // fixed: whose space it is
		// spare returns how many bytes the store could give back.
		spare() uint64
		// wantSpare has it do so, and call tidied then. It does not block.
		wantSpare()
		// dropLogs gives back at once what needs no flush, but for so many
		// logs.
		dropLogs(spare int)
	}

	credit atomic.Int64          // bytes that may be written before the next look
	next   atomic.Int64          // when to look next, after start
	taken  atomic.Uint64         // bytes of all commits that were let through
	full   atomic.Pointer[error] // what commits are refused with, or nil

	// giving is closed when the store has given back what it could; nil while
	// it gives nothing back, or nobody is to wait for it.
	giving atomic.Pointer[chan struct{}]

	mu    sync.Mutex // held by who looks
	asked uint64     // guarded by mu: taken, when the store was last asked to give space back
	busy  bool       // guarded by mu: it is at it
}

func newSpace(fsys vfs.FS, dir string, minFree uint64, e *Engine) *space {
	return &space{fs: fsys, dir: dir, min: minFree, start: time.Now(), over: e.flushed, store: e}
}

// take takes note that so many bytes are to be written. It returns
// store.ErrFull when too little is free, and waits before as long as the store
// gives space back. With 0 bytes it does not wait.
func (s *space) take(size uint64) error {
	// While another goroutine looks, its answer will do for the next commit.
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

// outlast returns what commits are refused with once the store has given back
// what it can, nil when that was enough.
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

// letGo has nobody wait any more for what the store gives back.
func (s *space) letGo() {
	if giving := s.giving.Swap(nil); giving != nil {
		close(*giving)
	}
}

// writtenAgain is how often a commit is on the disk at once at most: in the
// log, in tables that take the log's place, and in those of the next level,
// which take theirs. Of small commits the reserve has room for that.
const writtenAgain = 3

// fits returns store.ErrFull when a commit would take from the reserve what the
// store needs in order to go on. It is called when no other large commit is
// between that and the log.
func (s *space) fits(size uint64) error {
	const few = 8 // parts of the reserve
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
	return fmt.Errorf("%w: this transaction has %d bytes, which the store writes %d times, and %d are free, MinFree (%d) included: "+
		"store less at once, or make room on the volume", store.ErrFull, size, writtenAgain, usage.AvailBytes, s.min)
}

// missing reports whether there is too little space for a commit besides the
// reserve and the tables of what the logs hold.
func (s *space) missing(size uint64) (vfs.DiskUsage, bool) {
	usage, err := s.fs.GetDiskUsage(s.dir)
	return usage, err == nil && usage.AvailBytes < s.min+writtenAgain*size+allocatedIn(s.fs, s.dir, ".log")
}

// tidied says that the store has given back what it could.
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

// look asks the file system. It is called with mu held.
func (s *space) look() {
	s.next.Store(int64(time.Since(s.start) + lookEvery))
	s.credit.Store(int64(s.min / 8))
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil || usage.AvailBytes >= s.min {
		s.full.Store(nil) // A file system that cannot tell has to fail the write itself.
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
		return // the reserve serves meanwhile, for the tables too that take the place of logs
	}
	err = fmt.Errorf("%w: %d bytes are free, fewer than MinFree (%d): make room on the volume, and writing goes on",
		store.ErrFull, usage.AvailBytes, s.min)
	s.full.Store(&err)
}
