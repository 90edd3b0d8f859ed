package dog

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"

	"github.com/godurable/dog/internal/store"
)

// A Store is a place where objects keep their storage, for [Options].Store.
// Packages disk and dogtest have stores. Only packages of this module implement
// it.
type Store interface {
	openEngine(log *slog.Logger) (store.Engine, error)
}

// Limits of storage, the same as in Durable Objects.
const (
	maxKey   = 2048    // bytes
	maxEntry = 2 << 20 // bytes of a key and its value
)

// Storage holds the data of one object: keys with their values, in byte order
// of the keys; a SQLite database ([Storage.SQL]); and alarms
// ([Storage.Alarms]). It belongs to the object's turn: outside a handler its
// methods return ErrOutsideTurn, and after the object has been reset they
// return ErrReset.
//
// A handler's writes up to its end, or up to the next place where it waits,
// form one transaction: all of them are kept or none. The transaction is made
// durable afterwards, together with those of other objects, while the object
// goes on. Until then everything the object sends (messages, answers, results,
// calls to others) is held back, in order, so that no client or object ever
// sees state that a crash could undo. If the transaction cannot be made
// durable, the object is reset and everything held back is dropped.
//
// A handler that panics loses its transaction. A handler that returns an error
// keeps it, unless RollbackOnError is set.
//
// A key has at most 2,048 bytes, and a key and its value together at most 2
// MiB. "" is a valid key.
//
// In addition to their own errors, all methods can fail with [ErrStoreFull],
// [ErrStoreStalled], [ErrStoreFailed] and read errors.
type Storage struct {
	inst *instance   // fixed; nil in a zero Storage
	used atomic.Bool // data is set

	busy atomic.Bool // a method is running: a second caller has no turn

	// owned by the turn
	data            *store.Object
	sql             store.SQL // nil until first use
	wroteSQL        bool      // the transaction has SQL changes
	schema          Schema    // set by start
	allowNewer      bool      // the database may have taken further steps
	checkSchema     bool      // look up the schema's state before the next query
	rollbackOnError bool
	open            bool // a transaction has changes that the gate knows of
	unread          []*unreadError
	// undone is set when the open transaction is undone without a reset. nil if
	// nothing asks for it.
	undone *bool
}

