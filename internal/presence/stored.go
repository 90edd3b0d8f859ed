package presence

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/godurable/dog/internal/store"
)

// This file stores a list for the next process, and loads it.
//
// A planned end stores the list as it is. The next process deletes that before
// it uses it, so that a crash does not bring it back once more. The list of a
// [Keeper] is always stored, as its owner knows it.

// A Stored is what outlives the process of a uid.
type Stored struct {
	Member
	Here     bool // it is a member
	Told     bool // it is one by the changes taken
	Revalued bool // its value has been set since it was in a change
}

// The first byte of the note of a uid, whose key is the uid. The value follows.
const (
	here = 1 << iota
	told
	revalued
)

func (s Stored) encode() []byte {
	flags := byte(0)
	if s.Here {
		flags |= here
	}
	if s.Told {
		flags |= told
	}
	if s.Revalued {
		flags |= revalued
	}
	return append([]byte{flags}, s.Value...)
}

func decode(note store.Entry) (Stored, error) {
	if len(note.Value) == 0 {
		return Stored{}, fmt.Errorf("%w: a member", store.ErrCorrupt)
	}
	flags := note.Value[0]
	return Stored{
		Member{note.Key, string(note.Value[1:])}, flags&here != 0, flags&told != 0, flags&revalued != 0,
	}, nil
}

// header is the note with the empty key, which is no uid.
type header struct {
	Seq   uint64  // of the latest change
	Taken *Change `json:",omitempty"` // that has not been handled
}

// All returns an iterator over the uids that are members, or were by the last
// change.
func (l *List) All() iter.Seq[Stored] {
	return func(yield func(Stored) bool) {
		l.all.Scan(func(uid string, e *entry) bool {
			// A silent list has told nothing: the next process may.
			return yield(Stored{Member{uid, e.value}, l.present(e), e.told && !l.c.Silent, e.revalued})
		})
	}
}

// Restore adds a uid of an earlier process to a list without it. If it is a
// member, it begins to leave.
func (l *List) Restore(s Stored, now Time) {
	e := l.enlist(s.UID)
	e.value, e.told, e.revalued = s.Value, s.Told, s.Revalued
	if s.Told {
		l.told++
	}
	if s.Here {
		l.count++
		e.since = now
		l.leaving.Push(&e.leaving)
	}
	l.settle(e, now)
}

// RestoreChange makes a change of an earlier process the next one, if it is not
// nil, and gives later ones greater numbers than that process.
func (l *List) RestoreChange(taken *Change, seq uint64) {
	l.seq = max(l.seq, seq)
	if !l.c.Silent {
		l.taken = taken
	}
}

// Load takes over what is stored. It must have returned nil before anybody
// enters. a may be nil.
func (a *Attendance) Load(ctx context.Context) error {
	if a == nil || a.loaded.Load() {
		return nil
	}
	a.loading.Lock()
	defer a.loading.Unlock()
	if a.loaded.Load() {
		return nil
	}
	h, all, err := a.read()
	if err != nil {
		return err
	}
	if h != nil {
		if err := a.forget(ctx, all); err != nil {
			return err
		}
		a.change(func(now Time) {
			for _, s := range all {
				a.list.Restore(s, now)
			}
			a.list.RestoreChange(h.Taken, h.Seq)
		})
	}
	a.loaded.Store(true)
	return nil
}

// read returns what is stored. The header is nil if there is nothing.
func (a *Attendance) read() (h *header, all []Stored, err error) {
	engine, base := a.owner.Store()
	for note, err := range store.ReadNotes(engine, base, store.Crowd) {
		if err != nil {
			return nil, nil, err
		}
		if h == nil { // the first note
			h = new(header)
			if err := json.Unmarshal(note.Value, h); note.Key != "" || err != nil {
				return nil, nil, fmt.Errorf("%w: a list of members: %w", store.ErrCorrupt, err)
			}
			continue
		}
		s, err := decode(note)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, s)
	}
	return h, all, nil
}

// forget durably deletes what is stored, except what a Keeper would have
// stored.
func (a *Attendance) forget(ctx context.Context, all []Stored) error {
	engine, base := a.owner.Store()
	b := engine.Begin()
	notes, deletes := store.NotesIn(b, base, store.Crowd), !a.list.c.Durable
	if deletes {
		notes.DeleteAll()
	} else {
		for _, s := range all {
			if !s.Told {
				notes.Delete(s.UID)
				deletes = true
			}
		}
	}
	if !deletes {
		b.Discard()
		return nil
	}
	commit, err := b.Commit()
	if err != nil {
		return err
	}
	return store.AwaitDurable(ctx, engine, commit)
}

// Save adds what Load reads to a batch, after the last enter and leave. a may
// be nil.
func (a *Attendance) Save(b store.Batch) {
	if a == nil || !a.loaded.Load() { // then what is stored is the list
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, base := a.owner.Store()
	notes := store.NotesIn(b, base, store.Crowd)
	notes.DeleteAll() // of a Keeper
	for s := range a.list.All() {
		notes.Set(s.UID, s.encode())
	}
	a.stageHeaderLocked(notes)
}

// stageHeaderLocked stores the header, which an empty list does not need. The
// caller must hold mu.
func (a *Attendance) stageHeaderLocked(notes store.Notes) {
	h := header{Seq: a.list.seq}
	if !a.handled {
		h.Taken = a.list.taken
	}
	if h.Taken == nil && a.list.all.Len() == 0 {
		notes.Delete("")
		return
	}
	data, err := json.Marshal(h)
	if err != nil {
		panic(err) // there is nothing that cannot be encoded
	}
	notes.Set("", data)
}
