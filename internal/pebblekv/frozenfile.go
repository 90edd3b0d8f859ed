package pebblekv

import (
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A copied file belongs to a backup. Writing to it fails once the backup is no
// longer wanted.
type copied struct {
	vfs.File              // fixed
	unwanted func() error // fixed
}

func (f *copied) Write(p []byte) (int, error) {
	if err := f.unwanted(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

// A guarded file is a file of the directory, or the directory itself.
type guarded struct {
	vfs.File          // fixed
	freezer  *freezer // fixed
	table    bool     // fixed
	log      bool     // fixed

	// Of a log, in bytes; owned by its writer. Up to stale, the file contains
	// data of an earlier log, except where it has been written or wiped.
	written, allocated, stale, wiped uint64
}

// change runs a change of the file, unless frozen.
func (f *guarded) change(run func() error) error {
	if !f.freezer.frozen.Load() {
		err := run()
		if err == nil {
			return nil
		}
		f.freezer.fail(err)
	}
	if f.table {
		return errFrozen
	}
	return nil
}

func (f *guarded) Write(p []byte) (int, error) {
	if f.log {
		f.allocate(uint64(len(p)))
	}
	rest := p
	return len(p), f.change(func() error {
		if err := f.wipe(); err != nil {
			return err
		}
		return f.freezer.persist(func() error {
			n, err := f.File.Write(rest)
			rest = rest[n:]
			return err
		})
	})
}

func (f *guarded) WriteAt(p []byte, off int64) (int, error) {
	rest := p
	return len(p), f.change(func() error {
		return f.freezer.persist(func() error {
			n, err := f.File.WriteAt(rest, off)
			rest, off = rest[n:], off+int64(n)
			return err
		})
	})
}

func (f *guarded) Sync() error { return f.change(f.File.Sync) }

func (f *guarded) SyncData() error { return f.change(f.File.SyncData) }

func (f *guarded) SyncTo(length int64) (full bool, err error) {
	err = f.change(func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// mostAhead is the maximum allocated ahead for a log.
const mostAhead = 1 << 20 // bytes

// allocate makes the disk allocate space for the next write, which makes
// syncing it faster. This is only an optimization: if it fails, the write may
// still succeed.
func (f *guarded) allocate(size uint64) {
	f.written += size
	if f.written <= f.allocated || f.freezer.frozen.Load() {
		return
	}
	from := f.allocated
	f.allocated = f.written + f.freezer.ahead
	_ = f.File.Preallocate(int64(from), int64(f.allocated-from))
}

const pageSize = 4 << 10

var zeros [pageSize + headerSize]byte

// wipe ensures that a log is followed by zeros up to the end of a page, before
// it is written up to there. Otherwise data of an earlier log in the file,
// which may have been sent by a client, might appear to continue this log where
// it ends.
func (f *guarded) wipe() error {
	end := (f.written + headerSize + pageSize - 1) / pageSize * pageSize
	from, to := max(f.written, f.wiped), min(end, f.stale)
	if from >= to {
		return nil
	}
	f.wiped = to
	return f.freezer.persist(func() error {
		_, err := f.File.WriteAt(zeros[:to-from], int64(from))
		return err
	})
}

// Preallocate does nothing. For each log, Pebble would allocate more than a
// whole memtable at once; see allocate.
func (f *guarded) Preallocate(int64, int64) error { return nil }

// Close counts as a change, because some file systems report failed writes in
// close.
func (f *guarded) Close() error {
	err := f.File.Close()
	if err == nil {
		return nil
	}
	return f.change(func() error { return err })
}

// nowhere is a file that discards everything written to it.
type nowhere struct{ vfs.File }

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func (nowhere) Preallocate(int64, int64) error { return nil }

func (nowhere) Sync() error { return nil }

func (nowhere) SyncData() error { return nil }

func (nowhere) SyncTo(int64) (bool, error) { return false, nil }
