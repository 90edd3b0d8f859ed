package dog

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/godurable/dog/internal/store"
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

// schemaKey is the key in space About of the digests of the applied steps.
const schemaKey = "schema"

const digestSize = 16

// digest identifies a step.
func digest(step string) []byte {
	sum := sha256.Sum256([]byte(step))
	return sum[:digestSize]
}

// apply runs the missing steps. It does nothing if the schema is empty. The
// caller must have entered the storage.
func (sc Schema) apply(s *Storage) (err error) {
	s.checkSchema = false
	defer func() { s.checkSchema = err != nil }()
	if len(sc) == 0 {
		return nil
	}
	taken, err := sc.taken(s)
	if err != nil || taken == len(sc) {
		return err
	}
	if err := s.saveEntered(); err != nil {
		return err
	}
	if err := sc.take(s, taken); err != nil {
		if s.restoreEntered() != nil {
			_ = s.inst.reset(err)
		}
		return err
	}
	return s.keepEntered()
}

// take runs the steps from index taken on and stores the digests of all steps.
func (sc Schema) take(s *Storage, taken int) error {
	if err := s.begin(); err != nil {
		return err
	}
	var end time.Time
	if d := s.inst.obj.runtime().opts.StartTimeout; d > 0 {
		end = time.Now().Add(d)
	}
	var digests []byte
	for i, step := range sc {
		digests = append(digests, digest(step)...)
		if i < taken {
			continue
		}
		if err := s.takeStep(step, end); err != nil {
			return &SchemaError{i, err}
		}
	}
	s.data.Put(store.About, schemaKey, digests)
	return nil
}

// blank matches the text that may stand between statements.
const blank = `(?:\s|--[^\n]*(?:\n|$)|/\*(?s:.*?)\*/)*`

// keysOff matches the beginning of a step that runs without foreign keys,
// keysOn its optional end: SQLite's own recipe for changes that ALTER TABLE
// cannot make.
var (
	keysOff = regexp.MustCompile(`(?i)^` + blank + `PRAGMA\s+foreign_keys\s*(?:=\s*(?:OFF|FALSE|NO|0)|\(\s*(?:OFF|FALSE|NO|0)\s*\))\s*;`)
	keysOn  = regexp.MustCompile(`(?i);` + blank + `PRAGMA\s+foreign_keys\s*(?:=\s*(?:ON|TRUE|YES|1)|\(\s*(?:ON|TRUE|YES|1)\s*\))\s*;?` + blank + `$`)
)

// stepMemory is the memory limit of steps: 1 GiB, and with 32-bit addresses the
// limit of any statement.
const stepMemory = 128 << 20 << (3 * (^uint(0) >> 63))

// anyTime stands for no limit on the time that a step takes.
const anyTime time.Duration = 1 << 61

// takeStep runs a step. If end is not zero, the step must be finished by then.
func (s *Storage) takeStep(step string, end time.Time) (err error) {
	if err := s.openSQL(); err != nil {
		return err
	}
	defer s.sql.Allow(0, 0)
	allow := func() {
		left := anyTime
		if !end.IsZero() {
			left = max(time.Until(end), 1)
		}
		s.sql.Allow(left, stepMemory)
	}
	defer func() {
		if errors.Is(err, ErrSQLLimit) && !end.IsZero() && time.Until(end) <= 0 {
			err = fmt.Errorf("%w: all steps together take longer than Options.StartTimeout", err)
		}
	}()
	allow()
	off := keysOff.FindStringIndex(step)
	if off == nil {
		_, err := s.exec(step, nil)
		return err
	}
	if err := s.sql.ForeignKeys(false); err != nil {
		return err
	}
	_, err = s.exec(keysOn.ReplaceAllString(step[off[1]:], ";"), nil)
	allow()
	if checked := s.sql.ForeignKeys(true); err == nil {
		err = checked
	}
	return err
}

// taken returns the number of steps that have been applied.
func (sc Schema) taken(s *Storage) (int, error) {
	digests, _, err := s.data.Get(store.About, schemaKey)
	if err != nil {
		return 0, err
	}
	n := len(digests) / digestSize
	for i := range n {
		switch {
		case i >= len(sc) && s.allowNewer:
			return len(sc), nil
		case i >= len(sc):
			return 0, &SchemaError{i, errors.New("it has been applied and is missing: was it removed?")}
		case string(digests[i*digestSize:(i+1)*digestSize]) != string(digest(sc[i])):
			return 0, &SchemaError{i, errors.New("it is not the one that has been applied: was it changed or moved?")}
		}
	}
	return n, nil
}
