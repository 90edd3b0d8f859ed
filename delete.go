package dog

import (
	"context"
	"errors"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// Delete deletes everything the object has stored: keys, SQL database and
// alarms. It waits for the object's turn, and the object is not started for it;
// no handler of it runs, OnStop neither. An object in memory is reset
// ([ErrDeleted]), its sockets are closed with 1011, and the next event starts
// it anew, with nothing stored. The replicas of a group are objects of their
// own and keep what they have. To delete a replica that is not in memory its
// group is started.
//
// The deletion is durable when Delete returns nil. In a handler Delete gives up
// the turn; an object that deletes itself is reset like any other, so Delete
// returns [ErrReset] there (see [Storage.DeleteAll] for less). To delete what
// is not stored is no error.
//
// Errors: [ErrShutdown], [ErrReplicaGone] for a replica that is neither stored
// nor in memory, [ErrDeadlock], [ErrOutsideTurn], [ErrInTransaction], those of
// storage, [ErrReset] when the deletion could not be made durable, and the
// cause of ctx's end; if ctx ends while Delete waits for the disk, the object
// is deleted all the same unless the process dies.
func (s Stub[T]) Delete(ctx context.Context) error {
	return administer(ctx, s.to, "Stub.Delete", func(st *Storage) (<-chan error, error) {
		if err := st.DeleteAll(); err != nil {
			return nil, err
		}
		return st.replaced(ErrDeleted)
	})
}

// replaced commits a transaction that has replaced all that is stored, and
// resets the instance, which knows nothing of it. It returns where to learn
// whether the commit is durable; nil: it is.
func (s *Storage) replaced(cause error) (<-chan error, error) {
	if err := s.commit(); err != nil {
		return nil, err
	}
	durable := s.inst.obj.gate.Outcome()
	_ = s.inst.reset(cause) // its error is for the calls under way
	return durable, nil
}

// administer runs what the library itself does with a stored object, as an
// event of the object that does not start it. do returns what to wait for
// afterwards, without the turn; nil for nothing.
func administer(ctx context.Context, to target, op string, do func(*Storage) (durable <-chan error, err error)) error {
	if to == nil {
		return notRunning(op)
	}
	leave, err := to.runtime().enterFrom(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return awaitDurable(ctx, nil, func() error {
		for {
			o, err := bring(ctx, to)
			if err == nil {
				err = o.administer(ctx, do)
			}
			if !errors.Is(err, errRetired) {
				return err
			}
			if o == nil {
				continue // its group was retired meanwhile
			}
			if err := to.retired(o); err != nil {
				return err
			}
		}
	})
}

func (o *object) administer(ctx context.Context, do func(*Storage) (<-chan error, error)) error {
	var durable <-chan error
	var done bool
	err := o.admin(ctx, turn.OriginOf(ctx), func(s *Storage) (err error) {
		durable, err = do(s)
		done = err == nil
		return err
	})
	switch {
	case !done: // else an error says only that do has reset the object
		return err
	case ctx.Err() != nil: // perhaps because that is the very object whose handler waits here
		return context.Cause(ctx)
	case durable == nil:
		return nil
	}
	return o.told(ctx, durable, nil)
}

// bring returns the object that to leads to, a replica that is not in memory
// too, if it has stored something. Errors: errRetired, ErrReplicaGone, and
// those of the start of its group.
func bring(ctx context.Context, to target) (*object, error) {
	o, err := objectOf(ctx, to)
	if !errors.Is(err, ErrReplicaGone) {
		return o, err
	}
	ns := to.namespace()
	id, _ := to.identity()
	stored, found, failed := store.Find(ns.rt.engine, id.base())
	if failed != nil {
		return nil, failed
	}
	if !found || stored.Group == nil {
		return nil, err
	}
	groups := ns.rt.numbered(stored.Group.Namespace)
	if groups == nil {
		return nil, err
	}
	group := groups.object(idOf(groups.origin, stored.Group.Base), stored.Group.Name)
	return group.books.revive(ctx, ns, id, stored.Name)
}

// numbered returns the registered namespace with a number, or nil.
func (rt *Runtime) numbered(number uint32) *namespace {
	for _, ns := range rt.registered() {
		if ns.number == number {
			return ns
		}
	}
	return nil
}
