package sqlite

import (
	"fmt"
	"io"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/godurable/dog/internal/store"
)

const pageSize = 1024 // of every database

// readsUnasked is the number of pages read between two calls of the meter.
// SQLite does not call it while it reads a tree from beginning to end.
const readsUnasked = 64

// fileSystem is the SQLite file system of a pool. It contains only the files
// being opened.
type fileSystem struct{ pool *Pool }

func (fs fileSystem) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if flags&vfs.OPEN_MAIN_DB != 0 {
		if f := fs.pool.file(name); f != nil {
			// OPEN_MEMORY makes SQLite keep its journal in memory, without the
			// need for a statement.
			return f, flags | vfs.OPEN_MEMORY, nil
		}
	}
	return nil, flags, sqlite3.CANTOPEN
}

func (fileSystem) Delete(string, bool) error                   { return sqlite3.IOERR_DELETE_NOENT }
func (fileSystem) Access(string, vfs.AccessFlag) (bool, error) { return false, nil }
func (fileSystem) FullPathname(name string) (string, error)    { return name, nil }

// A pageFile is the main file of a database. Locks and syncs do nothing: a
// database has only one connection, and durability is the responsibility of its
// store. It is owned by the database.
type pageFile struct {
	pages store.Pages // fixed
	meter *meter      // fixed

	count    uint32         // pages of the database
	known    uint32         // the count last read from pages or set in it
	writable bool           // a commit is in progress
	err      error          // the first failure, after which nothing is read or written
	reads    int            // number of reads so far
	page     [pageSize]byte // copy of a page: the store must not panic when SQLite's memory is taken away
}

func (f *pageFile) fail(err error) error {
	if f.err == nil {
		f.err = err
	}
	return sqlite3.IOERR
}

// errEarly means that SQLite did not keep its changes in memory until the
// commit.
var errEarly = fmt.Errorf("%w: SQLite wrote a page outside a commit", store.ErrFailed)

func (f *pageFile) ReadAt(b []byte, off int64) (int, error) {
	if f.err != nil {
		return 0, sqlite3.IOERR
	}
	n, at := uint32(off/pageSize), int(off%pageSize)
	if off/pageSize >= int64(f.count) {
		return 0, io.EOF
	}
	if at+len(b) > pageSize {
		return 0, f.fail(fmt.Errorf("%w: its SQLite pages are not of %d bytes", store.ErrCorrupt, pageSize))
	}
	if f.reads++; f.reads%readsUnasked == 0 && f.meter.over() {
		return 0, sqlite3.INTERRUPT
	}
	found, err := f.pages.ReadPage(n, f.page[:])
	if err != nil {
		return 0, f.fail(fmt.Errorf("page %d: %w", n, err))
	}
	if !found { // SQLite does not write pages whose content it will not read
		clear(f.page[:])
	}
	copy(b, f.page[at:])
	return len(b), nil
}

func (f *pageFile) WriteAt(b []byte, off int64) (int, error) {
	switch {
	case f.err != nil:
		return 0, sqlite3.IOERR
	case !f.writable:
		return 0, f.fail(errEarly)
	case off%pageSize != 0 || len(b) != pageSize:
		return 0, f.fail(fmt.Errorf("%w: SQLite wrote %d bytes at %d", store.ErrFailed, len(b), off))
	}
	n := uint32(off / pageSize)
	copy(f.page[:], b)
	if err := f.pages.WritePage(n, f.page[:]); err != nil {
		return 0, f.fail(fmt.Errorf("page %d: %w", n, err))
	}
	f.count = max(f.count, n+1)
	return len(b), nil
}

func (f *pageFile) Truncate(size int64) error {
	switch {
	case f.err != nil:
		return sqlite3.IOERR
	case !f.writable:
		return f.fail(errEarly)
	}
	f.count = uint32((size + pageSize - 1) / pageSize)
	return f.saveCount()
}

// saveCount stores the number of pages of the database.
func (f *pageFile) saveCount() error {
	if f.count == f.known {
		return nil
	}
	if err := f.pages.SetCount(f.count); err != nil {
		return f.fail(fmt.Errorf("count of pages: %w", err))
	}
	f.known = f.count
	return nil
}

func (f *pageFile) Size() (int64, error)           { return int64(f.count) * pageSize, nil }
func (*pageFile) Close() error                     { return nil }
func (*pageFile) Sync(vfs.SyncFlag) error          { return nil }
func (*pageFile) Lock(vfs.LockLevel) error         { return nil }
func (*pageFile) Unlock(vfs.LockLevel) error       { return nil }
func (*pageFile) CheckReservedLock() (bool, error) { return false, nil }
func (*pageFile) SectorSize() int                  { return pageSize }
func (*pageFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	// A page is written either completely or not at all, together with the rest
	// of its batch, so SQLite need not journal its neighbours.
	return vfs.IOCAP_POWERSAFE_OVERWRITE | vfs.IOCAP_SEQUENTIAL | vfs.IOCAP_SAFE_APPEND
}
