package dog

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/godurable/dog/internal/rowscan"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/tx"
)

// Limits of SQL. Where Durable Objects have the same limit, the value is
// theirs.
var sqlLimits = store.SQLLimits{
	Steps:      100_000_000,
	Time:       2 * time.Second,
	Pattern:    50,
	Statement:  100_000,
	Parameters: 100,
	Columns:    100,
	Value:      maxEntry,
	Pages:      10 << 20, // of 1 KiB
	Memory:     128 << 20,
}

// SQL is an object's own SQLite database, part of its [Storage]. Changes are in
// the same transaction as keys and alarms, and the object itself reads them at
// once. The database is opened on first use. Rows and errors belong to the
// turn, as storage does: a query must be read to its end, or left, before the
// handler waits. Reading on after that is a UsageError.
//
// A query may have several statements. Only the last one has arguments and
// rows. Arguments are nil, booleans, numbers, strings, []byte (nil is NULL),
// times, types made of these, pointers to them, [database/sql/driver.Valuer],
// and [database/sql.Named] for :name, @name and $name. Integers keep all 64
// bits. Values that SQLite would change are refused with [ErrSQLLimit]: NaN,
// and unsigned integers above [math.MaxInt64].
//
// A time is stored as text in UTC, in the form of SQLite's own functions:
// "2006-01-02 15:04:05", with up to nine digits of a fraction if there is one.
// These texts sort in the order of the times, also together with
// CURRENT_TIMESTAMP and datetime(). A time outside the years 0 to 9999 in UTC
// is ErrSQLLimit. Texts in RFC 3339 can be read too, but compare incorrectly
// with other texts of the same day. This statement converts them:
//
//	UPDATE t SET at = replace(rtrim(at, 'Z'), 'T', ' ')
//
// Everything is in the schema main. The virtual tables available are those of
// FTS5: fts5 and fts5vocab. Foreign keys are on.
//
// The following are refused with [ErrSQLRefused]:
//
//   - every other schema (temporary tables, views and triggers; ATTACH)
//   - virtual tables of other modules
//   - VACUUM
//   - transactions (use [Storage.Transaction])
//   - loading extensions
//   - writing SQLite's own tables
//   - names of tables that begin with _dog_
//   - all pragmas except application_id, collation_list, data_version,
//     defer_foreign_keys, encoding, foreign_key_check, foreign_key_list,
//     foreign_keys, freelist_count, function_list, index_info, index_list,
//     index_xinfo, integrity_check, optimize, page_count, page_size,
//     quick_check, table_info, table_list, table_xinfo and user_version
//
// Of the permitted pragmas, application_id, defer_foreign_keys and user_version
// may set a value. The other pragmas would change a connection, which an object
// does not keep.
//
// A violated constraint is [ErrConstraint] and undoes its statement. A deferred
// constraint that is violated when the transaction is committed resets the
// object. After some errors SQLite itself undoes the whole transaction: ON
// CONFLICT ROLLBACK, a statement that writes and takes too many steps or too
// long, a statement that runs out of space or memory, and a function that takes
// too long by itself. Then everything else in the transaction fails with that
// error, and at its end the object is reset, since its keys must not be kept
// without its rows.
//
// [ErrSQLLimit] is returned if
//
//   - a statement has more than 100,000 bytes or 100 parameters
//   - a table or a result has more than 100 columns
//   - a function has more than 127 arguments
//   - a value or a row has more than 2 MiB
//   - a pattern of LIKE or GLOB has more than 50 bytes
//   - the database has more than 10 GiB
//   - expressions or compound SELECTs are nested more than 250 deep, or views,
//     triggers and cascades too deeply for SQLite's stack
//   - the memory for a connection's changes, sorts and cache exceeds 128 MiB
//   - a query took more than 100 million steps of SQLite's virtual machine, or
//     more than 2 seconds
//
// Time counts while SQLite works, not while a handler looks at a row. It is
// limited for all arguments: even a single function that takes too long is
// ended, together with its connection (on Unix; elsewhere it runs on). The
// steps of a [Schema] have other limits of time, steps and memory.
//
// If SQLite itself fails at a statement, the error is ErrSQLRefused. The log
// has the details, and the object goes on without its uncommitted changes.
// Other errors of SQLite, such as syntax errors, have its text.
type SQL struct {
	storage *Storage // fixed
}

// SQL returns the object's database. It is never nil. If the object is not
// running, the database's methods return a UsageError. If the store has no
// SQLite, or there is no store (Options.Store), they return ErrNoStore.
func (s *Storage) SQL() *SQL { return &SQL{s} }

