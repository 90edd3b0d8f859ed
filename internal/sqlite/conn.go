package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"

	"github.com/godurable/dog/internal/store"
)

const (
	// maxDepth limits the nesting of a statement, because SQLite processes it
	// recursively with a stack of 64 KiB.
	maxDepth = 250

	maxKept     = 8 << 20   // bytes of a connection kept open between transactions. SQLite never releases memory
	maxCache    = 512 << 10 // bytes of pages in the cache of a connection
	maxPrepared = 64        // prepared statements in the cache of a connection
)

// A conn is an open connection. It is owned by its database.
type conn struct {
	db       *sqlite3.Conn // fixed
	machine  *machine      // fixed
	memory   int           // maximum bytes of the machine; fixed
	file     *pageFile     // fixed
	meter    meter
	guard    guard
	controls map[string]*sqlite3.Stmt // the library's own statements, by text
	cache    map[string]*statement    // the object's statements, by text
	uses     uint64                   // number of uses of the cache
	broken   bool                     // it has failed, and its cache cannot be trusted
	torn     bool                     // it has panicked; only freeing its memory is safe
	search   bool                     // FTS5 is registered
}

// open opens the database in pages. Once closing is true, running statements
// end. memory raises the memory limit of a database that is not empty.
func open(pool *Pool, pages store.Pages, limits store.SQLLimits, memory int, closing *atomic.Bool) (*conn, error) {
	count, err := pages.Count()
	if err != nil {
		return nil, fmt.Errorf("dog: SQL: count of pages: %w", err)
	}
	if count == 0 {
		memory = 0
	}
	c := &conn{
		memory: max(memory, limits.Memory),
		meter: meter{
			Context: context.Background(),
			closing: closing,
			dog:     watchdog{seal: seal, log: pool.log},
		},
		controls: map[string]*sqlite3.Stmt{},
		cache:    map[string]*statement{},
	}
	c.file = &pageFile{pages: pages, meter: &c.meter, count: count, known: count}
	name, err := pool.offer(c.file)
	if err != nil {
		return nil, err
	}
	defer pool.withdraw(name)
	reserve := sqlite3.WithMaxMemory(context.Background(), int64(c.memory))
	c.db, err = sqlite3.OpenContext(reserve, "file:"+name+"?vfs="+pool.name)
	if err != nil {
		return nil, c.explain(err)
	}
	if err := c.configure(limits); err != nil {
		err = c.explain(err)
		c.close()
		return nil, err
	}
	return c, nil
}

// virtual selects whether the database has a virtual table.
const virtual = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 LIMIT 1"

// addSearch registers FTS5. That takes as long as opening the connection, so it
// is done only if needed: if the database has a virtual table, or one is being
// created. Without it, a shadow table would be an ordinary table.
func (c *conn) addSearch() error {
	if c.search {
		return nil
	}
	c.search = true
	c.guard.trusted = true
	defer func() { c.guard.trusted = false }()
	return fts5.Register(c.db)
}

func (c *conn) configure(limits store.SQLLimits) (err error) {
	if c.machine, err = machineOf(c.db); err != nil {
		return err
	}
	c.machine.askOften()
	c.meter.dog.memory = c.machine.all()
	c.db.SetInterrupt(&c.meter)
	for limit, most := range map[sqlite3.LimitCategory]int{
		sqlite3.LIMIT_LENGTH:              limits.Value,
		sqlite3.LIMIT_COLUMN:              limits.Columns,
		sqlite3.LIMIT_VARIABLE_NUMBER:     limits.Parameters,
		sqlite3.LIMIT_LIKE_PATTERN_LENGTH: limits.Pattern,
		sqlite3.LIMIT_SQL_LENGTH:          1_000_000, // also applies to SQL that SQLite generates
		sqlite3.LIMIT_EXPR_DEPTH:          maxDepth,
		sqlite3.LIMIT_PARSER_DEPTH:        maxDepth,
		sqlite3.LIMIT_COMPOUND_SELECT:     maxDepth,
		sqlite3.LIMIT_FUNCTION_ARG:        127,
		sqlite3.LIMIT_VDBE_OP:             250_000,
		sqlite3.LIMIT_TRIGGER_DEPTH:       1000,
		sqlite3.LIMIT_ATTACHED:            0,
		sqlite3.LIMIT_WORKER_THREADS:      0,
	} {
		c.db.Limit(limit, most)
	}
	if err := addFunctions(c.db, limits.Value); err != nil {
		return err
	}
	// The exclusive mode keeps the cache valid between transactions. Without
	// spilling, SQLite writes nothing before a commit. Data being sorted is in
	// the memory of the connection, and so limited by it.
	settings := fmt.Sprintf("PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_spill=OFF; PRAGMA temp_store=MEMORY; "+
		"PRAGMA cache_size=-%d; PRAGMA max_page_count=%d", maxCache>>10, limits.Pages)
	if c.file.count == 0 {
		settings = fmt.Sprintf("PRAGMA page_size=%d; %s", pageSize, settings)
	}
	if err := c.db.Exec(settings); err != nil {
		return err
	}
	if _, err := c.db.Config(sqlite3.DBCONFIG_DEFENSIVE, true); err != nil {
		return err
	}
	if c.file.count > 0 {
		found := false
		err := query(c.db, virtual, func([]any) error {
			found = true
			return nil
		})
		if err == nil && found {
			// SQLite determines the shadow tables when it reads the schema.
			err = errors.Join(c.addSearch(), c.db.Exec("PRAGMA writable_schema=RESET"))
		}
		if err != nil {
			return err
		}
	}
	return c.db.SetAuthorizer(c.guard.check)
}

