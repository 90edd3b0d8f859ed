package store

import "iter"

// Notes are what the library stores about an object besides the object's own
// data: they are in spaces that no transaction of the object reads. They are
// deleted with the object.

// Note adds a note about an object, which may be another one, to the
// transaction.
func (o *Object) Note(about Base, space Space, key string, value []byte) {
	o.notes = append(o.notes, Pair{Key: noteKey(about, space, key), Value: value})
}

func noteKey(about Base, space Space, key string) []byte {
	return append(append(about.prefix(), byte(space)), key...)
}

// Notes returns an iterator over the notes about an object in a space. The
// caller owns them.
func Notes(e Engine, about Base, space Space) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		prefix := noteKey(about, space, "")
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

// SetNote adds a note about an object to a batch.
func SetNote(b Batch, about Base, space Space, key string, value []byte) {
	b.Set(noteKey(about, space, key), value)
}

// DeleteNote deletes a note about an object in a batch.
func DeleteNote(b Batch, about Base, space Space, key string) { b.Delete(noteKey(about, space, key)) }
