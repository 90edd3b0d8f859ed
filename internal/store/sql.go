package store

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Errors of SQL.
var (
	// ErrNoStore means that there is no store, or that it has no SQLite.
	ErrNoStore = errors.New("dog: Options.Store is nil, or has no SQL")
	// ErrRefused means that an object may not run the statement, or that SQLite
	// panicked on it.
	ErrRefused = errors.New("dog: SQL statement refused")
	// ErrLimit means that a limit on statements, parameters, columns, steps,
	// time or size was exceeded.
	ErrLimit = errors.New("dog: SQL limit exceeded")
	// ErrConstraint means that a constraint of the schema was violated.
	ErrConstraint = errors.New("dog: SQL constraint violated")
	// ErrRowsEnded means that the rows of a query were read after a wait, or
	// after the end of the transaction to which they belonged.
	ErrRowsEnded = errors.New("dog: SQL rows ended with their turn")
)

// SQLLimits are the limits of an object's SQL. All are fixed and positive.
type SQLLimits struct {
	// virtual machine instructions of one Run and of reading its rows, counted
	// in hundreds
	Steps      int
	Time       time.Duration // time that SQLite works on one Run and on reading its rows
	Pattern    int           // bytes of a LIKE or GLOB pattern
	Statement  int           // bytes of a query
	Parameters int           // bound to a statement
	Columns    int           // of a table or a result
	Value      int           // bytes of a string, of a blob, or of a row
	Pages      uint32        // of the database
	// bytes of memory of the open database, including the changes of a
	// transaction and data being sorted
	Memory int
}

// SQL is one object's SQLite database. It is opened as needed, and may be
// closed between transactions. It is owned by the object's turn.
//
// A statement that writes begins a transaction, which lasts until Commit or
// Rollback. Some errors end it early, within SQLite: errors of reading pages,
// ErrLimit of a statement that writes, and errors with "ON CONFLICT ROLLBACK".
// All calls except Rollback and Close then fail with an error that wraps the
// first.
type SQL interface {
	// Run prepares and runs the statements of query. args are for the last
	// statement, whose rows are returned. The caller must close the rows.
	// Before the first statement of a transaction that writes, Run calls write,
	// and fails if write fails.
	//
	// An argument is nil, a bool, a number, a string, a []byte (a nil slice is
	// NULL), a time (stored as UTC text that sorts by time), a value whose
	// underlying type is one of these, a database/sql/driver.Valuer, a pointer
	// to one of these, or a database/sql.NamedArg. Named arguments bind to
	// :name, @name and $name. The others bind to the remaining parameters in
	// order.
	Run(query string, args []any, write func() error) (Rows, error)

	// Allow limits each Run from now on to this time instead of a number of
	// steps, if time is not 0. It raises the memory limit of the database to at
	// least this memory, but only if the database has pages and no transaction
	// is in progress. Zeros restore the limits of OpenSQL.
	Allow(time time.Duration, memory int)

	// ForeignKeys switches the checking of foreign keys on or off. It is on
	// when the database is opened. Switching it back on returns ErrConstraint
	// if a row refers to a missing one.
	ForeignKeys(on bool) error

	// LastInsertID and Changes refer to the latest statement that inserted, or
	// changed, rows.
	LastInsertID() int64
	Changes() int64

	// Savepoint begins a nested transaction at this depth, 1 for the outermost.
	// Release keeps its changes. RollbackTo undoes them and ends the rows of
	// its queries. Both end it and those nested in it. They do nothing if the
	// depth has no savepoint.
	Savepoint(depth int) error
	Release(depth int) error
	RollbackTo(depth int) error

	// Commit ends all rows and writes the changes of the transaction, if there
	// is one, to the pages. After an error, the caller must call Rollback.
	Commit() error
	// Rollback undoes the transaction. If its Commit has already written to the
	// pages, their owner must undo that before the next use.
	Rollback() error

	// Close ends a statement running in another goroutine, with ErrRowsEnded.
	// It releases all resources. An open transaction is rolled back, and its
	// savepoints are discarded. A later use reopens the database from the pages
	// as they are then, so Close must be called if the pages were changed by
	// others.
	Close() error
}

// Rows are the result of a statement.
type Rows interface {
	Columns() []string
	// Next advances to the next row and reports whether there is one.
	Next() bool
	// Value returns a column of the current row: nil, an int64, a float64, a
	// string or a []byte. The caller owns it.
	Value(column int) any
	// Err returns why Next returned false. It is nil at the end of the rows.
	Err() error
	Close() error
}

// A Table is a table of an exported file that is not one of the object's own
// tables.
type Table struct {
	Name    string
	Columns []string // with their types and constraints
	Rows    iter.Seq2[[]any, error]
}

// Files reads and writes the databases of objects as plain SQLite files. An
// engine with a working OpenSQL implements it.
type Files interface {
	// Export writes the database in pages, and the additional tables, to a file
	// that must not exist.
	Export(ctx context.Context, file string, pages Pages, tables []Table) error
	// Import reads an exported file into empty pages, except for the given
	// tables, whose rows it passes to row. The columns of those tables must
	// match their descriptions. Import fails if SQL with these limits could not
	// use the database.
	Import(
		ctx context.Context, file string, pages Pages, limits SQLLimits, tables []Table,
		row func(table string, row []any) error,
	) error
}
