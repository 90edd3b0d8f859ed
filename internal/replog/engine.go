package replog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/store"
)

// Options are the limits of an [Engine]. 0 means the default.
type Options struct {
	// MaxRecord is the maximum size of a record in bytes. A larger commit is
	// split. The default is 256 KiB.
	MaxRecord int
	// Window is the maximum number of groups of commits that are on their way
	// to the log. The default is 2: while two are, others collect.
	Window int
	// MaxPending is the number of bytes that are committed and not yet in the
	// local engine, above which commits wait. The default is 4 MiB.
	MaxPending int
	// MaxCommit is the maximum size of a commit in bytes. The default, 256 MiB,
	// is so small that any local engine takes it.
	MaxCommit int
	// Logger is where failures are logged. If nil, they are not.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MaxRecord <= recordHead {
		o.MaxRecord = 256 << 10
	}
	if o.Window <= 0 {
		o.Window = 2
	}
	if o.MaxPending <= 0 {
		o.MaxPending = 4 << 20
	}
	if o.MaxCommit <= 0 {
		o.MaxCommit = 256 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// How long the engine waits before it looks, tries again, or gives up waiting.
const (
	resolveAfter = 700 * time.Millisecond // for the log's answer to an append
	answerAfter  = time.Second            // for other calls of the log
	retryAfter   = 100 * time.Millisecond
	patience     = 10 * time.Second // of commits, and of Close, without progress
)

// An Engine is the store.Engine of the owner of a log. It has the changes that
// are pending in memory, over the local engine. Three goroutines belong to it:
// one appends to the log, one applies to the local engine what the log has, and
// one calls waiters.
type Engine struct {
	local local   // fixed
	state *State  // owned by the goroutine that applies, and after Close by the caller
	log   Log     // fixed
	epoch uint64  // fixed
	opts  Options // fixed

	ctx    context.Context         // ends when the engine is closed, has failed or gives up
	cancel context.CancelCauseFunc // fixed
	work   sync.WaitGroup
	closed atomic.Bool

	wakeShip  chan struct{} // of capacity 1
	wakeApply chan struct{} // of capacity 1

	durable atomic.Uint64 // the last commit that the log has; written with mu held

	mu       sync.Mutex
	overlay  overlay       // guarded by mu
	commits  uint64        // guarded by mu: number of the last commit
	open     *group        // guarded by mu: collects commits; nil: there are none
	queue    []*group      // guarded by mu: full, and not yet appended
	flight   []*group      // guarded by mu: appended, without an answer
	acked    []*group      // guarded by mu: in the log, and not yet in the local engine
	applied  []*group      // guarded by mu: in the local engine, and not yet dropped from the overlay
	inLocal  uint64        // guarded by mu: the last commit that is durable in the local engine
	starting []uint64      // guarded by mu: inLocal when each scan began whose view is still to come
	pending  int           // guarded by mu: bytes in the overlay
	progress chan struct{} // guarded by mu: closed when inLocal or pending changes; nil: nobody waits
	moved    time.Time     // guarded by mu: when the log last answered, or the first commit came since
	attempt  uint64        // guarded by mu: of appending what is in flight
	unsure   bool          // guarded by mu: what is in flight must be resolved
	full     bool          // guarded by mu: the log takes no more for now
	line     []*batch      // guarded by mu: those that wait for room, in the order of arrival
	closing  bool          // guarded by mu
	givenUp  bool          // guarded by mu: nothing waits for the log or the local engine any more
	err      error         // guarded by mu: why nothing is written any more
	records  uint64        // guarded by mu

	waiters *store.Waiters // guarded by mu
	ended   bool           // guarded by mu: no waiter is added any more
}

var _ store.Engine = (*Engine)(nil)

// A group is a number of commits that are in the log together or not at all.
type group struct {
	payload []byte
	keys    []string // of the overlay
	last    uint64   // its last commit
	size    int      // of the changes
	number  uint64   // in the epoch
	seq     uint64   // of its last record
	records [][]byte // nil until it is appended
	sent    time.Time
}

func newEngine(s *State, log Log, opts Options) *Engine {
	e := &Engine{
		local: s.local, state: s, log: log, epoch: s.epoch, opts: opts.withDefaults(),
		wakeShip: make(chan struct{}, 1), wakeApply: make(chan struct{}, 1),
	}
	e.waiters = store.NewWaiters(&e.mu)
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	next := shipment{seq: s.seq}
	e.work.Go(func() { e.ship(next); e.endShipping() })
	e.work.Go(func() { e.applyAll(); e.endApplying() })
	e.work.Go(e.waiters.Run)
	return e
}

// wake wakes a goroutine that receives from a channel of capacity 1.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Get implements store.Engine.
func (e *Engine) Get(key []byte) ([]byte, bool, error) {
	if e.closed.Load() {
		return nil, false, store.ErrClosed
	}
	e.mu.Lock()
	value, found, known := e.overlay.get(key)
	e.mu.Unlock()
	if !known {
		return e.local.get(key)
	}
	if !found {
		return nil, false, nil
	}
	return append([]byte{}, value...), true, nil
}

// Scan implements store.Engine. The local engine says what it has first, and
// then the overlay, which keeps until then what the local engine has got
// meanwhile. Together they are what was committed when the overlay was read.
func (e *Engine) Scan(lower, upper []byte, reverse bool) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		if e.closed.Load() {
			yield(store.Pair{}, store.ErrClosed)
			return
		}
		e.mu.Lock()
		had := e.inLocal
		e.starting = append(e.starting, had)
		e.mu.Unlock()
		var v *view
		look := func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			if v == nil {
				seen := e.overlay.view(lower, upper, reverse)
				v = &seen
				i := slices.Index(e.starting, had)
				e.starting = slices.Delete(e.starting, i, i+1)
				e.dropLocked()
			}
		}
		defer look() // also if the local engine panics
		for p, err := range e.local.scan(lower, upper, reverse) {
			if err != nil {
				yield(p, err)
				return
			}
			if v == nil {
				look()
			}
			replaced, goesOn := v.before(p.Key, reverse, yield)
			if !goesOn || !replaced && !v.deletes(p.Key) && !yield(p, nil) {
				return
			}
		}
		look()
		v.rest(yield)
	}
}

