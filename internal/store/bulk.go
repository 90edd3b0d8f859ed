package store

// bulkSize is the approximate number of bytes of changes that a bulk collects.
const bulkSize = 1 << 20

// bulk is a batch for the changes of many objects. spill commits the collected
// changes when there are many. It must be used by only one goroutine.
type bulk struct {
	engine Engine
	batch  Batch // nil: no changes
	size   int
	last   uint64 // number of the latest commit
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

// Commit implements [Batch], but the bulk remains usable.
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

// spill commits the collected changes if there are many. It is called only
// where they may be committed separately.
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
