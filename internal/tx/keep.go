package tx

import (
	"sync"

	"github.com/godurable/dog/internal/store"
)

// This file keeps what an owner sends in the transaction in which it is sent,
// even if nothing else is stored.

// A Keeper stores the messages of an owner.
type Keeper interface {
	// Commit adds the messages to a transaction and calls commit, which commits
	// it. Messages that are kept by several owners get their order here. The
	// results are those of commit, or an error before it.
	Commit(data *store.Object, messages []any, commit func() (store.Commit, error)) (store.Commit, error)
}

// keeping is the part of a [Tx] for its Keeper. Goroutines that do not have the
// turn may use it.
type keeping struct {
	// mu is held while a transaction ends. It is taken before the owner is
	// locked.
	mu       sync.Mutex
	on       bool  // an event has the turn, and its transaction will end; guarded by mu
	messages []any // of the transaction; guarded by mu
}

// Collect begins to accept messages, until the transaction ends. It is called
// when an event gets the turn. Without a Keeper it does nothing.
func (t *Tx) Collect() {
	if t.Keeper != nil {
		t.collect()
	}
}

// collect is Collect with a Keeper, apart so that Collect can be inlined.
func (t *Tx) collect() {
	t.keeping.mu.Lock()
	defer t.keeping.mu.Unlock()
	t.keeping.on = true
}

// Keep adds a message to the transaction, which is begun if there is none, and
// calls added before the transaction can end. If added returns an error, the
// message is not kept. Keep returns false if no event has the turn: then no
// transaction is open. It needs no turn.
func (t *Tx) Keep(message any, added func() error) (kept bool, err error) {
	k := &t.keeping
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.on {
		return false, nil
	}
	if err := t.begin(); err != nil {
		return false, err
	}
	if err := added(); err != nil {
		return false, err
	}
	k.messages = append(k.messages, message)
	return true, nil
}

// Ends reports whether there is anything to commit or to undo, which the caller
// does next. If there is no transaction, none is begun by a message any more.
// The caller must have the turn.
func (t *Tx) Ends() bool {
	if t.Keeper != nil {
		t.refuse()
	}
	return t.used.Load() || t.open.Load()
}

// refuse accepts no message any more if there is no transaction. It is apart so
// that Ends can be inlined.
func (t *Tx) refuse() {
	t.keeping.mu.Lock()
	defer t.keeping.mu.Unlock()
	t.keeping.on = t.keeping.on && t.open.Load()
}

// takeMessages removes and returns the messages of a transaction that ends.
// Until ended is called, no other message is accepted or refused, so that none
// comes between the messages and the commit.
func (t *Tx) takeMessages() (messages []any, ended func()) {
	if t.Keeper == nil {
		return nil, func() {}
	}
	t.keeping.mu.Lock()
	t.keeping.on = false
	messages, t.keeping.messages = t.keeping.messages, nil
	return messages, t.keeping.mu.Unlock
}

// commitData passes the transaction to the store.
func (t *Tx) commitData(messages []any) (store.Commit, error) {
	if t.Keeper == nil {
		return t.data.Commit()
	}
	return t.Keeper.Commit(t.data, messages, t.data.Commit)
}
