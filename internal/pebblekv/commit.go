package pebblekv

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/godurable/dog/internal/store"
)

// Errors of Commit in addition to those of the store. They mean that nothing
// has been changed.
var (
	// ErrTooLarge means that the batch is larger than 1 GiB.
	ErrTooLarge = errors.New("dog: too much in one commit")
	// ErrEmptyKey means that a key is empty. Pebble panics when it writes an
	// empty key to a table.
	ErrEmptyKey = errors.New("dog: empty key")
)

// maxBatch keeps batches well below 4 GiB, the size at which Pebble panics.
const maxBatch = 1 << 30

// A batch is a store.Batch.
type batch struct {
	engine  *Engine       // fixed
	changes *pebble.Batch // owned by the user of the batch
	err     error         // owned by the user of the batch: why it cannot be committed
}

// Begin implements store.Engine.
func (e *Engine) Begin() store.Batch {
	return &batch{engine: e, changes: e.db.NewBatch()}
}

// The methods of pebble.Batch used here fail only if the database is closed,
// which the caller of Close rules out.

// Set implements store.Batch.
func (b *batch) Set(key, value []byte) {
	if b.takes(key, len(value)) {
		_ = b.changes.Set(key, value, nil)
	}
}

// Delete implements store.Batch.
func (b *batch) Delete(key []byte) {
	if b.takes(key, 0) {
		_ = b.changes.Delete(key, nil)
	}
}

// DeleteRange implements store.Batch. A range whose end is before its beginning
// is empty.
func (b *batch) DeleteRange(lower, upper []byte) {
	if bytes.Compare(lower, upper) < 0 && b.fits(len(lower)+len(upper)) {
		_ = b.changes.DeleteRange(lower, upper, nil)
	}
}

// takes reports whether a change of a key may be added.
func (b *batch) takes(key []byte, size int) bool {
	if len(key) == 0 {
		b.err = ErrEmptyKey
	}
	return b.fits(len(key) + size)
}

// fits reports whether a change of this many bytes may be added.
func (b *batch) fits(size int) bool {
	if b.changes.Len()+size > maxBatch {
		b.err = ErrTooLarge
	}
	return b.err == nil
}

// Discard implements store.Batch.
func (b *batch) Discard() { _ = b.changes.Close() }

// Commit implements store.Batch. The error is store.ErrFull, store.ErrStalled,
// store.ErrFailed, store.ErrClosed, ErrTooLarge or ErrEmptyKey. After
// ErrFailed, the batch may or may not be there when the store is reopened.
// After the other errors it is not.
func (b *batch) Commit() (uint64, error) {
	defer b.Discard()
	if b.err != nil {
		return 0, b.err
	}
	if b.changes.Empty() {
		return 0, nil
	}
	e, size := b.engine, uint64(b.changes.Len())
	if err := e.space.take(size); err != nil {
		return 0, err
	}
	if err := e.admit(size); err != nil {
		return 0, err
	}
	if err := e.space.fits(size); err != nil {
		e.dismiss(size)
		return 0, err
	}
	if err := e.db.Apply(b.changes, pebble.NoSync); err != nil {
		e.fail(err)
	}
	return e.committed(size)
}

// A waitingCommit is a commit that waits to be admitted.
type waitingCommit struct {
	size  uint64        // fixed
	since time.Time     // fixed; when it began to wait
	in    chan struct{} // closed when it is admitted or refused
	err   error         // written before in is closed: why it is refused
}

// admit waits until this many more bytes may be written without being durable.
func (e *Engine) admit(size uint64) error {
	e.mu.Lock()
	if err := e.refusal(); err != nil {
		e.mu.Unlock()
		return err
	}
	if len(e.blocked) == 0 && e.hasRoom(size) {
		e.admitted += size
		e.mu.Unlock()
		return nil
	}
	if len(e.blocked) == 0 && e.commits == e.durable.Load() {
		e.moved = time.Now()
	}
	w := &waitingCommit{size: size, since: time.Now(), in: make(chan struct{})}
	e.blocked = append(e.blocked, w)
	if !e.patient {
		e.patient = true
		e.impatience.Reset(patience)
	}
	e.wakeFlusher(pacing)
	e.mu.Unlock()
	<-w.in
	e.mu.Lock()
	defer e.mu.Unlock()
	return cmp.Or(w.err, e.err)
}

