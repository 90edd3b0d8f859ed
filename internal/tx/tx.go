// Package tx holds what an object stores from one event, or one wait, to the
// next: keys, SQL and alarms in one transaction.
//
// A [Tx] belongs to one life of an object and to its turn. It begins a
// transaction with the first change, hands it to the store with [Tx.Commit], or
// undoes it. Transactions nest in it. It notices when a second goroutine uses
// it.
//
// The package knows the store and nothing above it. It does not know objects,
// events, or what is held back until a transaction is durable: its [Owner]
// does.
package tx

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

var (
	// ErrNested is returned by [Tx.Pause] inside a nested transaction.
	ErrNested = errors.New("dog: cannot wait inside a transaction: do it before or after")
	// ErrReadOnly is returned by changes in [Tx.ReadOnly].
	ErrReadOnly = errors.New("dog: this use of the storage only reads")
)

// An Owner is the life of an object that a [Tx] belongs to.
type Owner interface {
	// Running returns nil while an event of the owner has its turn, and
	// otherwise why there is none.
	Running() error
	// Open returns the data of the object, and OpenSQL its database.
	Open() *store.Object
	OpenSQL(pages store.Pages) (store.SQL, error)
	// Writable returns the error with which a commit would fail, or nil.
	Writable() error
	// Lock keeps the owner from ending until Unlock. It returns why the owner
	// is over, or nil.
	Lock() (over error)
	Unlock()
	// Wrote is called when a transaction has its first change, Committed or
	// Failed when it ends. The owner is locked, and not over.
	Wrote()
	Committed(store.Commit)
	Failed(cause error)
	// Reset ends the owner because of an error. It returns the error to return,
	// which is the first cause if it is over already.
	Reset(cause error) error
	Log() *slog.Logger
}

// A Tx is the transaction of an object, and the way to its data.
type Tx struct {
	// Owner and Keeper are fixed before first use. Keeper is nil if the owner's
	// messages are not stored.
	Owner  Owner
	Keeper Keeper

	used atomic.Bool // data is set
	busy atomic.Bool // a method is running: a second caller has no turn
	open atomic.Bool // a transaction has changes that the owner knows of; set with the owner locked

	keeping keeping

	// owned by the turn
	data        *store.Object
	sql         store.SQL // nil until first use
	wroteSQL    bool      // the transaction has SQL changes
	schema      *Schema   // nil until Start
	checkSchema bool      // look up the schema's state before the next query
	readOnly    bool      // ReadOnly is running
	commits     uint64    // with changes
	reads       uint64    // by Read and Query, since the last TakeUses
	writes      uint64    // by Change and Query
	unread      []*Unread
	// undone is set when the open transaction is undone without a reset. nil if
	// nothing asks for it.
	undone *bool
}

// Used reports whether the data has ever been used. It needs no turn.
func (t *Tx) Used() bool { return t.used.Load() }

// Enter begins a use of the data by a handler. Unless it returns an error,
// Leave must follow.
func (t *Tx) Enter() error {
	if err := t.Owner.Running(); err != nil {
		return err
	}
	if !t.busy.CompareAndSwap(false, true) {
		return turn.ErrOutside
	}
	t.use()
	return nil
}

// use opens the data if that has not been done.
func (t *Tx) use() {
	if t.data == nil {
		t.data = t.Owner.Open()
		t.used.Store(true)
	}
}

// Leave ends what Enter or Write began.
func (t *Tx) Leave() { t.busy.Store(false) }

// Write is Enter for a change.
func (t *Tx) Write() error {
	if err := t.Enter(); err != nil {
		return err
	}
	if err := t.begin(); err != nil {
		t.Leave()
		return err
	}
	return nil
}

// Read is Enter for what the program reads, which is counted.
func (t *Tx) Read() error {
	if err := t.Enter(); err != nil {
		return err
	}
	t.reads++
	return nil
}

// Change is Write for what the program writes, which is counted.
func (t *Tx) Change() error {
	if err := t.Write(); err != nil {
		return err
	}
	t.writes++
	return nil
}

// TakeUses returns how often the program has read and written since the last
// call. It returns 0 if another goroutine uses the data, which is an error of
// the program.
func (t *Tx) TakeUses() (reads, writes uint64) {
	if !t.busy.CompareAndSwap(false, true) {
		return 0, 0
	}
	defer t.busy.Store(false)
	reads, writes = t.reads, t.writes
	t.reads, t.writes = 0, 0
	return reads, writes
}

// Data returns the object's data. The caller must have entered, for a change
// with Write.
func (t *Tx) Data() *store.Object { return t.data }

// Touch begins the transaction if it has no changes, so that it reaches the
// Keeper.
func (t *Tx) Touch() error {
	if err := t.Write(); err != nil {
		return err
	}
	t.Leave()
	return nil
}

