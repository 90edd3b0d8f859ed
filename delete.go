package dog

import (
	"context"
	"errors"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// Delete deletes everything the object has stored: keys, SQL database and
// alarms. It waits for the object's turn but does not start the object. None of
// its handlers run, not even OnStop. An object in memory is reset
// ([ErrDeleted]) and its sockets are closed with 1011. The next event starts it
// again with empty storage. The replicas of a group are separate objects and
// keep their storage. Deleting a replica that is not in memory starts its
// group.
//
// The deletion is durable when Delete returns nil. In a handler Delete gives up
// the turn. An object that deletes itself is reset like any other, so Delete
// returns [ErrReset] there (see [Storage.DeleteAll] for deletion without a
// reset). Deleting an object that is not stored is not an error.
//
// Delete returns [ErrShutdown], [ErrReplicaGone] for a replica that is neither
// stored nor in memory, [ErrDeadlock], [ErrOutsideTurn], [ErrInTransaction],
// the errors of storage, [ErrReset] if the deletion could not be made durable,
// and the cause of ctx's end. If ctx ends while Delete waits for the disk, the
// object is still deleted unless the process dies.
func (s Stub[T]) Delete(ctx context.Context) error {
	return administer(ctx, s.to, "Stub.Delete", func(st *Storage) (<-chan error, error) {
		if err := st.DeleteAll(); err != nil {
			return nil, err
		}
		return st.replaced(ErrDeleted)
	})
}

// replaced commits a transaction that has replaced all stored data, and resets
// the instance, which does not know the new data. The channel it returns
// delivers whether the commit became durable. A nil channel means that it is
// durable.
func (s *Storage) replaced(cause error) (<-chan error, error) {
	if err := s.tx.Commit(); err != nil {
		return nil, err
	}
	durable := s.inst.obj.gate.Outcome()
	_ = s.inst.reset(cause) // its error is for the calls in progress
	return durable, nil
}

// administer runs an operation of the library itself on a stored object, as an
// event of the object that does not start it. do returns a channel to wait on
// afterwards, without the turn. nil means there is nothing to wait for.
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
				continue // its group was retired during the call
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
	case !done: // if done, err only reports that do has reset the object
		return err
	case ctx.Err() != nil: // perhaps because the caller is a handler of the object that was reset
		return context.Cause(ctx)
	case durable == nil:
		return nil
	}
	return o.told(ctx, durable, nil)
}

// bring returns the object that to leads to, including a replica that is not in
// memory if it has stored something. It returns errRetired, ErrReplicaGone, and
// errors of starting its group.
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
