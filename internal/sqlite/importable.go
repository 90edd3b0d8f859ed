package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	sqlite3 "github.com/ncruces/go-sqlite3"

	"github.com/godurable/dog/internal/store"
)

// missingTexts are substrings of SQLite's messages for a database that needs
// features of another build of SQLite.
var missingTexts = []string{
	"no such function", "no such collation", "no such module", "no such tokenizer", "tokenizer:",
}

// importable returns an error if an object could not use the intact database in
// pages, because it needs features that this SQLite lacks, or exceeds the
// limits. Statements that fail because of a missing table or column would fail
// everywhere, and are not a reason.
func importable(ctx context.Context, pool *Pool, pages store.Pages, limits store.SQLLimits) (err error) {
	ended := new(atomic.Bool)
	c, err := open(pool, pages, limits, 0, ended)
	if err != nil {
		return schemaError(err)
	}
	defer c.close()
	defer func() {
		if p := recover(); p != nil {
			err = c.panicked(p, pool.log)
		}
		if err != nil && (c.meter.bit || c.meter.why != nil) {
			err = limitOf(ctx, &c.meter)
		}
	}()
	c.meter.begin(&budget{time: fileTime}, false)
	defer c.meter.end()
	defer endWith(ctx, &c.meter, ended)()
	err = c.usable(limits)
	c.meter.finish()
	return err
}

// usable is importable for an open database.
func (c *conn) usable(limits store.SQLLimits) error {
	c.guard.trusted = true
	type entry struct{ kind, name string }
	var entries []entry
	err := query(c.db, "SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'view')", func(v []any) error {
		entries = append(entries, entry{fmt.Sprint(v[0]), fmt.Sprint(v[1])})
		return nil
	})
	if err != nil {
		return schemaError(err)
	}
	for _, e := range entries {
		columns, err := columnsOf(c.db, e.name)
		if err != nil {
			return c.lacking(err)
		}
		name := sqlite3.QuoteIdentifier(e.name)
		statements := []string{
			"SELECT * FROM " + name, "DELETE FROM " + name, "INSERT INTO " + name + " DEFAULT VALUES",
		}
		if len(columns) > 0 {
			statements = append(statements, fmt.Sprintf("UPDATE %s SET %s = NULL", name, columns[0]))
		}
		for _, text := range statements {
			if err := c.lacking(compile(c.db, text)); err != nil {
				return fmt.Errorf("%s %q: %w", e.kind, e.name, err)
			}
		}
		if e.kind == "table" && len(columns) > 0 {
			if err := c.tooWide(name, columns, limits.Value); err != nil {
				return fmt.Errorf("%s %q: %w", e.kind, e.name, err)
			}
		}
	}
	return nil
}

// columnsOf returns the quoted names of the columns that a table stores.
func columnsOf(db *sqlite3.Conn, table string) (columns []string, err error) {
	text := "SELECT name FROM pragma_table_xinfo(" + sqlite3.Quote(table) + ") WHERE hidden IN (0, 3)"
	err = query(db, text, func(v []any) error {
		columns = append(columns, sqlite3.QuoteIdentifier(fmt.Sprint(v[0])))
		return nil
	})
	return columns, err
}

func compile(db *sqlite3.Conn, text string) error {
	s, _, err := db.Prepare(text)
	if err == nil {
		quietly(s.Close)
	}
	return err
}

// tooWide returns an error if a row is larger than most bytes. It reads only
// the sizes of values.
func (c *conn) tooWide(table string, columns []string, most int) error {
	sizes := make([]string, len(columns))
	for i, column := range columns {
		sizes[i] = "coalesce(octet_length(" + column + "), 0)"
	}
	text := fmt.Sprintf("SELECT 1 FROM %s WHERE %s > %d LIMIT 1", table, strings.Join(sizes, "+"), most)
	err := query(c.db, text, func([]any) error {
		return fmt.Errorf("%w: a row of more than %d bytes", store.ErrLimit, most)
	})
	if errors.Is(err, store.ErrLimit) {
		return err
	}
	return c.lacking(err) // of a virtual table that does not work
}

// lacking returns the error of a statement of the database itself, or nil if
// the statement would fail everywhere.
func (c *conn) lacking(err error) error {
	if err == nil {
		return nil
	}
	if refused := foreign(err); refused != err {
		return refused
	}
	explained := c.explain(err)
	if !c.broken && errors.Is(err, sqlite3.ERROR) && !errors.Is(explained, store.ErrLimit) {
		return nil
	}
	return explained
}

// foreign returns a refusal if err means that this SQLite lacks something,
// otherwise err itself.
func foreign(err error) error {
	if err == nil || !errors.Is(err, sqlite3.ERROR) {
		return err
	}
	for _, text := range missingTexts {
		if strings.Contains(err.Error(), text) {
			return fmt.Errorf("%w: %w: it is not part of this SQLite", store.ErrRefused, err)
		}
	}
	return err
}

// schemaError returns the error for an intact database whose schema cannot be
// read.
func schemaError(err error) error {
	if !errors.Is(err, sqlite3.CORRUPT) {
		return foreign(err)
	}
	cause := store.ErrRefused
	if strings.Contains(err.Error(), "too many") || strings.Contains(err.Error(), "too large") ||
		strings.Contains(err.Error(), "too big") {
		cause = store.ErrLimit
	}
	return fmt.Errorf("%w: an object's database cannot have this schema: %s", cause, err)
}