// SQLResult describes the effect of a statement.
type SQLResult struct {
	LastInsertID int64 // of the latest row inserted into a table with integer keys
	RowsAffected int64 // by the latest statement that changed rows
}

// Exec runs statements and discards their rows.
func (q *SQL) Exec(query string, args ...any) (SQLResult, error) {
	s := q.storage
	if err := s.enter(); err != nil {
		return SQLResult{}, err
	}
	defer s.leave()
	id, changed, err := s.life.Tx.Exec(query, args)
	if err != nil {
		return SQLResult{}, sqlError(err)
	}
	return SQLResult{LastInsertID: id, RowsAffected: changed}, nil
}

// A Row is a row of a query. It is valid until the next row is requested.
type Row struct {
	columns []string
	rows    store.Rows
}

// Columns returns the names of the columns. The caller must not change the
// slice.
func (r Row) Columns() []string { return r.columns }

// Value returns the value of a column, counted from 0: int64, float64, string
// or []byte, or nil for NULL and for a column that does not exist.
func (r Row) Value(column int) any {
	if column < 0 || column >= len(r.columns) {
		return nil
	}
	return r.rows.Value(column)
}

// Scan copies the columns, in order, into the values that dest points at,
// converted as by [QueryAs].
func (r Row) Scan(dest ...any) error {
	if r.rows == nil {
		return notRunning("Row.Scan")
	}
	if len(dest) != len(r.columns) {
		return misuse("Row.Scan", "%d columns for %d destinations", len(r.columns), len(dest))
	}
	for i, d := range dest {
		if err := rowscan.Column(d, r.columns[i], r.Value(i)); err != nil {
			return fmt.Errorf("dog: SQL: %w", err)
		}
	}
	return nil
}

// Query runs statements and returns the rows of the last one, for a single
// loop. An error is the last item. The statements have run when Query returns,
// whether or not there is a loop. Code that does not read the rows should use
// [SQL.Exec], which returns the error. An error that no loop has read is logged
// when the turn ends.
func (q *SQL) Query(query string, args ...any) iter.Seq2[Row, error] {
	return q.rows(query, args, func([]string) error { return nil })
}

// rows is Query with a check of the columns, which runs even if there are no
// rows.
func (q *SQL) rows(query string, args []any, check func(columns []string) error) iter.Seq2[Row, error] {
	s := q.storage
	row, err := s.openRows(query, args)
	var unread *tx.Unread
	if err != nil && s != nil && s.life != nil {
		unread = s.life.Tx.Unread(err)
	}
	looped := false
	return func(yield func(Row, error) bool) {
		if err != nil {
			unread.Read()
			yield(Row{}, err)
			return
		}
		if looped {
			yield(Row{}, rowsEnded())
			return
		}
		looped = true
		defer s.closeRows(row.rows)
		if err := check(row.columns); err != nil {
			yield(Row{}, err)
			return
		}
		for {
			more, err := s.nextRow(row.rows)
			if err != nil {
				yield(Row{}, err)
				return
			}
			if !more || !yield(row, nil) {
				return
			}
		}
	}
}

// openRows runs a query. The Row it returns is before the first row.
func (s *Storage) openRows(query string, args []any) (Row, error) {
	if err := s.enter(); err != nil {
		return Row{}, err
	}
	defer s.leave()
	rows, err := s.life.Tx.Query(query, args)
	if err != nil {
		return Row{}, sqlError(err)
	}
	return Row{columns: slices.Clip(rows.Columns()), rows: rows}, nil
}

func (s *Storage) nextRow(rows store.Rows) (more bool, err error) {
	if err := s.enter(); err != nil {
		if errors.Is(err, ErrOutsideTurn) {
			return false, rowsEnded()
		}
		return false, err
	}
	defer s.leave()
	if rows.Next() {
		return true, nil
	}
	return false, sqlError(rows.Err())
}

// sqlError returns the public form of an error of SQL.
func sqlError(err error) error {
	if errors.Is(err, store.ErrRowsEnded) {
		return rowsEnded()
	}
	return err
}

// closeRows closes rows. Rows that outlive their turn have been ended with it.
func (s *Storage) closeRows(rows store.Rows) {
	if s.enter() == nil {
		defer s.leave()
		_ = rows.Close() // Next has returned any error that matters
	}
}

