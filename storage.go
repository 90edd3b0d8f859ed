package dog

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"

	"github.com/godurable/dog/internal/store"
)

// A Store is where objects keep what they store, for [Options].Store. Packages
// disk and dogtest have stores. Only packages of this module implement it.
type Store interface {
	openEngine(log *slog.Logger) (store.Engine, error)
}

// Limits of storage, as Durable Objects have them.
const (
	maxKey   = 2048    // bytes
	maxEntry = 2 << 20 // bytes of a key and its value
)

// Storage is what one object has stored: keys with their values in the order of
// the keys' bytes, a SQLite database ([Storage.SQL]), and alarms
// ([Storage.Alarms]). It belongs to the object's turn: outside a handler its
// methods return ErrOutsideTurn, and after the object has been reset, ErrReset.
//
// What a handler stores up to its end, or up to the next place where it waits,
// is one transaction: all of it is kept or nothing. It is made durable
// afterwards, together with that of other objects, while the object goes on.
// Until then, whatever the object says (messages, answers, results, calls to
// others) is held back, in order, so nobody ever learns of something that a
// crash could undo. When it cannot be made durable, the object is reset and
// none of that is said.
//
// A handler that panics loses its transaction. One that returns an error keeps
// it, unless RollbackOnError is set.
//
// A key is at most 2,048 bytes, a key and its value 2 MiB together; "" is a key
// like any other.
//
// Besides their own errors all methods can fail with [ErrStoreFull],
// [ErrStoreStalled], [ErrStoreFailed] and errors of reading.
type Storage struct {
	inst *instance   // fixed; nil in a zero Storage
	used atomic.Bool // data is there

	busy atomic.Bool // somebody is in a method: a second one has no turn

	// owned by the turn
	data            *store.Object
	sql             store.SQL // nil until it is used
	wroteSQL        bool      // the transaction has changes by SQL
	schema          Schema    // set by start
	allowNewer      bool      // the database may have taken more steps
	checkSchema     bool      // whether the database has it must be looked up before the next query
	rollbackOnError bool
	open            bool // a transaction has changes, which the gate knows
	unread          []*unreadError
	// undone is set when the transaction under way is undone without a reset.
	// nil: nobody asks.
	undone *bool
}

// start readies the storage of an instance that starts.
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

// enter begins a use of the storage by a handler. leave must follow unless
// there is an error.
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

// write is enter for what changes something.
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

// begin lets the gate know that the transaction has changes.
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
		return s.inst.reset(err) // an instance that has been reset returns why
	}
	return nil
}

// alone runs what ends a transaction, unless another goroutine uses the
// storage: ErrOutsideTurn.
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
		inst.obj.ns.schedule.set(store.DueAlarm{At: done.Alarm, Namespace: inst.obj.ns.number, Base: inst.obj.id.base()})
	}
	return nil
}

// rollback undoes the transaction of a handler; what was said in it is dropped
// because of err.
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

// fate returns what is set when the transaction under way is undone without a
// reset; nil when nothing has been stored in it. The caller has the turn.
func (s *Storage) fate() *bool {
	if s.open && s.undone == nil {
		s.undone = new(bool)
	}
	return s.undone
}

// undo forgets the transaction's changes.
func (s *Storage) undo() error {
	wiped := s.data.Wiped()
	s.data.Rollback()
	s.checkSchema = true
	switch {
	case s.sql == nil:
		return nil
	case wiped: // the pages are back that it has not seen
		return s.sql.Close()
	}
	return s.sql.Rollback()
}

// endRows ends the rows of queries that are still open, since the turn ends or
// the object waits.
func (s *Storage) endRows() error {
	if s.sql != nil {
		return s.sql.Commit() // of nothing
	}
	return nil
}

// Get returns the value of a key, found false when there is none. The value is
// the caller's.
func (s *Storage) Get(key string) (value []byte, found bool, err error) {
	if err := s.enter(); err != nil {
		return nil, false, err
	}
	defer s.leave()
	return s.data.Get(store.Keys, key)
}

// GetMany returns the values of those keys that there are.
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

// Put keeps a copy of a value. ErrTooBig when the key or the value is.
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

// PutMany keeps copies of values, all or none.
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

// Delete deletes keys and returns how many of them there were.
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

// DeleteAll deletes all keys, the SQL database with its schema, and all alarms,
// after which the object is no longer among the stored ones. Inside of
// [Storage.Transaction] it cannot follow changes by SQL: ErrInTransaction.
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

// ListOptions choose entries. The zero value stands for all of them, in order.
type ListOptions struct {
	Prefix     string // only keys that begin with it
	Start      string // only keys from this one on; not together with StartAfter
	StartAfter string // only keys after this one. "" stands for no such bound, since Start: "\x00" says the same
	End        string // only keys before this one; "": no bound
	Reverse    bool   // from the last to the first; the bounds mean the same
	Limit      int    // at most so many; 0: all
}

// An Entry is a key and its value.
type Entry[V any] struct {
	Key   string
	Value V
}

// List returns entries in the order of their keys, as they are when List is
// called. An impossible range is empty. The values are the caller's. An error,
// a UsageError for options that contradict each other, is the last item.
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
