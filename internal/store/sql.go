package store

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Errors of SQL.
var (
	// ErrNoStore: there is no store, or it has no SQLite.
	ErrNoStore = errors.New("dog: Options.Store is nil, or has no SQL")
	// ErrRefused: the statement is one that an object may not run, or SQLite
	// panicked at it.
	ErrRefused = errors.New("dog: SQL statement refused")
	// ErrLimit: a limit on statements, parameters, columns, steps, time or size
	// was exceeded.
	ErrLimit = errors.New("dog: SQL limit exceeded")
	// ErrConstraint: a constraint of the schema was violated.
	ErrConstraint = errors.New("dog: SQL constraint violated")
	// ErrRowsEnded: the rows of a query were read on after a wait, or after the
	// transaction they were part of had ended.
	ErrRowsEnded = errors.New("dog: SQL rows ended with their turn")
)

// SQLLimits bound what an object may do by SQL. All are fixed and positive.
type SQLLimits struct {
	Steps      int           // virtual machine instructions of one Run and of reading its rows, counted in hundreds
	Time       time.Duration // that SQLite works on one Run and on reading its rows
	Pattern    int           // bytes of a pattern of LIKE or GLOB
	Statement  int           // bytes of a query
	Parameters int           // bound to a statement
	Columns    int           // of a table or a result
	Value      int           // bytes of a string, of a blob, or of a row
	Pages      uint32        // of the database
	Memory     int           // bytes of the open database: what a transaction changes has to fit, and what is sorted
}

// SQL is one object's SQLite database. It is opened, and may be closed between
// transactions, as it is needed. The object's turn owns it.
//
// A statement that writes begins a transaction, which lasts until Commit or
// Rollback. Some errors end it early, within SQLite: those of reading pages,
// ErrLimit of a statement that writes, and what "ON CONFLICT ROLLBACK" reports.
// All calls but Rollback and Close then fail with an error that wraps that one.
type SQL interface {
	// Run prepares the statements of query and runs them; args are for the last
	// one, whose rows are returned. Rows have to be closed. Before the first
	// statement of a transaction that writes, it calls write, and fails if that
	// does.
	//
	// An argument is nil, a bool, a number, a string, a []byte (a nil one is
	// NULL), a time (stored as text in UTC that is in the order of the times),
	// of a type that is made of one of these, a database/sql/driver.Valuer, a
	// pointer to one of them, or a database/sql.NamedArg. Named ones go to
	// :name, @name and $name, the others in their order to the parameters that
	// are left.
	Run(query string, args []any, write func() error) (Rows, error)

	// Allow bounds each Run from here on by this time, if it is not 0, without
	// a bound of its steps, and the memory of the database by at least as much
	// as this; but that only if it has pages, and nothing is under way. Zeros
	// bring the limits of OpenSQL back.
	Allow(time time.Duration, memory int)

	// ForeignKeys has foreign keys checked from here on, or not; they are when
	// the database is opened. Back on, it returns ErrConstraint when a row
	// refers to one that there is not.
	ForeignKeys(on bool) error

	// LastInsertID and Changes are about the latest statement that inserted, or
	// changed, rows.
	LastInsertID() int64
	Changes() int64

	// Savepoint begins a nested transaction of this depth, 1 for the outermost;
	// Release keeps what it did, RollbackTo undoes it and ends the rows of its
	// queries. Both end it and those within. They do nothing when the depth has
	// no savepoint.
	Savepoint(depth int) error
	Release(depth int) error
	RollbackTo(depth int) error

	// Commit ends all rows and writes what the transaction changed, if there is
	// one, into the pages. After an error Rollback must follow.
	Commit() error
	// Rollback undoes the transaction. What the pages have got from its Commit
	// is undone by their owner, before the next use.
	Rollback() error

	// Close ends a statement that another goroutine runs, with ErrRowsEnded. It
	// releases everything; an open transaction is rolled back, and its
	// savepoints are forgotten. A later use opens the database again, from the
	// pages as they are then: so Close has to be called when others have
	// changed them.
	Close() error
}

// Rows are the result of a statement.
type Rows interface {
	Columns() []string
	// Next reports whether there is a further row.
	Next() bool
	// Value returns a column of the row: nil, int64, float64, string or []byte,
	// which belong to the caller.
	Value(column int) any
	// Err returns why Next reported false, or nil at the end.
	Err() error
	Close() error
}

// A Table is what an exported file holds besides the object's own tables.
type Table struct {
	Name    string
	Columns []string // with their types and constraints
	Rows    iter.Seq2[[]any, error]
}

// Files reads and writes the databases of objects as plain SQLite files. An
// engine whose OpenSQL works has it.
type Files interface {
	// Export writes the database in pages, and tables besides, to a file that
	// does not exist yet.
	Export(ctx context.Context, file string, pages Pages, tables []Table) error
	// Import reads such a file into empty pages, without the tables named,
	// whose rows it hands to row. It fails when SQL with these limits could not
	// use it. The columns of those have to be the ones that are described.
	Import(
		ctx context.Context, file string, pages Pages, limits SQLLimits, tables []Table, row func(table string, row []any) error,
	) error
}
