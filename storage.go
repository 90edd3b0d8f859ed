package dog

import (
	"context"
	"fmt"
	"iter"
	"log/slog"

	"github.com/godurable/dog/internal/object"
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
// ([Storage.Alarms]). It belongs to the object's turn: use it only in handlers,
// and not inside [Await]. While no handler has the turn, its methods return
// ErrOutsideTurn, and after the object has been reset, ErrReset.
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
// MiB. "" is a valid key. With Options.Store, a transaction that writes more
// than 1 GiB cannot be stored, which resets the object.
//
// In addition to their own errors, all methods can fail with [ErrStoreFull],
// [ErrStoreStalled], [ErrStoreFailed] and read errors.
type Storage struct {
	life *object.Life // set once, when the object starts; nil in a zero Storage
}

// enter begins a use of the storage by a handler. Unless it returns an error,
// leave must follow.
func (s *Storage) enter() error {
	if s == nil || s.life == nil {
		return notRunning("Storage")
	}
	return s.life.Tx.Enter()
}

// read is enter for methods that count as a read.
func (s *Storage) read() error {
	if s == nil || s.life == nil {
		return notRunning("Storage")
	}
	return s.life.Tx.Read()
}

// write is enter for methods that change something.
func (s *Storage) write() error {
	if s == nil || s.life == nil {
		return notRunning("Storage")
	}
	return s.life.Tx.Change()
}

func (s *Storage) leave() { s.life.Tx.Leave() }

// Get returns the value of a key. found is false if the key does not exist. The
// caller owns the value.
func (s *Storage) Get(key string) (value []byte, found bool, err error) {
	if err := s.read(); err != nil {
		return nil, false, err
	}
	defer s.leave()
	return s.life.Tx.Data().Get(store.Keys, key)
}

// GetMany returns the values of those keys that exist. The caller owns the map
// and the values.
func (s *Storage) GetMany(keys ...string) (map[string][]byte, error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	defer s.leave()
	values := make(map[string][]byte, len(keys))
	for _, key := range keys {
		value, found, err := s.life.Tx.Data().Get(store.Keys, key)
		if err != nil {
			return nil, err
		}
		if found {
			values[key] = value
		}
	}
	return values, nil
}

// Put stores a copy of a value under a key, in place of an earlier value. It
// returns ErrTooBig if the key or the value is too big.
func (s *Storage) Put(key string, value []byte) error {
	if err := checkEntry(key, value); err != nil {
		return err
	}
	if err := s.write(); err != nil {
		return err
	}
	defer s.leave()
	s.life.Tx.Data().Put(store.Keys, key, value)
	return nil
}

// PutMany stores copies of values under their keys, as Put does. If one is too
// big, it stores none.
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
		s.life.Tx.Data().Put(store.Keys, key, value)
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

// Delete deletes keys and returns how many of them existed. A key that does not
// exist is no error.
func (s *Storage) Delete(keys ...string) (deleted int, err error) {
	if err := s.write(); err != nil {
		return 0, err
	}
	defer s.leave()
	for _, key := range keys {
		_, found, err := s.life.Tx.Data().Get(store.Keys, key)
		if err != nil {
			return deleted, err
		}
		if found {
			s.life.Tx.Data().Delete(store.Keys, key)
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
	if err := s.life.Tx.DeleteAll(); err != nil {
		if err == ErrInTransaction {
			return fmt.Errorf("%w: DeleteAll after changes by SQL", err)
		}
		return err
	}
	return nil
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
	if err := s.read(); err != nil {
		return fail(err)
	}
	defer s.leave()
	entries := s.life.Tx.Data().Scan(store.Keys, r)
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

// Transaction runs f and returns its error. If f returns an error or panics,
// all writes made in f are undone: keys, SQL and alarms. Transaction keeps the
// turn: in f, anything that waits fails with ErrInTransaction. Messages that f
// sends are sent even if f is undone, and functions that it passes to [Go] run.
// They go out with the handler's transaction. Transactions may be nested. A nil
// f is a [UsageError].
func (s *Storage) Transaction(f func() error) error {
	if s == nil || s.life == nil {
		return notRunning("Storage")
	}
	if f == nil {
		return misuse("Storage.Transaction", "f is nil")
	}
	return s.life.Tx.Nest(f)
}

// Sync waits until everything the object has stored so far is durable, and
// gives up the turn while it waits. It is needed only before output that does
// not pass the gate. It returns ErrReset if the writes could not be made
// durable, ErrInTransaction, or the cause of ctx's end. ctx must be the context
// of the running handler, otherwise Sync returns ErrOutsideTurn.
func (s *Storage) Sync(ctx context.Context) error {
	if s == nil || s.life == nil {
		return notRunning("Storage.Sync")
	}
	life, err := object.Running(ctx)
	if err != nil {
		return err
	}
	if life != s.life {
		return ErrOutsideTurn
	}
	return object.AwaitDurable(ctx, nil, func() error { return nil })
}

// An opener is a [Store].
type opener struct {
	open func(*slog.Logger) (store.Engine, error) // fixed
}

func (o *opener) openEngine(log *slog.Logger) (store.Engine, error) { return o.open(log) }
