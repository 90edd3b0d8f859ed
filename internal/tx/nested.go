package tx

// Nested reports whether a nested transaction is open. The caller must have the
// turn.
func (t *Tx) Nested() bool { return t.used.Load() && t.data.Saves() > 0 }

// Nest runs f in a nested transaction and returns its error. If f returns an
// error or panics, everything that f has changed is undone.
func (t *Tx) Nest(f func() error) error {
	if err := t.save(); err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep { // an error or a panic
			t.restore()
		}
	}()
	if err := f(); err != nil {
		return err
	}
	keep = true
	return t.keep()
}

func (t *Tx) save() error {
	if err := t.Enter(); err != nil {
		return err
	}
	defer t.Leave()
	return t.saveEntered()
}

func (t *Tx) saveEntered() error {
	if t.sql != nil {
		if err := t.sql.Savepoint(t.data.Saves() + 1); err != nil {
			return err
		}
	}
	t.data.Save()
	return nil
}

func (t *Tx) keep() error {
	if err := t.Enter(); err != nil {
		return err
	}
	defer t.Leave()
	return t.keepEntered()
}

func (t *Tx) keepEntered() error {
	depth := t.data.Saves()
	t.data.Release()
	if t.sql != nil {
		return t.sql.Release(depth)
	}
	return nil
}

// restore undoes the innermost transaction. If that fails, or the owner is
// over, the whole transaction is undone at its end.
func (t *Tx) restore() {
	if err := t.Enter(); err != nil {
		return
	}
	defer t.Leave()
	if err := t.restoreEntered(); err != nil {
		_ = t.Owner.Reset(err)
	}
}

// restoreEntered is restore for a caller that has entered. If it fails, the
// caller must reset the owner.
func (t *Tx) restoreEntered() error {
	depth, wiped := t.data.Saves(), t.data.Wiped()
	t.data.Restore()
	t.checkSchema = true
	if t.sql == nil {
		return nil
	}
	err := t.sql.RollbackTo(depth)
	if err == nil && wiped != t.data.Wiped() { // its pages are restored
		err = t.dropSQL()
	}
	return err
}
