package store

import "iter"

// Notes changes what the library stores about an object besides the object's
// own data, in one space. No transaction of the object reads these spaces. They
// are deleted with the object.
type Notes struct {
	to     changes
	prefix []byte
}

// changes are the methods of a [Batch] that a note needs.
type changes interface {
	Set(key, value []byte)
	Delete(key []byte)
	DeleteRange(lower, upper []byte)
}

// Notes returns the notes about an object, which may be another one, as part of
// the transaction.
func (o *Object) Notes(about Base, space Space) Notes {
	return Notes{(*noting)(o), append(about.prefix(), byte(space))}
}

// NotesIn returns the notes about an object as part of a batch.
func NotesIn(b Batch, about Base, space Space) Notes {
	return Notes{b, append(about.prefix(), byte(space))}
}

// Set adds a note. It replaces a note with the same key. value must not be
// changed.
func (n Notes) Set(key string, value []byte) { n.to.Set(n.key(key), value) }

// Delete deletes a note, which need not exist.
func (n Notes) Delete(key string) { n.to.Delete(n.key(key)) }

// DeleteRange deletes the notes with lower <= key < upper.
func (n Notes) DeleteRange(lower, upper string) { n.to.DeleteRange(n.key(lower), n.key(upper)) }

// DeleteAll deletes all notes.
func (n Notes) DeleteAll() { n.to.DeleteRange(n.prefix, successor(n.prefix)) }

func (n Notes) key(key string) []byte { return append(n.prefix[:len(n.prefix):len(n.prefix)], key...) }

// ReadNotes returns an iterator over the notes about an object. The caller owns
// them.
func ReadNotes(e Engine, about Base, space Space) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		prefix := append(about.prefix(), byte(space))
		for pair, err := range e.Scan(prefix, successor(prefix), false) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !yield(Entry{Key: string(pair.Key[len(prefix):]), Value: append([]byte{}, pair.Value...)}, nil) {
				return
			}
		}
	}
}

// noting is an object whose transaction changes notes.
type noting Object

// A note is a change of a transaction outside the object's own data.
type note struct {
	key   []byte
	value []byte // nil: deleted
	upper []byte // not nil: everything from key to before upper is deleted
}

func (o *noting) Set(key, value []byte) { o.notes = append(o.notes, note{key: key, value: value}) }
func (o *noting) Delete(key []byte)     { o.notes = append(o.notes, note{key: key}) }
func (o *noting) DeleteRange(lower, upper []byte) {
	o.notes = append(o.notes, note{key: lower, upper: upper})
}

// add adds the change to a batch.
func (n note) add(b Batch) {
	switch {
	case n.upper != nil:
		b.DeleteRange(n.key, n.upper)
	case n.value == nil:
		b.Delete(n.key)
	default:
		b.Set(n.key, n.value)
	}
}
