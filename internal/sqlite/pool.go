// Package sqlite runs SQLite databases whose pages are stored in a store.
//
// A database has a connection while it is used: an instance of SQLite with a
// few hundred KiB of memory. A [Pool] limits the number of connections that
// stay open between transactions. SQLite reads and writes pages through a file
// system of the pool (vfs.go). It writes them only in [store.SQL.Commit], so
// that at any other time the pages in the store are those of a committed state.
//
// It does not know objects: a database is pages and limits.
package sqlite

import (
	"container/list"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/godurable/dog/internal/store"
)

// sweep is the maximum number of connections checked in one attempt to close
// idle connections. It bounds the time if all are in use.
const sweep = 16

var pools atomic.Uint64 // number of pools created

// A Pool opens the connections of databases as needed, and closes them. It is
// safe for concurrent use.
type Pool struct {
	name string       // of its file system; fixed
	max  int          // maximum connections that stay open; fixed
	log  *slog.Logger // fixed

	mu     sync.Mutex
	next   uint64               // guarded by mu, like all below; number of the next file
	files  map[string]*pageFile // files being opened, by name
	open   list.List            // of *database: databases with a connection
	closed bool

	count atomic.Int64 // length of open; written under mu
}

var _ store.Files = (*Pool)(nil)

// New returns a pool that keeps at most maxOpen connections (at least one) open
// between transactions, preferably the most recently used. Connections in use
// are not limited. Panics of SQLite are written to log.
func New(maxOpen int, log *slog.Logger) *Pool {
	p := &Pool{
		name:  "dog-" + strconv.FormatUint(pools.Add(1), 10),
		max:   max(maxOpen, 1),
		log:   log,
		files: map[string]*pageFile{},
	}
	vfs.Register(p.name, fileSystem{p})
	return p
}

// OpenSQL returns the database in pages. It reads nothing before the first use.
// Errors that are caused by an error of pages wrap it. Only one goroutine at a
// time may use the result.
func (p *Pool) OpenSQL(pages store.Pages, limits store.SQLLimits) (store.SQL, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, store.ErrClosed
	}
	return &database{pool: p, pages: pages, limits: limits}, nil
}

// Close closes all connections. No other call to the pool or its databases may
// be in progress. Afterwards, databases fail with [store.ErrClosed].
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	var open []*database
	for e := p.open.Front(); e != nil; e = e.Next() {
		open = append(open, e.Value.(*database))
	}
	p.mu.Unlock()
	var err error
	for _, d := range open {
		err = errors.Join(err, d.Close())
	}
	vfs.Unregister(p.name)
	return err
}

// offer makes a file available to SQLite until withdraw, and returns the name
// by which to open it.
func (p *Pool) offer(f *pageFile) (name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "", store.ErrClosed
	}
	p.next++
	name = "/" + strconv.FormatUint(p.next, 10)
	p.files[name] = f
	return name, nil
}

func (p *Pool) withdraw(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.files, name)
}

func (p *Pool) file(name string) *pageFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files[name]
}

// add records that d has a connection. The caller must have locked d.
func (p *Pool) add(d *database) {
	p.mu.Lock()
	d.place = p.open.PushFront(d)
	p.count.Store(int64(p.open.Len()))
	p.mu.Unlock()
}

// remove records that d no longer has a connection. The caller must have locked
// d.
func (p *Pool) remove(d *database) {
	p.mu.Lock()
	p.open.Remove(d.place)
	p.count.Store(int64(p.open.Len()))
	p.mu.Unlock()
	d.place = nil
}

// trim closes idle connections while too many are open. The caller may have
// locked a database, which then counts as in use.
func (p *Pool) trim() {
	for p.count.Load() > int64(p.max) {
		d := p.idle()
		if d == nil {
			return
		}
		d.drop()
		d.mu.Unlock()
	}
}

// idle returns a locked database whose connection is not in use and was not
// used recently, or nil.
func (p *Pool) idle() *database {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range min(2*p.open.Len(), sweep) {
		e := p.open.Back()
		d := e.Value.(*database)
		// A locked database is in use. TryLock is required, because the holder
		// of the lock may be waiting for p.mu.
		if !d.used.Swap(false) && d.mu.TryLock() {
			if d.conn != nil && !d.active() {
				return d
			}
			d.mu.Unlock()
		}
		p.open.MoveToFront(e)
	}
	return nil
}
