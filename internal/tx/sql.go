package tx

import (
	"errors"

	"github.com/godurable/dog/internal/store"
)

// Exec runs statements and discards their rows. It returns the row inserted
// last and the number of rows changed last. The caller must have entered.
func (t *Tx) Exec(query string, args []any) (lastInsertID, rowsAffected int64, err error) {
	rows, err := t.Query(query, args)
	if err != nil {
		return 0, 0, err
	}
	for rows.Next() {
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, 0, err
	}
	return t.sql.LastInsertID(), t.sql.Changes(), nil
}

// Query runs statements and returns the rows of the last one. The caller must
// have entered, here and for each use of the rows.
func (t *Tx) Query(query string, args []any) (store.Rows, error) {
	if t.checkSchema && !t.readOnly {
		if err := t.applySchema(); err != nil {
			return nil, err
		}
	}
	if err := t.openSQL(); err != nil {
		return nil, err
	}
	t.reads++
	changes := false
	return t.sql.Run(query, args, func() error {
		if err := t.begin(); err != nil {
			return err
		}
		if !changes { // it is a write, and no read
			t.reads--
			t.writes++
		}
		t.wroteSQL, changes = true, true
		return nil
	})
}

// openSQL opens the database if it is not open. The caller must have entered.
func (t *Tx) openSQL() error {
	if t.sql != nil {
		return nil
	}
	db, err := t.Owner.OpenSQL(t.data.Pages())
	if err != nil {
		return err
	}
	t.sql = db
	return t.rejoin()
}

// rejoin repeats the open nested transactions in a database that has just been
// opened.
func (t *Tx) rejoin() error {
	for depth := 1; depth <= t.data.Saves(); depth++ {
		if err := t.sql.Savepoint(depth); err != nil {
			return err
		}
	}
	return nil
}

// dropSQL makes the database forget everything, because its pages have been
// changed without it.
func (t *Tx) dropSQL() error {
	t.wroteSQL, t.checkSchema = false, true
	if t.sql == nil {
		return nil
	}
	if err := t.sql.Close(); err != nil {
		return err
	}
	return t.rejoin()
}

// endRows ends the rows of queries that are still open, because the turn ends
// or the object waits.
func (t *Tx) endRows() error {
	if t.sql != nil {
		return t.sql.Commit() // nothing to commit
	}
	return nil
}

// An Unread is the error of a query whose rows have not been read yet. nil is
// no error.
type Unread struct {
	err  error
	done bool // a loop has received it
}

// Read records that a loop has received the error.
func (u *Unread) Read() {
	if u != nil {
		u.done = true
	}
}

// Unread records the error of a query until its rows are read or the
// transaction ends. It returns nil if there is no error.
func (t *Tx) Unread(err error) *Unread {
	if err == nil || t.Enter() != nil {
		return nil
	}
	defer t.Leave()
	u := &Unread{err: err}
	t.unread = append(t.unread, u)
	return u
}

// logUnread logs the errors of queries whose rows were never read.
func (t *Tx) logUnread() {
	for _, u := range t.unread {
		if !u.done {
			t.Owner.Log().Error(
				"a query failed and its rows were not read: use Exec, or loop over them", "error", u.err,
			)
		}
	}
	t.unread = nil
}
