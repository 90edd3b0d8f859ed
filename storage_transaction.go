package dog

import "context"

// Transaction runs f and returns its error. If f returns an error or panics,
// all writes made in f are undone: keys, SQL and alarms. Transaction keeps the
// turn: in f, anything that waits fails with ErrInTransaction. Messages that f
// sends are sent even if f is undone. They go out with the handler's
// transaction. Transactions may be nested.
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

// restore undoes the innermost transaction. If that fails, or the instance has
// ended, the handler's whole transaction is undone at its end.
func (s *Storage) restore() {
	if err := s.enter(); err != nil {
		return
	}
	defer s.leave()
	if err := s.restoreEntered(); err != nil {
		_ = s.inst.reset(err)
	}
}

// restoreEntered is restore for a caller that has entered the storage. If it
// fails, the caller must reset the instance.
func (s *Storage) restoreEntered() error {
	depth, wiped := s.data.Saves(), s.data.Wiped()
	s.data.Restore()
	s.checkSchema = true
	if s.sql == nil {
		return nil
	}
	err := s.sql.RollbackTo(depth)
	if err == nil && wiped != s.data.Wiped() { // its pages are restored
		err = s.dropSQL()
	}
	return err
}

// Sync waits until everything the object has stored so far is durable, and
// gives up the turn while it waits. It is needed only before output that does
// not pass the gate. It returns ErrReset if the writes could not be made
// durable, ErrInTransaction, or the cause of ctx's end. ctx must be the context
// of the running handler, otherwise Sync returns ErrOutsideTurn.
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
