package dog

import (
	"fmt"
)

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
// An object whose database is up to date reads one small key when it starts.
type Schema []string

// A SchemaError reports why a schema could not be applied to an object. It is
// the cause of a [ResetError].
type SchemaError struct {
	Step int // index in the Schema
	Err  error
}

func (e *SchemaError) Error() string { return fmt.Sprintf("dog: schema step %d: %v", e.Step, e.Err) }

// Unwrap returns the cause.
func (e *SchemaError) Unwrap() error { return e.Err }