// close releases all resources. It writes nothing: an open transaction is
// abandoned.
func (c *conn) close() {
	_ = c.file.fail(store.ErrClosed)
	c.meter.dog.free()
	if !c.torn {
		for _, s := range slices.Collect(c.db.Stmts()) {
			quietly(s.Close)
		}
		quietly(c.db.Close)
	}
	if c.machine != nil {
		c.machine.free()
	}
}

// quietly calls a function that ends a statement or a connection. It ignores
// errors, and panics for lack of memory, because they only repeat those of the
// preceding use.
func quietly(end func() error) {
	defer func() { _ = recover() }()
	_ = end()
}

// control runs a statement of the library.
func (c *conn) control(text string) error {
	c.guard.trusted = true
	defer func() { c.guard.trusted = false }()
	s := c.controls[text]
	if s == nil {
		var err error
		if s, _, err = c.db.Prepare(text); err != nil {
			return err
		}
		c.controls[text] = s
	}
	return s.Exec()
}

// orphans returns an error if a row refers to a missing row. It uses the time
// of b.
func (c *conn) orphans(b *budget) error {
	c.guard.trusted = true
	defer func() { c.guard.trusted = false }()
	s, _, err := c.db.Prepare("PRAGMA foreign_key_check")
	if err != nil {
		return err
	}
	c.meter.begin(b, false)
	defer c.meter.end()
	found := s.Step()
	c.meter.finish()
	defer quietly(s.Close)
	if found {
		return fmt.Errorf(
			"%w: a row of table %q refers to no row of table %q", store.ErrConstraint, s.ColumnText(0), s.ColumnText(2),
		)
	}
	return s.Err()
}

// A statement is a prepared statement of the object.
type statement struct {
	*sqlite3.Stmt
	parameters int    // fixed
	readonly   bool   // fixed
	rest       string // the query after the statement; fixed
	begins     bool   // preparing it may write, which requires an open transaction; fixed

	cached   bool
	used     uint64 // value of uses at the latest use
	busy     bool   // has open rows
	columns  []string
	prepared int // how often SQLite had reprepared it when columns was read
}

// prepare returns the first statement of a query, or nil if there is none. It
// uses the time of b. The caller must release the statement.
func (c *conn) prepare(query string, b *budget) (*statement, error) {
	c.uses++
	if s := c.cache[query]; s != nil && !s.busy {
		s.used, s.busy = c.uses, true
		return s, nil
	}
	c.guard.reset()
	p, tail, err := c.compile(query, b)
	if err != nil || p == nil {
		return nil, err
	}
	s := &statement{
		Stmt:       p,
		parameters: p.BindCount(),
		readonly:   p.ReadOnly(),
		rest:       skipBlank(tail),
		begins:     c.guard.begins,
		busy:       true,
	}
	if err := c.guard.text(query[:len(query)-len(tail)]); err != nil {
		quietly(s.Close)
		return nil, err
	}
	if c.guard.search {
		if err := c.addSearch(); err != nil {
			quietly(s.Close)
			return nil, err
		}
	}
	if s.rest == "" && c.guard.plain() && c.cache[query] == nil {
		c.keep(query, s)
	}
	return s, nil
}

func (c *conn) compile(query string, b *budget) (s *sqlite3.Stmt, tail string, err error) {
	c.guard.direct, c.guard.empty = true, emptyArgument.MatchString(skipBlank(query))
	defer func() { c.guard.direct, c.guard.empty = false, false }()
	c.meter.begin(b, false)
	defer c.meter.end()
	s, tail, err = c.db.Prepare(query)
	c.meter.finish()
	return s, tail, err
}

// keep adds a statement to the cache. If the cache is full, it replaces the
// least recently used statement.
func (c *conn) keep(query string, s *statement) {
	if len(c.cache) >= maxPrepared {
		var oldest string
		for q, o := range c.cache {
			if !o.busy && (oldest == "" || o.used < c.cache[oldest].used) {
				oldest = q
			}
		}
		if oldest == "" {
			return
		}
		quietly(c.cache[oldest].Close)
		delete(c.cache, oldest)
	}
	s.cached, s.used = true, c.uses
	c.cache[query] = s
}

// release ends the use of a statement.
func (s *statement) release() {
	s.busy = false
	if !s.cached {
		quietly(s.Close)
		return
	}
	quietly(s.Reset)
	if s.parameters > 0 {
		quietly(s.ClearBindings)
	}
}

// names returns the names of the result columns.
func (s *statement) names() []string {
	n := s.ColumnCount()
	if n == 0 {
		return nil
	}
	// After a change of the schema, SQLite reprepares a statement, and "SELECT
	// *" may then have other columns.
	if prepared := s.Status(sqlite3.STMTSTATUS_REPREPARE, false); s.columns == nil || prepared != s.prepared {
		s.columns, s.prepared = make([]string, n), prepared
		for i := range s.columns {
			s.columns[i] = s.ColumnName(i)
		}
	}
	return s.columns
}
