package sqlite

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	sqlite3 "github.com/ncruces/go-sqlite3"

	"github.com/godurable/dog/internal/store"
)

// What the messages of SQLite have in them that mean a limit, and those that
// mean something that nobody may touch.
var (
	limitTexts   = []string{"error: too many ", "error: variable number must be ", "too large (maximum depth", "too complex"}
	refusalTexts = []string{" may not be modified", " may not be dropped", " may not be altered", " may not be indexed",
		"object name reserved for internal use", " on system table",
		" cannot reference objects in database"}
)

// explain returns what an error of SQLite means. It notes when the connection cannot be used any more.
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
	var code sqlite3.ErrorCode
	if !errors.As(err, &code) {
		return fmt.Errorf("dog: SQL: %w", err)
	}
	switch code {
	case sqlite3.INTERRUPT:
		return fmt.Errorf("%w: too many steps", store.ErrLimit)
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
		// SQLite has no codes for these.
		for _, limit := range limitTexts {
			if strings.Contains(err.Error(), limit) {
				return fmt.Errorf("%w: %w", store.ErrLimit, err)
			}
		}
		for _, refusal := range refusalTexts {
			if strings.Contains(err.Error(), refusal) {
				return fmt.Errorf("%w: %w: it is SQLite's own", store.ErrRefused, err)
			}
		}
		if strings.Contains(err.Error(), "no such function: load_extension") { // it is not part of this SQLite
			return fmt.Errorf("%w: load_extension", store.ErrRefused)
		}
	}
	return fmt.Errorf("dog: SQL: %w", err)
}

// panicked returns the error for a panic of the binding or of SQLite.
func panicked(p any) error {
	if err, ok := p.(error); ok && err.Error() == "sqlite3: out of memory" {
		return fmt.Errorf("%w: memory of the connection", store.ErrLimit)
	}
	return fmt.Errorf("dog: SQL: panic: %v\n%s", p, debug.Stack())
}