// DeleteAll deletes everything. The caller must have entered with Write. It
// returns ErrNested in a nested transaction that has changes by SQL.
func (t *Tx) DeleteAll() error {
	if t.wroteSQL && t.data.Saves() > 0 {
		return ErrNested
	}
	t.data.DeleteAll()
	return t.dropSQL()
}

// ReadOnly runs f, in which each change fails with ErrReadOnly. SQL finds the
// database as it is stored, without missing steps of the schema. f must not
// wait.
func (t *Tx) ReadOnly(f func() error) error {
	t.readOnly = true
	defer func() { t.readOnly = false }()
	return f()
}

// begin notifies the owner that the transaction has changes.
func (t *Tx) begin() error {
	if t.readOnly {
		return ErrReadOnly
	}
	if t.open.Load() {
		return nil
	}
	if err := t.Owner.Writable(); err != nil {
		return err
	}
	over := t.Owner.Lock()
	defer t.Owner.Unlock()
	if over != nil {
		return over
	}
	if !t.open.Load() {
		t.Owner.Wrote()
		t.open.Store(true)
	}
	return nil
}

// Pause is Commit for a handler that is about to wait.
func (t *Tx) Pause() error {
	if t.Nested() {
		return ErrNested
	}
	if !t.Ends() {
		return nil
	}
	return t.Commit()
}

// Commit hands the transaction to the store. When that fails the owner is
// reset.
func (t *Tx) Commit() error {
	if err := t.alone(t.tryCommit); err != nil {
		return t.Owner.Reset(err)
	}
	return nil
}

// alone runs a function that ends a transaction. It returns ErrOutside if
// another goroutine is using the data.
func (t *Tx) alone(end func() error) error {
	if !t.busy.CompareAndSwap(false, true) {
		return turn.ErrOutside
	}
	defer t.Leave()
	t.logUnread()
	return end()
}

func (t *Tx) tryCommit() (err error) {
	messages, ended := t.takeMessages()
	defer ended()
	if !t.open.Load() {
		return t.endRows()
	}
	t.use()
	err = t.Owner.Lock()
	defer t.Owner.Unlock()
	if err == nil && t.sql != nil {
		err = t.sql.Commit()
	}
	var done store.Commit
	if err == nil {
		done, err = t.commitData(messages)
	}
	t.open.Store(false)
	t.wroteSQL, t.undone = false, nil
	if err != nil {
		return errors.Join(err, t.undo())
	}
	t.commits++
	t.Owner.Committed(done)
	return nil
}

// Commits returns a number that grows with each commit that has changes. The
// caller must have the turn.
func (t *Tx) Commits() uint64 { return t.commits }

// NoteSince lets f change the notes about an object in the transaction if that
// has changes, or if there have been commits since Commits returned a number.
func (t *Tx) NoteSince(commits uint64, about store.Base, space store.Space, f func(store.Notes)) error {
	if !t.open.Load() && t.commits == commits {
		return nil
	}
	if err := t.Write(); err != nil {
		return err
	}
	defer t.Leave()
	f(t.data.Notes(about, space))
	return nil
}

// Rollback undoes the transaction. Everything that depends on it is dropped
// because of err. If Rollback fails, the caller must reset the owner.
func (t *Tx) Rollback(err error) error {
	return t.alone(func() error { return t.tryRollback(err) })
}

func (t *Tx) tryRollback(err error) error {
	_, ended := t.takeMessages()
	defer ended()
	if !t.open.Load() {
		return t.endRows()
	}
	t.use()
	over := t.Owner.Lock()
	defer t.Owner.Unlock()
	if t.undone != nil {
		*t.undone = true
	}
	t.open.Store(false)
	t.wroteSQL, t.undone = false, nil
	if over == nil {
		t.Owner.Failed(err)
	}
	return t.undo()
}

// Fate returns a flag that is set when the open transaction is undone without a
// reset. It returns nil if the transaction has no changes. The caller must have
// the turn.
func (t *Tx) Fate() *bool {
	if t.open.Load() && t.undone == nil {
		t.undone = new(bool)
	}
	return t.undone
}

// undo discards the transaction's changes.
func (t *Tx) undo() error {
	wiped := t.data.Wiped()
	t.data.Rollback()
	t.checkSchema = true
	switch {
	case t.sql == nil:
		return nil
	case wiped: // restored pages that SQLite has not seen
		return t.sql.Close()
	}
	return t.sql.Rollback()
}

// Release frees the resources other than memory. The turn must be free, and the
// owner over.
func (t *Tx) Release() {
	if t.sql == nil {
		return
	}
	if err := t.sql.Close(); err != nil {
		t.Owner.Log().Error("cannot close the database", "error", err)
	}
}

// Abandon is Release for an owner that has been reset. If a handler is using
// the data, the end of that handler calls Abandon again.
func (t *Tx) Abandon() {
	if t.busy.CompareAndSwap(false, true) {
		t.Release()
		t.Leave()
	}
}