// start prepares the storage of an instance that starts.
func (s *Storage) start(ns *namespace) error {
	s.rollbackOnError, s.schema, s.allowNewer = ns.rollbackOnError, ns.schema, ns.allowNewerSchema
	if len(s.schema) == 0 {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.schema.apply(s)
}

// enter begins a use of the storage by a handler. Unless it returns an error,
// leave must follow.
func (s *Storage) enter() error {
	if s == nil || s.inst == nil {
		return notRunning("Storage")
	}
	if err := s.inst.turn.Running(); err != nil {
		return err
	}
	if !s.busy.CompareAndSwap(false, true) {
		return ErrOutsideTurn
	}
	if s.data == nil {
		s.data = store.NewObject(s.inst.obj.runtime().engine, s.inst.obj.identity())
		s.used.Store(true)
	}
	return nil
}

func (s *Storage) leave() { s.busy.Store(false) }

// write is enter for methods that change something.
func (s *Storage) write() error {
	if err := s.enter(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		s.leave()
		return err
	}
	return nil
}

// begin tells the gate that the transaction has changes.
func (s *Storage) begin() error {
	if s.open {
		return nil
	}
	if err := s.inst.obj.runtime().engine.Writable(); err != nil {
		return err
	}
	s.inst.end.Lock()
	defer s.inst.end.Unlock()
	if s.inst.ended != nil {
		return s.inst.ended
	}
	s.inst.obj.gate.Wrote()
	s.open = true
	return nil
}

// pause is commit for a handler that is about to wait.
func (s *Storage) pause() error {
	if s.data.Saves() > 0 {
		return ErrInTransaction
	}
	return s.commit()
}

// commit hands the transaction to the store. When that fails the object is
// reset.
func (s *Storage) commit() error {
	if err := s.alone(s.tryCommit); err != nil {
		return s.inst.reset(err) // returns the cause if the instance has been reset before
	}
	return nil
}

// alone runs a function that ends a transaction. It returns ErrOutsideTurn if
// another goroutine is using the storage.
func (s *Storage) alone(end func() error) error {
	if !s.busy.CompareAndSwap(false, true) {
		return ErrOutsideTurn
	}
	defer s.leave()
	s.logUnread()
	return end()
}

func (s *Storage) tryCommit() (err error) {
	if !s.open {
		return s.endRows()
	}
	inst := s.inst
	inst.end.Lock()
	defer inst.end.Unlock()
	if err = inst.ended; err == nil && s.sql != nil {
		err = s.sql.Commit()
	}
	var done store.Commit
	if err == nil {
		done, err = s.data.Commit()
	}
	s.open, s.wroteSQL, s.undone = false, false, nil
	if err != nil {
		return errors.Join(err, s.undo())
	}
	inst.obj.gate.Committed(done.Number)
	inst.obj.stores.Store(true)
	if done.Alarm != 0 {
		inst.obj.ns.schedule.Set(store.DueAlarm{At: done.Alarm, Namespace: inst.obj.ns.number, Base: inst.obj.id.base()})
	}
	return nil
}

// rollback undoes the handler's transaction. Everything the handler sent in it
// is dropped because of err.
func (s *Storage) rollback(err error) error {
	return s.alone(func() error { return s.tryRollback(err) })
}

func (s *Storage) tryRollback(err error) error {
	if !s.open {
		return s.endRows()
	}
	s.inst.end.Lock()
	defer s.inst.end.Unlock()
	if s.undone != nil {
		*s.undone = true
	}
	s.open, s.wroteSQL, s.undone = false, false, nil
	if s.inst.ended == nil {
		s.inst.obj.gate.Failed(err)
	}
	return s.undo()
}

// fate returns a flag that is set when the open transaction is undone without a
// reset. It returns nil if the transaction has no changes. The caller must have
// the turn.
func (s *Storage) fate() *bool {
	if s.open && s.undone == nil {
		s.undone = new(bool)
	}
	return s.undone
}

// undo discards the transaction's changes.
func (s *Storage) undo() error {
	wiped := s.data.Wiped()
	s.data.Rollback()
	s.checkSchema = true
	switch {
	case s.sql == nil:
		return nil
	case wiped: // restored pages that SQLite has not seen
		return s.sql.Close()
	}
	return s.sql.Rollback()
}

// endRows ends the rows of queries that are still open, because the turn ends
// or the object waits.
func (s *Storage) endRows() error {
	if s.sql != nil {
		return s.sql.Commit() // nothing to commit
	}
	return nil
}

// Get returns the value of a key. found is false if the key does not exist. The
// caller owns the value.
func (s *Storage) Get(key string) (value []byte, found bool, err error) {
	if err := s.enter(); err != nil {
		return nil, false, err
	}
	defer s.leave()
	return s.data.Get(store.Keys, key)
}

// GetMany returns the values of those keys that exist.
func (s *Storage) GetMany(keys ...string) (map[string][]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	values := make(map[string][]byte, len(keys))
	for _, key := range keys {
		value, found, err := s.data.Get(store.Keys, key)
		if err != nil {
			return nil, err
		}
		if found {
			values[key] = value
		}
	}
	return values, nil
}

// Put stores a copy of a value. It returns ErrTooBig if the key or the value is
// too big.
func (s *Storage) Put(key string, value []byte) error {
	if err := checkEntry(key, value); err != nil {
		return err
	}
	if err := s.write(); err != nil {
		return err
	}
	defer s.leave()
	s.data.Put(store.Keys, key, value)
	return nil
}

// PutMany stores copies of values, all or none.
func (s *Storage) PutMany(entries map[string][]byte) error {
	for key, value := range entries {
		if err := checkEntry(key, value); err != nil {
			return err
		}
	}
	if err := s.write(); err != nil {
		return err
	}
	defer s.leave()
	for key, value := range entries {
		s.data.Put(store.Keys, key, value)
	}
	return nil
}

func checkEntry(key string, value []byte) error {
	if len(key) > maxKey {
		return fmt.Errorf("%w: a key of %d bytes", ErrTooBig, len(key))
	}
	if len(key)+len(value) > maxEntry {
		return fmt.Errorf("%w: a key and a value of %d bytes", ErrTooBig, len(key)+len(value))
	}
	return nil
}

// Delete deletes keys and returns how many of them existed.
func (s *Storage) Delete(keys ...string) (deleted int, err error) {
	if err := s.write(); err != nil {
		return 0, err
	}
	defer s.leave()
	for _, key := range keys {
		_, found, err := s.data.Get(store.Keys, key)
		if err != nil {
			return deleted, err
		}
		if found {
			s.data.Delete(store.Keys, key)
			deleted++
		}
	}
	return deleted, nil
}

// DeleteAll deletes all keys, the SQL database with its schema, and all alarms.
// After that the object is no longer a stored object. In [Storage.Transaction]
// DeleteAll cannot follow changes made by SQL: it returns ErrInTransaction.
func (s *Storage) DeleteAll() error {
	if err := s.write(); err != nil {
		return err
	}
	defer s.leave()
	if s.wroteSQL && s.data.Saves() > 0 {
		return fmt.Errorf("%w: DeleteAll after changes by SQL", ErrInTransaction)
	}
	s.data.DeleteAll()
	return s.dropSQL()
}

// ListOptions select entries. The zero value selects all of them, in order.
type ListOptions struct {
	Prefix     string // only keys with this prefix
	Start      string // only keys from this one on; not together with StartAfter
	StartAfter string // only keys after this one; "": no bound (for keys after "", use Start: "\x00")
	End        string // only keys before this one; "": no bound
	Reverse    bool   // from last to first; the bounds mean the same
	Limit      int    // maximum number of entries; 0: no limit
}

// An Entry is a key and its value.
type Entry[V any] struct {
	Key   string
	Value V
}

// List returns the entries in key order, as they are when List is called. An
// impossible range is empty. The caller owns the values. An error is the last
// item: a UsageError if the options contradict each other.
func (s *Storage) List(options ListOptions) iter.Seq2[Entry[[]byte], error] {
	fail := func(err error) iter.Seq2[Entry[[]byte], error] {
		return func(yield func(Entry[[]byte], error) bool) { yield(Entry[[]byte]{}, err) }
	}
	r, err := options.bounds()
	if err != nil {
		return fail(err)
	}
	if err := s.enter(); err != nil {
		return fail(err)
	}
	defer s.leave()
	entries := s.data.Scan(store.Keys, r)
	return func(yield func(Entry[[]byte], error) bool) {
		n := 0
		for e, err := range entries {
			if !yield(Entry[[]byte](e), err) || err != nil {
				return
			}
			if n++; n == options.Limit {
				return
			}
		}
	}
}

func (o ListOptions) bounds() (store.Range, error) {
	switch {
	case o.Start != "" && o.StartAfter != "":
		return store.Range{}, misuse("List", "both Start and StartAfter are set")
	case o.Limit < 0:
		return store.Range{}, misuse("List", "Limit is %d", o.Limit)
	}
	r := store.PrefixRange(o.Prefix)
	r.Lower = max(r.Lower, o.Start)
	if o.StartAfter != "" {
		r.Lower = max(r.Lower, o.StartAfter+"\x00")
	}
	if o.End != "" && (r.Unbounded || o.End < r.Upper) {
		r.Upper, r.Unbounded = o.End, false
	}
	r.Reverse = o.Reverse
	return r, nil
}
