// Package storetest has an engine whose durability a test controls.
//
// It does not know objects, only the interface of engines.
package storetest

import (
	"log/slog"
	"sync"

	"github.com/godurable/dog/internal/store"
)

// Engine keeps everything in memory. Commits become durable, or are lost, when
// the test calls a method for it. It is its own store. It also has a lease, as
// gate.Lease says, which a test may put in doubt.
type Engine struct {
	store.Engine

	mu       sync.Mutex
	commits  uint64 // guarded by mu, like all below
	durable  uint64
	waiting  []waiter
	failed   error
	refusing error
	prompt   bool
	doubt    bool
	revoked  error
	renewals []func(error)
}

type waiter struct {
	commit uint64
	notify func(error)
}

// New returns an engine whose commits wait.
func New() *Engine { return &Engine{Engine: store.NewMemory()} }

// OpenEngine makes it a store of package dog.
func (e *Engine) OpenEngine(*slog.Logger) (store.Engine, error) { return e, nil }

// Close does nothing, so that another runtime can open the engine.
func (e *Engine) Close() error { return nil }

// Prompt makes all commits durable at once from now on.
func (e *Engine) Prompt() {
	e.mu.Lock()
	e.prompt = true
	e.mu.Unlock()
	e.Flush()
}

// Flush makes all commits so far durable.
func (e *Engine) Flush() {
	e.mu.Lock()
	e.durable = e.commits
	waiting := e.waiting
	e.waiting = nil
	e.mu.Unlock()
	for _, w := range waiting {
		w.notify(nil)
	}
}

// Fail loses the commits that are not durable, and refuses all further commits.
func (e *Engine) Fail(cause error) {
	e.mu.Lock()
	e.failed = cause
	waiting := e.waiting
	e.waiting = nil
	e.mu.Unlock()
	for _, w := range waiting {
		w.notify(cause)
	}
}

// Refuse makes further commits fail with an error; nil ends that.
func (e *Engine) Refuse(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusing = err
}

// Doubt makes it uncertain who owns the engine, until Renew or Revoke.
func (e *Engine) Doubt() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.doubt = true
}

// Renew ends the doubt.
func (e *Engine) Renew() { e.settle(nil) }

// Revoke makes another node the owner of the engine, with all its commits.
func (e *Engine) Revoke(cause error) { e.settle(cause) }

func (e *Engine) settle(revoked error) {
	e.mu.Lock()
	e.doubt, e.revoked = revoked != nil, revoked
	renewals := e.renewals
	e.renewals = nil
	e.mu.Unlock()
	for _, notify := range renewals {
		notify(revoked)
	}
}

// Live implements gate.Lease.
func (e *Engine) Live() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.doubt
}

// OnLive implements gate.Lease.
func (e *Engine) OnLive(notify func(error)) {
	e.mu.Lock()
	revoked, known := e.revoked, e.revoked != nil || !e.doubt
	if !known {
		e.renewals = append(e.renewals, notify)
	}
	e.mu.Unlock()
	if known {
		notify(revoked)
	}
}

// Commits returns the number of commits so far.
func (e *Engine) Commits() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.commits
}

// Durable implements [store.Engine].
func (e *Engine) Durable() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.durable
}

// OnDurable implements [store.Engine].
func (e *Engine) OnDurable(commit uint64, notify func(error)) {
	e.mu.Lock()
	failed := e.failed
	known := commit <= e.durable
	if !known && failed == nil {
		e.waiting = append(e.waiting, waiter{commit, notify})
	}
	e.mu.Unlock()
	switch {
	case known:
		notify(nil)
	case failed != nil:
		notify(failed)
	}
}

// Begin implements [store.Engine].
func (e *Engine) Begin() store.Batch { return &batch{e.Engine.Begin(), e} }

type batch struct {
	store.Batch
	engine *Engine
}

func (b *batch) Commit() (uint64, error) {
	e := b.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed != nil {
		return 0, e.failed
	}
	if e.refusing != nil {
		return 0, e.refusing
	}
	if _, err := b.Batch.Commit(); err != nil {
		return 0, err
	}
	e.commits++
	if e.prompt {
		e.durable = e.commits
	}
	return e.commits, nil
}
