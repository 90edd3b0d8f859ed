package session

import (
	"encoding/json"
	"fmt"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/tx"
)

// stored is the stored form of a session. Its name is the key.
type stored struct {
	Handled uint64
	Until   int64 // Unix seconds
}

// Load adds the sessions that are stored with the owner of the book, and
// deletes those that have expired. It does so once, unless it fails. Times are
// in Unix seconds.
func (b *Book) Load(e store.Engine, owner store.Base, now int64) error {
	b.loading.Lock()
	defer b.loading.Unlock()
	if b.loaded {
		return nil
	}
	if err := b.load(e, owner, now); err != nil {
		return err
	}
	b.loaded = true
	return nil
}

func (b *Book) load(e store.Engine, owner store.Base, now int64) error {
	var expired []string
	for note, err := range store.ReadNotes(e, owner, store.Sessions) {
		if err != nil {
			return err
		}
		var s stored
		if err := json.Unmarshal(note.Value, &s); err != nil {
			return fmt.Errorf("%w: a session: %w", store.ErrCorrupt, err)
		}
		if s.Until < now {
			expired = append(expired, note.Key)
			continue
		}
		b.Restore(note.Key, s.Handled, s.Until, now)
	}
	if len(expired) == 0 || e.Writable() != nil {
		return nil
	}
	batch := e.Begin()
	for _, key := range expired {
		store.NotesIn(batch, owner, store.Sessions).Delete(key)
	}
	_, err := batch.Commit()
	return err
}

// maxStale is how many sessions that were forgotten a message removes from the
// store: more than one, so that they become fewer while others are added.
const maxStale = 2

// Note adds to the transaction of a message's handler, in which there had been
// this many commits when the handler began, that the message was handled. It
// also removes sessions that the book has forgotten. If the transaction is
// undone, they remain until Load.
func (l *Link) Note(t *tx.Tx, commits uint64, owner store.Base, number uint64, until int64) error {
	value, err := json.Marshal(stored{number, until})
	if err != nil {
		return err
	}
	return t.NoteSince(commits, owner, store.Sessions, func(notes store.Notes) {
		notes.Set(l.name, value)
		for _, name := range l.book.takeStale(maxStale) {
			notes.Delete(name)
		}
	})
}

// takeStale returns at most n sessions that were forgotten and may be stored,
// each of them once.
func (b *Book) takeStale(n int) (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.stale {
		if len(names) == n {
			break
		}
		names = append(names, name)
		delete(b.stale, name)
	}
	return names
}

// Save adds the sessions that have handled messages to a batch, for Load. Those
// that are connected are to be remembered until a time.
func (b *Book) Save(batch store.Batch, owner store.Base, now, until int64) error {
	for _, r := range b.All(now, until) {
		value, err := json.Marshal(stored{r.Handled, r.Until})
		if err != nil {
			return err
		}
		store.NotesIn(batch, owner, store.Sessions).Set(r.Name, value)
	}
	return nil
}
