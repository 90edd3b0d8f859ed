package store

// bulkSize is how many bytes of changes a bulk gathers, about.
const bulkSize = 1 << 20

// bulk is a batch for the changes of many objects: spill commits what has been
// gathered when that is much. It is used by one goroutine.
type bulk struct {
	engine Engine
	batch  Batch // nil: nothing is gathered
	size   int
	last   uint64 // the number of the latest commit
}

func (w *bulk) grown(bytes int) Batch {
	if w.batch == nil {
		w.batch = w.engine.Begin()
	}
	w.size += bytes
	return w.batch
}

// Set implements [Batch].
func (w *bulk) Set(key, value []byte) { w.grown(len(key)+len(value)).Set(key, value) }

// Delete implements [Batch].
func (w *bulk) Delete(key []byte) { w.grown(len(key)).Delete(key) }

// DeleteRange implements [Batch].
func (w *bulk) DeleteRange(lower, upper []byte) {
	w.grown(len(lower)+len(upper)).DeleteRange(lower, upper)
}

// Commit implements [Batch], but does not end it.
func (w *bulk) Commit() (uint64, error) {
	if w.batch == nil {
		return w.last, nil
	}
	number, err := w.batch.Commit()
	w.batch, w.size = nil, 0
	if err == nil {
		w.last = number
	}
	return number, err
}

// spill is called where what has been gathered may be committed by itself.
func (w *bulk) spill() error {
	if w.size < bulkSize {
		return nil
	}
	_, err := w.Commit()
	return err
}

// Discard implements [Batch].
func (w *bulk) Discard() {
	if w.batch != nil {
		w.batch.Discard()
		w.batch, w.size = nil, 0
	}
}
