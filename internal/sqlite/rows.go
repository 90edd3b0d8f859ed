package sqlite

import (
	sqlite3 "github.com/ncruces/go-sqlite3"

	"github.com/godurable/dog/internal/store"
)

// rows are the result of a statement. They are owned by the turn, like the
// database, but a reset may close the database at any time.
type rows struct {
	d       *database // fixed; nil if there was no statement
	columns []string  // set when the statement is first stepped
	depth   int       // of the savepoint in which the statement began; fixed

	// changed with d.mu held; err may be read without it while the owner uses
	// the database, since nothing closes it then
	s     *statement // nil when the rows have ended
	ready bool       // Next already has a row
	left  budget     // of the query
	err   error
}

var _ store.Rows = (*rows)(nil)

func (r *rows) Columns() []string { return r.columns }
func (r *rows) Err() error        { return r.err }

func (r *rows) Next() bool {
	if r.d == nil {
		return false
	}
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	if r.s == nil {
		return false
	}
	if r.ready {
		r.ready = false
		return true
	}
	if r.step() {
		return true
	}
	r.d.settle()
	return false
}

// step advances to the next row. If there is none, it ends the rows.
func (r *rows) step() bool {
	row, err := r.try()
	if !row {
		r.end(err)
	}
	return row
}

func (r *rows) try() (row bool, err error) {
	defer r.d.recover(&err)
	m := &r.d.conn.meter
	m.begin(&r.left, true)
	defer m.end()
	row = r.s.Step()
	m.finish()
	if row {
		return true, nil
	}
	if err := r.s.Err(); err != nil {
		return false, r.d.failed(err)
	}
	return false, nil
}

func (r *rows) Value(column int) any {
	if r.d == nil {
		return nil
	}
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	if r.s == nil {
		return nil
	}
	v, err := r.value(column)
	if err != nil { // out of memory
		r.end(err)
		r.d.settle()
	}
	return v
}

func (r *rows) value(column int) (v any, err error) {
	defer r.d.recover(&err)
	return value(r.s.Stmt, column), nil
}

// value returns a copy of a column of the current row of s.
func value(s *sqlite3.Stmt, column int) any {
	switch s.ColumnType(column) {
	case sqlite3.INTEGER:
		return s.ColumnInt64(column)
	case sqlite3.FLOAT:
		return s.ColumnFloat(column)
	case sqlite3.TEXT:
		return s.ColumnText(column)
	case sqlite3.BLOB:
		return s.ColumnBlob(column, []byte{})
	}
	return nil
}

func (r *rows) Close() error {
	if r.d == nil {
		return nil
	}
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	if r.s == nil {
		return nil
	}
	r.end(nil)
	r.d.settle()
	return nil
}

// end ends the rows and sets the error returned by Err. The caller must have
// locked the database.
func (r *rows) end(err error) {
	s, d := r.s, r.d
	if s == nil {
		return
	}
	r.s, r.err = nil, err
	if !d.conn.torn {
		if err == nil && r.columns == nil {
			r.columns = s.names()
		}
		s.release()
		d.note(s)
	}
	for i, o := range d.rows {
		if o == r {
			last := len(d.rows) - 1
			copy(d.rows[i:], d.rows[i+1:])
			d.rows[last] = nil
			d.rows = d.rows[:last]
			return
		}
	}
}
