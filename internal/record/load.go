package record

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/wire"
)

// This file stores a record when the process ends as planned, and loads it.

// Load takes over what is stored. It must have returned nil before anything is
// kept or anybody joins. What was stored of a record in memory is deleted
// first, so that a crash of this process leaves nothing that is out of date. r
// may be nil.
func (r *Record) Load(ctx context.Context) error {
	if r == nil || r.loaded.Load() {
		return nil
	}
	r.loading.Lock()
	defer r.loading.Unlock()
	if r.loaded.Load() {
		return nil
	}
	if err := r.load(ctx); err != nil {
		return err
	}
	r.loaded.Store(true)
	return nil
}

func (r *Record) load(ctx context.Context) error {
	h, entries, err := r.read()
	if err != nil || h == nil {
		return err
	}
	if !r.config.Durable {
		if err := r.delete(ctx); err != nil {
			return err
		}
	}
	r.stored.mu.Lock()
	defer r.stored.mu.Unlock()
	r.order.Lock()
	defer r.order.Unlock()
	log := history.Restore(r.config.Config, h.Gone, h.Last, h.Removed, entries, unixNow())
	nonce, earlier := wire.NewEpoch(), h.Past
	if r.config.Durable {
		r.stale = replaced(log, entries)
		s := &r.stored
		s.last, s.header, s.found, s.trimmed = log.Last(), h.Durable, true, h.Gone
		s.current = h.Durable && strings.HasSuffix(h.Nonce, "-"+r.config.Process)
	}
	switch {
	case r.stored.current: // the owner has left memory in between
		nonce = h.Nonce
	case h.Durable:
		earlier = kept(earlier, h.Gone, past{r.epoch(h.Nonce), log.Last()})
	}
	if n := len(earlier); r.config.Durable && !r.stored.current && n > 0 {
		nonce = earlier[n-1].family() + "-" + r.config.Process
	}
	r.now.Store(r.chapter(log, nonce, earlier))
	return nil
}

// replaced returns the offsets of entries that are not in the log they were
// restored to, although it is complete from there on.
func replaced(log *history.Log, entries []history.Entry) (offsets []uint64) {
	kept := log.Entries()
	for _, e := range entries {
		switch {
		case e.Offset <= log.Oldest():
		case len(kept) > 0 && kept[0].Offset == e.Offset:
			kept = kept[1:]
		default:
			offsets = append(offsets, e.Offset)
		}
	}
	return offsets
}

// read returns what is stored. The header is nil if there is nothing.
func (r *Record) read() (h *header, entries []history.Entry, err error) {
	for note, err := range store.ReadNotes(r.config.Engine, r.config.Base, store.Histories) {
		if err != nil {
			return nil, nil, err
		}
		switch {
		case note.Key == "":
			h = new(header)
			err = json.Unmarshal(note.Value, h)
		case h == nil: // what a transaction under way has left beside a deletion
			return nil, nil, nil
		case len(note.Key) != 8:
			err = fmt.Errorf("the key %q", note.Key)
		default:
			var e history.Entry
			e, err = history.Decode(binary.BigEndian.Uint64([]byte(note.Key)), note.Value)
			entries = append(entries, e)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: a history: %w", store.ErrCorrupt, err)
		}
	}
	return h, entries, nil
}

// delete durably deletes what is stored.
func (r *Record) delete(ctx context.Context) error {
	b := r.config.Engine.Begin()
	store.NotesIn(b, r.config.Base, store.Histories).DeleteAll()
	commit, err := b.Commit()
	if err != nil {
		return err
	}
	return store.AwaitDurable(ctx, r.config.Engine, commit)
}

// Save adds what Load reads to a batch, when nothing more will be kept.
func (r *Record) Save(b store.Batch) {
	r.stored.mu.Lock()
	defer r.stored.mu.Unlock()
	now, notes := r.Now(), store.NotesIn(b, r.config.Base, store.Histories)
	if r.config.Durable {
		if !r.stored.header && (r.told.Load() || r.stored.found) { // so that positions without messages stay good
			if !r.stored.found {
				notes.DeleteAll()
			}
			h := header{Durable: true, Nonce: now.nonce, Past: now.past}
			h.Gone, h.Removed = now.log.Gone()
			notes.Set("", encodeHeader(h))
		}
		return
	}
	if !r.told.Load() && len(now.past) == 0 && !r.Holds() {
		return
	}
	h := header{Last: now.Last()}
	h.Gone, h.Removed = now.log.Gone()
	h.Past = kept(now.past, h.Gone, past{now.epoch, h.Last})
	notes.Set("", encodeHeader(h))
	for _, e := range now.log.Entries() {
		notes.Set(noteKey(e.Offset), e.Encode())
	}
}