// dismiss undoes admit.
func (e *Engine) dismiss(size uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.admitted -= size
	e.letIn()
}

// How long commits wait without progress: for the log, and for tables, which
// may take long to write.
const (
	patience      = 10 * time.Second
	tablePatience = 2 * time.Minute
)

// losePatience refuses the commits that have waited too long for a disk that
// does not respond. One timer serves all of them.
func (e *Engine) losePatience() {
	e.mu.Lock()
	defer e.mu.Unlock()
	limit := patience
	if e.commits == e.durable.Load() {
		limit = tablePatience
	}
	still := time.Since(e.moved)
	for len(e.blocked) > 0 {
		w := e.blocked[0]
		if left := max(limit-still, patience-time.Since(w.since)); left > 0 {
			e.impatience.Reset(min(left, patience)) // limit may change
			return
		}
		w.err = errStalled
		close(w.in)
		e.blocked[0] = nil
		e.blocked = e.blocked[1:]
	}
	e.patient = false
	e.letIn()
}

var errStalled = fmt.Errorf("%w: check the volume and try again", store.ErrStalled)

// refusal returns why no commit is admitted, or nil. The caller must hold mu.
func (e *Engine) refusal() error {
	if e.err == nil && e.lacking > 0 {
		return errNoSpace
	}
	return e.err
}

// hasRoom reports whether a commit of this size may be admitted. A commit
// larger than the bound is admitted alone. The caller must hold mu.
func (e *Engine) hasRoom(size uint64) bool {
	unsynced := e.admitted - e.synced
	return !e.stalled && (unsynced == 0 || unsynced+size <= e.bound)
}

// letIn admits blocked commits while there is room. The caller must hold mu.
func (e *Engine) letIn() {
	for len(e.blocked) > 0 && (e.err != nil || e.hasRoom(e.blocked[0].size)) {
		e.admitted += e.blocked[0].size
		close(e.blocked[0].in)
		e.blocked[0] = nil
		e.blocked = e.blocked[1:]
		e.moved = time.Now()
	}
}

// committed counts a commit applied by Pebble, and returns its number.
func (e *Engine) committed(size uint64) (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return 0, e.err
	}
	if e.commits == e.durable.Load() && len(e.blocked) == 0 {
		e.moved = time.Now()
	}
	e.commits++
	e.written += size
	if e.since.IsZero() {
		e.since = time.Now()
	}
	if e.written-e.synced >= e.bound/2 {
		e.wakeFlusher(pacing)
	} else {
		e.wakeFlusher(idle)
	}
	return e.commits, nil
}

// Writable implements store.Engine.
func (e *Engine) Writable() error {
	e.mu.Lock()
	err := e.refusal()
	if err == nil && e.commits > e.durable.Load() && time.Since(e.moved) >= patience {
		err = errStalled
	}
	e.mu.Unlock()
	if err != nil {
		return err
	}
	return e.space.take(0)
}

// fail ends writing. It is called by the first file operation that fails and
// takes effect at once: after it, no commit is reported as durable.
func (e *Engine) fail(cause error) {
	e.mu.Lock()
	first := e.err == nil
	if first {
		e.err = fmt.Errorf("%w: %w", store.ErrFailed, cause)
		e.frozen.Store(e.snapshot)
		e.failWaiters()
	}
	e.mu.Unlock()
	if first {
		e.log.Error("the store has failed and writes nothing until it is opened again", "error", cause)
	}
}

// failWaiters fails all waiters. The caller must hold mu and have set err.
func (e *Engine) failWaiters() {
	e.waiters.Fail(e.err)
	e.letIn()
	e.wakeFlusher(idle)
}
