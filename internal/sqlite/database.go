package sqlite

import (
	"container/list"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "github.com/ncruces/go-sqlite3"

	"github.com/godurable/dog/internal/store"
)

// A database is one object's [store.SQL].
//
// Its mutex is held by the turn during a call, and by the pool while it closes
// an idle connection. The pool only tries to lock it. So only a turn ever waits
// for it, and never for another turn.
type database struct {
	pool    *Pool           // fixed
	pages   store.Pages     // fixed
	limits  store.SQLLimits // fixed
	used    atomic.Bool     // since the pool last checked
	closing atomic.Bool     // Close is waiting for mu: running statements end

	mu    sync.Mutex
	conn  *conn         // guarded by mu, like all below; nil while closed
	place *list.Element // in the pool's list, if conn is not nil
	begun bool          // a transaction is open
	held  bool          // the turn is about to begin a transaction
	lost  error         // why the transaction can only be rolled back
	marks []mark        // savepoints, outermost first
	rows  []*rows       // open rows
	loose bool          // foreign keys are not checked
	time  time.Duration // set by Allow
	most  int           // bytes of memory, set by Allow

	inserted int64 // LastInsertID
	changed  int64 // Changes
}

// A mark is a savepoint. It is created in SQLite only when a statement first
// writes within it, so that nested transactions that do not use SQL cost
// nothing.
type mark struct {
	depth int
	made  bool // in SQLite
}

var _ store.SQL = (*database)(nil)

func (d *database) Run(query string, args []any, write func() error) (result store.Rows, err error) {
	if len(query) > d.limits.Statement {
		return nil, fmt.Errorf("%w: query of %d bytes", store.ErrLimit, len(query))
	}
	if strings.IndexByte(query, 0) >= 0 { // SQLite would ignore the rest
		return nil, errors.New("dog: SQL: zero byte in query")
	}
	args, err = values(args, d.limits.Value) // before locking, because this may call code of the object
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.settle()
	defer d.recover(&err)
	if d.lost != nil {
		return nil, d.lost
	}
	if err := d.wake(); err != nil {
		return nil, err
	}
	left := d.budget()
	for {
		s, err := d.prepare(query, &left, write)
		if err != nil {
			return nil, err
		}
		if s == nil {
			if len(args) > 0 {
				return nil, fmt.Errorf("dog: SQL: %d arguments for no statement", len(args))
			}
			return &rows{}, nil
		}
		rest := s.rest // s may be closed below
		bound := args
		if rest != "" {
			bound = nil
		}
		r, err := d.start(s, bound, left, write)
		if err != nil {
			return nil, err
		}
		if rest == "" {
			return r, nil
		}
		for r.s != nil {
			r.step()
		}
		if r.err != nil {
			return nil, r.err
		}
		left, query = r.left, rest
	}
}

// wake opens the connection if it is closed.
func (d *database) wake() error {
	if !d.used.Load() {
		d.used.Store(true)
	}
	if d.conn != nil {
		return nil
	}
	c, err := open(d.pool, d.pages, d.limits, d.most, &d.closing)
	if err != nil {
		return err
	}
	c.db.SetLastInsertRowID(d.inserted)
	d.conn = c
	d.pool.add(d)
	return nil
}

// prepare returns the first statement of query, or nil if there is none.
func (d *database) prepare(query string, left *budget, write func() error) (*statement, error) {
	s, err := d.conn.prepare(query, left)
	if err == nil && s != nil && s.begins && !d.begun {
		s.release()
		if err := d.begin(write); err != nil {
			return nil, err
		}
		s, err = d.conn.prepare(query, left)
	}
	if err != nil {
		return nil, d.failed(err)
	}
	return s, nil
}

// start runs a statement up to its first row, or to the end if it has no rows.
func (d *database) start(s *statement, args []any, left budget, write func() error) (*rows, error) {
	if err := s.bind(args); err != nil {
		s.release()
		return nil, d.failed(err)
	}
	if !s.readonly {
		if err := d.begin(write); err != nil {
			s.release()
			return nil, err
		}
	}
	// SQLite reports progress by the steps since the statement was prepared.
	// The reset makes the number of reports the same for every run.
	s.Status(sqlite3.STMTSTATUS_VM_STEP, true)
	r := &rows{d: d, s: s, left: left}
	if n := len(d.marks); n > 0 {
		r.depth = d.marks[n-1].depth
	}
	d.rows = append(d.rows, r)
	if r.step() {
		r.ready = true
		r.columns = s.names()
		d.note(s)
	}
	return r, r.err
}

// note records the results of a statement that may have written.
func (d *database) note(s *statement) {
	if !s.readonly {
		d.inserted, d.changed = d.conn.db.LastInsertRowID(), d.conn.db.Changes()
	}
}

