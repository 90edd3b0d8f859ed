package dog

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/godurable/dog/internal/session"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/tx"
)

// This file remembers which messages of clients have been handled.

// sessions is a book of sessions, with those that are stored.
type sessions struct {
	session.Book

	mu     sync.Mutex
	loaded bool // guarded by mu
}

// unixNow returns the time by which sessions age.
func unixNow() int64 { return time.Now().Unix() }

// storedSession is the stored form of a session.
type storedSession struct {
	Handled uint64
	Until   int64 // Unix seconds
}

// ownSessions returns the sessions of the clients of a plain object or a group.
// It returns nil if there are none.
func (o *objectState) ownSessions() *sessions {
	if o.group != nil {
		return o.group.sessions.Load()
	}
	if set := o.crowd.Load(); set != nil && o.replica == nil {
		return set.sessions.Load()
	}
	return nil
}

// sessionOwner returns the object with which the sessions of the object's
// clients are kept: its group if it is a replica.
func (o *objectState) sessionOwner() *objectState {
	if o.replica != nil {
		return o.replica.group.obj
	}
	return o
}

// sessionBook returns the sessions of the object's clients, once those that are
// stored have been read. It returns nil if the client has no session.
func (o *objectState) sessionBook(v1 *v1Request) (*sessions, error) {
	if v1 == nil || v1.session == "" {
		return nil, nil
	}
	owner := o.sessionOwner()
	at := &owner.socketSet().sessions
	if owner.group != nil {
		at = &owner.group.sessions
	}
	book := at.Load()
	if book == nil {
		at.CompareAndSwap(nil, &sessions{})
		book = at.Load()
	}
	book.mu.Lock()
	defer book.mu.Unlock()
	if !book.loaded {
		if err := book.load(owner); err != nil {
			return nil, err
		}
		book.loaded = true
	}
	return book, nil
}

// closeSession ends the connection of the client's session.
func (s *Socket) closeSession() {
	if s.v1 != nil && s.v1.link != nil {
		s.v1.link.Close(unixNow() + s.obj.sessionAge())
	}
}

// sessionAge returns for how many seconds the session of a client that is not
// connected is remembered.
func (o *objectState) sessionAge() int64 { return o.sessionOwner().ns.history.config().Age }

// load adds the sessions that are stored, and deletes those that have expired.
// The caller must hold mu.
func (b *sessions) load(owner *objectState) error {
	e, base, now := owner.runtime().host.Engine, owner.ID.Base(), unixNow()
	var expired []string
	for note, err := range store.ReadNotes(e, base, store.Sessions) {
		if err != nil {
			return err
		}
		var stored storedSession
		if err := json.Unmarshal(note.Value, &stored); err != nil {
			return fmt.Errorf("%w: a session: %w", store.ErrCorrupt, err)
		}
		if stored.Until < now {
			expired = append(expired, note.Key)
			continue
		}
		b.Restore(note.Key, stored.Handled, stored.Until, now)
	}
	if len(expired) == 0 || e.Writable() != nil {
		return nil
	}
	batch := e.Begin()
	for _, key := range expired {
		store.NotesIn(batch, base, store.Sessions).Delete(key)
	}
	_, err := batch.Commit()
	return err
}

// note adds to the transaction of a message's handler that the message was
// handled.
func (s *Socket) note(tx *tx.Tx, commits, number uint64) error {
	value, err := json.Marshal(storedSession{number, unixNow() + s.obj.sessionAge()})
	if err != nil {
		return err
	}
	return tx.NoteSince(commits, s.obj.sessionOwner().ID.Base(), store.Sessions, s.v1.link.Name(), value)
}

// noteSession adds a session to a batch, for load.
func noteSession(b store.Batch, base store.Base, r session.Record) error {
	value, err := json.Marshal(storedSession{r.Handled, r.Until})
	if err == nil {
		store.NotesIn(b, base, store.Sessions).Set(r.Name, value)
	}
	return err
}
