package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	sqlite3 "github.com/ncruces/go-sqlite3"

	"github.com/godurable/dog/internal/store"
)

// Substrings of SQLite's messages for exceeded limits, and for changes of
// protected objects.
var (
	limitTexts = []string{"error: too many ", "error: variable number must be ", "too large (maximum depth",
		"nested too deep", "arser stack overflow", "ecursion limit", "pattern too complex", "pattern too big"}
	refusalTexts = []string{" may not be modified", " may not be dropped", " may not be altered", " may not be indexed",
		"object name reserved for internal use", " on system table",
		" cannot reference objects in database"}
)

// maxText is the maximum size of an error's text in bytes. SQLite may quote
// whole arguments, which clients may have sent, and errors are logged.
const maxText = 400

// A clippedError is an error of SQLite with a shorter text.
type clippedError struct {
	err  error
	text string
}

func (e *clippedError) Error() string { return e.text }
func (e *clippedError) Unwrap() error { return e.err }

// explain converts an error of SQLite to an error of the store. It sets broken
// if the connection can no longer be used.
func (c *conn) explain(err error) error {
	if c.file.err != nil {
		c.broken = true
		return fmt.Errorf("dog: SQL: %w", c.file.err)
	}
	if c.guard.refused != "" {
		err = fmt.Errorf("%w: %s", store.ErrRefused, c.guard.refused)
		c.guard.refused = ""
		return err
	}
	text := err.Error()
	if len(text) > maxText {
		err = &clippedError{err, strings.ToValidUTF8(text[:maxText], "") + "…"}
	}
	var code sqlite3.ErrorCode
	if !errors.As(err, &code) {
		return fmt.Errorf("dog: SQL: %w", err)
	}
	switch code {
	case sqlite3.INTERRUPT:
		if errors.Is(c.meter.why, store.ErrRowsEnded) {
			return c.meter.why
		}
		return fmt.Errorf("%w: %w", store.ErrLimit, c.meter.why)
	case sqlite3.CONSTRAINT:
		return fmt.Errorf("%w: %w", store.ErrConstraint, err)
	case sqlite3.CORRUPT, sqlite3.NOTADB:
		c.broken = true
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	case sqlite3.FULL, sqlite3.TOOBIG:
		return fmt.Errorf("%w: %w", store.ErrLimit, err)
	case sqlite3.ABORT:
		return store.ErrRowsEnded
	case sqlite3.IOERR, sqlite3.CANTOPEN:
		c.broken = true
	case sqlite3.ERROR:
		// SQLite has no error codes for these.
		for _, limit := range limitTexts {
			if strings.Contains(text, limit) {
				return fmt.Errorf("%w: %w", store.ErrLimit, err)
			}
		}
		for _, refusal := range refusalTexts {
			if strings.Contains(text, refusal) {
				return fmt.Errorf("%w: %w: it is reserved for SQLite", store.ErrRefused, err)
			}
		}
		if strings.Contains(text, "no such function: load_extension") { // not included in this SQLite
			return fmt.Errorf("%w: load_extension", store.ErrRefused)
		}
	}
	return fmt.Errorf("dog: SQL: %w", err)
}

// panicked returns the error for a panic in a call of SQLite, and marks the
// connection as torn.
func (c *conn) panicked(p any, log *slog.Logger) error {
	c.meter.end()
	c.broken, c.torn = true, true
	switch {
	case c.meter.bit:
		return fmt.Errorf("%w: %w", store.ErrLimit, errTime)
	case isMemory(p):
		return fmt.Errorf("%w: memory of the connection (%d MiB): do it in parts", store.ErrLimit, c.memory>>20)
	case c.machine != nil && c.machine.overflowed():
		return fmt.Errorf("%w: nested too deeply, as by views on views: use fewer levels", store.ErrLimit)
	}
	return panicked(p, log)
}

func isMemory(p any) bool {
	err, ok := p.(error)
	return ok && err.Error() == "sqlite3: out of memory"
}

// panicked returns the error for an unexpected panic. The details are only in
// the log.
func panicked(p any, log *slog.Logger) error {
	if isMemory(p) {
		return fmt.Errorf("%w: memory of the connection", store.ErrLimit)
	}
	log.Error("SQLite has panicked", "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("%w: SQLite failed at the statement: see the log", store.ErrRefused)
}

// failed converts an error of SQLite, and records whether the transaction was
// lost.
func (d *database) failed(err error) error {
	err = d.conn.explain(err)
	if d.begun && (d.conn.broken || d.conn.db.GetAutocommit()) {
		return d.lose(err)
	}
	return err
}

// lose records that the transaction can only be rolled back.
func (d *database) lose(err error) error {
	if d.begun && d.lost == nil {
		d.lost = fmt.Errorf("dog: SQL: the transaction is lost: %w", err)
	}
	return err
}

// recover converts a panic to an error. The binding panics if SQLite is out of
// memory, or if its memory is taken away.
func (d *database) recover(err *error) {
	p := recover()
	if p == nil {
		return
	}
	if d.conn == nil {
		*err = panicked(p, d.pool.log)
		return
	}
	*err = d.conn.panicked(p, d.pool.log)
	_ = d.lose(*err)
}