// begin begins the transaction, and creates the savepoints that SQLite does not
// have yet.
func (d *database) begin(write func() error) error {
	if !d.begun {
		if err := d.unlocked(write); err != nil {
			return err
		}
		if err := d.control("BEGIN IMMEDIATE"); err != nil {
			return err
		}
		d.begun = true
	}
	for i := len(d.marks); i > 0 && !d.marks[i-1].made; i-- {
		if err := d.control("SAVEPOINT dog"); err != nil { // nested savepoints may share a name
			return err
		}
		d.marks[i-1].made = true
	}
	return nil
}

// unlocked calls f without the lock. The connection stays open during the call.
func (d *database) unlocked(f func() error) error {
	d.held = true
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.held = false
	}()
	return f()
}

func (d *database) control(text string) error {
	if err := d.conn.control(text); err != nil {
		return d.failed(err)
	}
	return nil
}

func (d *database) ForeignKeys(on bool) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.settle()
	defer d.recover(&err)
	d.loose = false
	switch {
	case d.lost != nil:
		return d.lost
	case on && d.conn == nil: // a new connection checks them
		return nil
	}
	if err := d.wake(); err != nil {
		return err
	}
	// The pragma would have no effect within a transaction.
	if _, err := d.conn.db.Config(sqlite3.DBCONFIG_ENABLE_FKEY, on); err != nil {
		return d.failed(err)
	}
	if on {
		left := d.budget()
		if err := d.conn.orphans(&left); err != nil {
			return d.failed(err)
		}
		return nil
	}
	d.loose = true
	return nil
}

func (d *database) LastInsertID() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inserted
}

func (d *database) Changes() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

func (d *database) Savepoint(depth int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.marks); depth < 1 || n > 0 && depth <= d.marks[n-1].depth {
		return fmt.Errorf("dog: SQL: savepoint of depth %d within a deeper one", depth)
	}
	d.marks = append(d.marks, mark{depth: depth})
	return nil
}

func (d *database) Release(depth int) error { return d.unmark(depth, "RELEASE dog") }

func (d *database) RollbackTo(depth int) error {
	return d.unmark(depth, "ROLLBACK TO dog", "RELEASE dog")
}

// unmark ends the savepoints from depth on.
func (d *database) unmark(depth int, controls ...string) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.settle()
	defer d.recover(&err)
	if len(controls) > 1 {
		d.endRows(depth)
	}
	for n := len(d.marks); n > 0 && d.marks[n-1].depth >= depth; n = len(d.marks) {
		made := d.marks[n-1].made
		d.marks = d.marks[:n-1]
		for _, text := range controls {
			if !made || d.lost != nil {
				break
			}
			if err := d.control(text); err != nil {
				return d.lose(err)
			}
		}
	}
	return d.lost
}

func (d *database) Commit() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.settle()
	defer d.recover(&err)
	d.endRows(0)
	if d.lost != nil {
		return d.lost
	}
	if !d.begun {
		d.marks = nil
		return nil
	}
	f := d.conn.file
	f.writable = true
	err = d.conn.control("COMMIT")
	if err == nil {
		err = f.saveCount()
	}
	f.writable = false
	if err != nil {
		return d.lose(d.failed(err))
	}
	d.begun, d.marks = false, nil
	return nil
}

func (d *database) Rollback() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.settle()
	defer d.recover(&err)
	d.endRows(0)
	switch {
	case d.conn == nil:
	case !d.begun: // the owner may undo a commit, including pages in SQLite's cache
		d.drop()
	case !d.conn.broken && !d.conn.db.GetAutocommit():
		if err := d.conn.control("ROLLBACK"); err != nil {
			d.conn.broken = true // settle then drops the connection, which undoes everything
		}
	}
	d.begun, d.lost, d.marks = false, nil, nil
	return nil
}

func (d *database) Close() error {
	d.closing.Store(true)
	d.mu.Lock()
	d.closing.Store(false)
	defer d.mu.Unlock()
	d.drop()
	d.begun, d.lost, d.marks = false, nil, nil
	return nil
}

// active reports whether the connection is in use.
func (d *database) active() bool { return d.begun || d.held || d.loose || len(d.rows) > 0 }

// endRows ends the rows that were started at this depth or deeper.
func (d *database) endRows(depth int) {
	for i := len(d.rows) - 1; i >= 0; i-- {
		if r := d.rows[i]; r.depth >= depth {
			r.end(store.ErrRowsEnded)
		}
	}
}

// drop closes the connection, which abandons the transaction.
func (d *database) drop() {
	if d.conn == nil {
		return
	}
	d.endRows(0)
	d.conn.close()
	d.conn = nil
	d.pool.remove(d)
}

// settle ends rows and connections that cannot continue. It is called at the
// end of every call that uses the connection.
func (d *database) settle() {
	if d.conn == nil {
		return
	}
	if d.lost != nil {
		d.endRows(0)
	}
	if d.conn.broken && !d.begun {
		d.drop()
	}
	if !d.active() {
		if d.conn != nil && (d.conn.machine.size() > maxKept || d.conn.memory > max(d.limits.Memory, d.most)) {
			d.drop()
		}
		d.pool.trim()
	}
}
