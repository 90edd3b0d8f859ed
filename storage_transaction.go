package dog

import "context"

// Transaction runs f; when f returns an error or panics, everything stored in f
// is undone: keys, SQL and alarms. The turn is kept: what waits fails in f with
// ErrInTransaction. Messages that f sends are sent though f is undone; they go
// with the handler's transaction. Transactions may be nested. What f returns is
// returned.
func (s *Storage) Transaction(f func() error) error {
	if err := s.save(); err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep { // an error or a panic
			s.restore()
		}
	}()
	if err := f(); err != nil {
		return err
	}
	keep = true
	return s.keep()
}

func (s *Storage) save() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.saveEntered()
}

func (s *Storage) saveEntered() error {
	if s.sql != nil {
		if err := s.sql.Savepoint(s.data.Saves() + 1); err != nil {
			return err
		}
	}
	s.data.Save()
	return nil
}

func (s *Storage) keep() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.keepEntered()
}

func (s *Storage) keepEntered() error {
	depth := s.data.Saves()
	s.data.Release()
	if s.sql != nil {
		return s.sql.Release(depth)
	}
	return nil
}

// restore undoes the innermost transaction. If that fails, or the instance is
// over, the whole of the handler's is undone at its end.
func (s *Storage) restore() {
	if err := s.enter(); err != nil {
		return
	}
	defer s.leave()
	if err := s.restoreEntered(); err != nil {
		_ = s.inst.reset(err)
	}
}

// restoreEntered is restore of a caller that has entered, and that has to reset
// the instance when it fails.
func (s *Storage) restoreEntered() error {
	depth, wiped := s.data.Saves(), s.data.Wiped()
	s.data.Restore()
	s.checkSchema = true
	if s.sql == nil {
		return nil
	}
	err := s.sql.RollbackTo(depth)
	if err == nil && wiped != s.data.Wiped() { // its pages are back
		err = s.dropSQL()
	}
	return err
}

// Sync waits until what the object has stored so far is durable, and gives up
// the turn meanwhile. It is needed only to tell somebody whom the gate does not
// see. Errors: ErrReset when it could not be made durable, ErrInTransaction,
// the cause of ctx's end. ctx must be that of the running handler, else
// ErrOutsideTurn.
func (s *Storage) Sync(ctx context.Context) error {
	if s == nil || s.inst == nil {
		return notRunning("Storage.Sync")
	}
	inst, err := running(ctx)
	if err != nil {
		return err
	}
	if inst != s.inst {
		return ErrOutsideTurn
	}
	return awaitDurable(ctx, nil, func() error { return nil })
}