// dropLocked drops from the overlay what the local engine has, except what a
// scan may have missed there. The caller must hold mu.
func (e *Engine) dropLocked() {
	bound := e.inLocal
	for _, had := range e.starting {
		bound = min(bound, had)
	}
	n := 0
	for ; n < len(e.applied) && e.applied[n].last <= bound; n++ {
		e.overlay.drop(e.applied[n].last, e.applied[n].keys)
		e.pending -= e.applied[n].size
	}
	e.applied = slices.Delete(e.applied, 0, n)
	if n > 0 {
		e.progressLocked()
	}
}

// progressLocked wakes who waits for progress. The caller must hold mu.
func (e *Engine) progressLocked() {
	if e.progress != nil {
		close(e.progress)
		e.progress = nil
	}
}

// waitLocked returns a channel that is closed with the next progress. The
// caller must hold mu.
func (e *Engine) waitLocked() <-chan struct{} {
	if e.progress == nil {
		e.progress = make(chan struct{})
	}
	return e.progress
}

// Durable implements store.Engine.
func (e *Engine) Durable() uint64 { return e.durable.Load() }

// Writable implements store.Engine.
func (e *Engine) Writable() error {
	e.mu.Lock()
	err := e.refusalLocked()
	if err == nil && e.commits > e.durable.Load() && time.Since(e.moved) >= patience {
		err = errStalled
	}
	e.mu.Unlock()
	if err != nil {
		return err
	}
	return e.local.engine.Writable()
}

var (
	errStalled = fmt.Errorf("%w: the log does not answer", store.ErrStalled)
	errLogFull = fmt.Errorf("%w: the log takes no more", store.ErrFull)
)

// refusalLocked returns why no commit is accepted, or nil. The caller must hold
// mu.
func (e *Engine) refusalLocked() error {
	switch {
	case e.err != nil:
		return e.err
	case e.closing:
		return store.ErrClosed
	case e.full:
		return errLogFull
	}
	return nil
}

// OpenSQL implements store.Engine.
func (e *Engine) OpenSQL(pages store.Pages, limits store.SQLLimits) (store.SQL, error) {
	return e.local.engine.OpenSQL(pages, limits)
}

// Backup implements store.Engine. The copy is one of the local engine, and has
// the data of other logs that are there as well.
func (e *Engine) Backup(ctx context.Context, dir string) error {
	e.mu.Lock()
	commit := e.commits
	for e.inLocal < commit {
		if e.err != nil || e.ended {
			e.mu.Unlock()
			return e.Writable()
		}
		progress := e.waitLocked()
		e.mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-progress:
		}
		e.mu.Lock()
	}
	e.mu.Unlock()
	return e.local.engine.Backup(ctx, dir)
}

// Await implements store.Engine.
func (e *Engine) Await(done <-chan error) error { return e.local.engine.Await(done) }

// Stats implements store.Engine. A sync is a record in the log.
func (e *Engine) Stats() store.EngineStats {
	s := e.local.engine.Stats()
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Commits, s.Syncs, s.SyncTime, s.Unsynced, s.Waiting = e.commits, e.records, 0, e.pending, len(e.line)
	if e.err != nil {
		s.Failed = e.err
	}
	return s
}

// Copy implements store.Engine.
func (e *Engine) Copy() string { return e.local.engine.Copy() }

// GiveUp implements store.Engine.
func (e *Engine) GiveUp() {
	e.local.engine.GiveUp()
	e.mu.Lock()
	e.givenUp = true
	pending := e.commits > e.durable.Load() || len(e.line) > 0
	e.mu.Unlock()
	if pending {
		e.fail(errGivenUp)
	}
	wake(e.wakeShip)
}

var errGivenUp = errors.New("the log has not answered before the end")

// Close implements store.Engine. It waits until the log and the local engine
// have all commits, at most 10 s without an answer. Then the state can follow
// the log again. The local engine stays open.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	wake(e.wakeShip)
	wake(e.wakeApply)
	e.work.Wait()
	e.closed.Store(true)
	e.cancel(store.ErrClosed)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.commits > e.durable.Load() {
		return e.err
	}
	return nil
}
