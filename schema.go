package dog

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/godurable/dog/internal/store"
)

// A Schema is the steps that bring an object's SQL database from nothing to its present form, each one or more statements:
//
//	dog.Schema{
//		"CREATE TABLE messages (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
//		"ALTER TABLE messages ADD COLUMN sender TEXT NOT NULL DEFAULT ''",
//	}
//
// When an object starts, before its OnStart, the steps that it has not taken yet are run in order, in one transaction: all or
// none. After [Storage.DeleteAll] they are run again when SQL is used next. New steps are added at the end and earlier ones stay
// as they are: one that was changed, moved or taken away is found, and the object does not start ([SchemaError], which resets it
// at each event). The same holds for a step that fails.
//
// An object whose database is up to date reads one small key when it starts.
type Schema []string

// A SchemaError says why a schema could not be applied to an object. It is the cause of a [ResetError].
type SchemaError struct {
	Step int // index in the Schema
	Err  error
}

func (e *SchemaError) Error() string { return fmt.Sprintf("dog: schema step %d: %v", e.Step, e.Err) }

// Unwrap returns the cause.
func (e *SchemaError) Unwrap() error { return e.Err }

// schemaKey is where space About keeps the digests of the steps that have been taken.
const schemaKey = "schema"

const digestSize = 16

// digest identifies a step.
func digest(step string) []byte {
	sum := sha256.Sum256([]byte(step))
	return sum[:digestSize]
}

// apply takes the steps that are missing, and does nothing without steps. The caller must have entered the storage.
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
		s.restoreEntered()
		return err
	}
	return s.keepEntered()
}

// take takes the steps after the first ones.
func (sc Schema) take(s *Storage, taken int) error {
	if err := s.begin(); err != nil {
		return err
	}
	var digests []byte
	for i, step := range sc {
		digests = append(digests, digest(step)...)
		if i < taken {
			continue
		}
		if _, err := s.exec(step, nil); err != nil {
			return &SchemaError{i, err}
		}
	}
	s.data.Put(store.About, schemaKey, digests)
	return nil
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
		case i >= len(sc):
			return 0, &SchemaError{i, errors.New("it has been applied and is missing: was it removed?")}
		case string(digests[i*digestSize:(i+1)*digestSize]) != string(digest(sc[i])):
			return 0, &SchemaError{i, errors.New("it is not the one that has been applied: was it changed or moved?")}
		}
	}
	return n, nil
}
