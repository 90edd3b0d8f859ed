package dog

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/godurable/dog/internal/store"
)

// A Schema is the steps that bring an object's SQL database from nothing to its
// present form, each one or more statements:
//
//	dog.Schema{
//		"CREATE TABLE messages (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
//		"ALTER TABLE messages ADD COLUMN sender TEXT NOT NULL DEFAULT ''",
//	}
//
// When an object starts, before its OnStart, the steps that it has not taken
// yet are run in order, in one transaction: all or none. After
// [Storage.DeleteAll] they are run again when SQL is used next. New steps are
// added at the end and earlier ones stay as they are: one that was changed,
// moved or taken away is found, and the object does not start ([SchemaError],
// which resets it at each event). The same holds for a step that fails.
// AllowNewerSchema (in the options of the type) lets an object start whose
// database has steps beyond these, of a later release, so that this release can
// be gone back to; write later steps so that earlier code can live with them.
//
// A step that begins with "PRAGMA foreign_keys = OFF;", after comments or not,
// runs without foreign keys, which are checked over the whole database at its
// end: a row that then refers to none fails the step with [ErrConstraint]. A
// step that rebuilds a table to which others refer has to begin so, since DROP
// TABLE otherwise deletes its rows first, and with them those that refer to
// them ON DELETE CASCADE:
//
//	PRAGMA foreign_keys = OFF;
//	CREATE TABLE new_rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
//	INSERT INTO new_rooms SELECT id, name FROM rooms;
//	DROP TABLE rooms;
//	ALTER TABLE new_rooms RENAME TO rooms;
//
// The limits of [SQL] hold, but for these: the steps that are taken may
// together take as long as a start (Options.StartTimeout, for types without
// OnStart too; no bound if that is off), and as many steps of SQLite's machine
// as they like; and what they change and sort may take 1 GiB of memory when the
// object has a database already. A step that rebuilds a table changes twice its
// size.
//
// An object whose database is up to date reads one small key when it starts.
type Schema []string

// A SchemaError says why a schema could not be applied to an object. It is the
// cause of a [ResetError].
type SchemaError struct {
	Step int // index in the Schema
	Err  error
}

func (e *SchemaError) Error() string { return fmt.Sprintf("dog: schema step %d: %v", e.Step, e.Err) }

// Unwrap returns the cause.
func (e *SchemaError) Unwrap() error { return e.Err }

// schemaKey is where space About keeps the digests of the steps that have been
// taken.
const schemaKey = "schema"

const digestSize = 16

// digest identifies a step.
func digest(step string) []byte {
	sum := sha256.Sum256([]byte(step))
	return sum[:digestSize]
}

// apply takes the steps that are missing, and does nothing without steps. The
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

// take takes the steps after the first ones.
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

// blank is what may stand between statements.
const blank = `(?:\s|--[^\n]*(?:\n|$)|/\*(?s:.*?)\*/)*`

// keysOff is how a step begins that runs without foreign keys, keysOn how it
// may end: SQLite's own recipe for changes that ALTER TABLE cannot make.
var (
	keysOff = regexp.MustCompile(`(?i)^` + blank + `PRAGMA\s+foreign_keys\s*(?:=\s*(?:OFF|FALSE|NO|0)|\(\s*(?:OFF|FALSE|NO|0)\s*\))\s*;`)
	keysOn  = regexp.MustCompile(`(?i);` + blank + `PRAGMA\s+foreign_keys\s*(?:=\s*(?:ON|TRUE|YES|1)|\(\s*(?:ON|TRUE|YES|1)\s*\))\s*;?` + blank + `$`)
)

// stepMemory is how much memory steps may take: 1 GiB, and where addresses have
// 32 bits as much as any statement.
const stepMemory = 128 << 20 << (3 * (^uint(0) >> 63))

// anyTime is no bound of the time that a step takes.
const anyTime time.Duration = 1 << 61

// takeStep runs a step, which has to be taken by end, if that is not zero.
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

// taken returns how many steps have been taken.
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