// QueryRowAs returns the first row of a query, converted as by [QueryAs]. found
// is false if there is no row.
func QueryRowAs[T any](q *SQL, query string, args ...any) (row T, found bool, err error) {
	for row, err := range QueryAs[T](q, query, args...) {
		return row, err == nil, err
	}
	return row, false, nil
}

// QueryAs returns the rows of a query as values of T, for a single loop, like
// [SQL.Query]. An error is the last item.
//
// If T is a struct, each column is stored in the exported field with its name,
// ignoring case, or with the tag `sql:"name"`. A column without a field is an
// error. A field without a column stays zero. A field with the tag "-" takes no
// column. The fields of an embedded struct count as fields of T. For any other
// T the query must have exactly one column.
//
// Numbers are converted if nothing is lost, except that a REAL is rounded when
// it is read into a float32. 0 and 1 are converted to bool, text and blobs to
// strings and []byte, and text in the form of SQLite's own functions or in RFC
// 3339 to [time.Time]. A [database/sql.Scanner] converts its value itself. NULL
// can be read only into pointers, []byte, any, and Scanners.
func QueryAs[T any](q *SQL, query string, args ...any) iter.Seq2[T, error] {
	var scan func(*T, Row) error
	rows := q.rows(query, args, func(columns []string) (err error) {
		if scan, err = rowscan.For[T, Row](columns); err != nil {
			return misuse("QueryAs", "%v", err)
		}
		return nil
	})
	return func(yield func(T, error) bool) {
		var zero T
		for row, err := range rows {
			var value T
			if err == nil {
				if err = scan(&value, row); err != nil {
					err = fmt.Errorf("dog: SQL: %w", err)
				}
			}
			if err != nil {
				yield(zero, err)
				return
			}
			if !yield(value, nil) {
				return
			}
		}
	}
}

// rowsEnded returns the error for reading rows after they have ended.
func rowsEnded() error {
	return misuse("SQL.Query",
		"the rows were read on after a wait or the end of their transaction, or in a second loop")
}

// A Schema lists the steps that bring an object's SQL database from nothing to
// its present form. Each step is one or more statements:
//
//	dog.Schema{
//		"CREATE TABLE messages (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
//		"ALTER TABLE messages ADD COLUMN sender TEXT NOT NULL DEFAULT ''",
//	}
//
// When an object starts, before its OnStart, the steps that have not been
// applied to it are run in order, in one transaction: all or none. After
// [Storage.DeleteAll] they are run again at the next use of SQL. Add new steps
// at the end and leave earlier steps as they are. If an earlier step was
// changed, moved or removed, the object does not start: it is reset at each
// event with a [SchemaError]. The same holds for a step that fails. If
// AllowNewerSchema (in the options of the type) is set, an object also starts
// if its database has further steps, which a later release has applied. This
// permits going back to this release. Write later steps so that earlier code
// can work with them.
//
// A step that begins with "PRAGMA foreign_keys = OFF;", with or without
// comments before it, runs without foreign keys. They are checked over the
// whole database at the end of the step: a row with a dangling reference fails
// the step with [ErrConstraint]. A step that rebuilds a table to which other
// tables refer must begin with this pragma. Otherwise DROP TABLE first deletes
// the rows of the table, and with them the rows that refer to them ON DELETE
// CASCADE:
//
//	PRAGMA foreign_keys = OFF;
//	CREATE TABLE new_rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
//	INSERT INTO new_rooms SELECT id, name FROM rooms;
//	DROP TABLE rooms;
//	ALTER TABLE new_rooms RENAME TO rooms;
//
// The limits of [SQL] hold, with these exceptions. All steps together may take
// as long as a start (Options.StartTimeout, also for types without OnStart; no
// limit if it is off) and any number of steps of SQLite's virtual machine.
// Their changes and sorts may take 1 GiB of memory if the object already has a
// database. A step that rebuilds a table changes twice the table's size.
//
// An object whose database is up to date reads one small key when it starts. An
// object whose type has no Schema reads it when it first uses SQL after a
// start. If its database has taken steps, which have all been removed since,
// its SQL fails with a SchemaError unless AllowNewerSchema is set. The object
// starts, and its keys and alarms can be used.
type Schema []string

// A SchemaError reports why a schema could not be applied to an object. It is
// the cause of a [ResetError], or the error of [SQL] if the steps are checked
// when SQL is used.
type SchemaError struct {
	Step int // index in the Schema
	Err  error
}

func (e *SchemaError) Error() string { return fmt.Sprintf("dog: schema step %d: %v", e.Step, e.Err) }

// Unwrap returns the cause.
func (e *SchemaError) Unwrap() error { return e.Err }
