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
	mu       sync.Mutex // takeMessages before the owner is locked
	on       bool       // an event has the turn, and its transaction will end; guarded by mu
	messages []any      // of the transaction; guarded by mu
}

// Collect begins to accept messages, until the transaction ends. It is called
// when an event gets the turn. Without a Keeper it does nothing.
func (t *Tx) Collect() {
	if t.Keeper != nil {
		t.keeping.set(true)
	}
}

func (k *keeping) set(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.on = on
}

// Keep adds a message to the transaction, which is begun if there is none. It
// returns false if no event has the turn. It needs no turn.
func (t *Tx) Keep(message any) (kept bool, err error) {
	k := &t.keeping
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.on {
		return false, nil
	}
	if err := t.begin(); err != nil {
		return false, err
	}
	k.messages = append(k.messages, message)
	return true, nil
}

// Ends reports whether there is anything to commit or to undo, and accepts no
// further messages. The caller must have the turn.
func (t *Tx) Ends() bool {
	if t.Keeper != nil {
		t.keeping.set(false)
	}
	return t.used.Load() || t.open.Load()
}

// takeMessages removes and returns the messages of a transaction that ends.
func (t *Tx) takeMessages() []any {
	if t.Keeper == nil {
		return nil
	}
	t.keeping.mu.Lock()
	defer t.keeping.mu.Unlock()
	t.keeping.on = false
	messages := t.keeping.messages
	t.keeping.messages = nil
	return messages
}

// commitData passes the transaction to the store.
func (t *Tx) commitData(messages []any) (store.Commit, error) {
	if t.Keeper == nil {
		return t.data.Commit()
	}
	return t.Keeper.Commit(t.data, messages, t.data.Commit)
}
