package dog

import (
	"context"
	"errors"

	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// Backup writes a copy of the store into the directory dir, which must not
// exist. The store stays in use while the copy is made. The copy has everything
// committed before the call, and each object in a state that it has had. It is
// opened like the original, by package disk, even if it is a copy of a store in
// memory. When Backup returns nil, the copy is complete and durable. Otherwise
// dir does not exist, nor do parent directories that Backup has made, unless
// something else has been put into them. Like the store's own files, the copy's
// files can be read only by their owner.
//
// The copy is made beside dir, in a directory named ".dog-" and a random
// number, and renamed in one step at the end. That step fails if dir exists by
// then: of several backups to one name, one succeeds. If a process is killed
// and leaves such a directory behind, the next backup or export beside it
// removes it, and nothing else.
//
// When the copy is complete, ctx no longer counts: Backup waits until the copy
// is durable under its name, even if the disk is slow, or returns the error
// that prevented this and has removed the copy. If ctx ends before that while
// the disk does not respond, Backup returns at once. Then dir is never made,
// and what else has been made is removed when the disk responds.
//
// In a handler Backup gives up the turn. It returns [ErrNoStore],
// [ErrShutdown], [ErrStoreFull], [ErrStoreFailed], errors of the file system
// ([io/fs.ErrExist]; [io/fs.ErrInvalid] if dir is in a data directory, or in
// another backup), [ErrOutsideTurn], [ErrInTransaction], and the cause of ctx's
// end.
func (rt *Runtime) Backup(ctx context.Context, dir string) error {
	if rt == nil || rt.host == nil {
		return notRunning("Runtime.Backup")
	}
	if rt.opts.Store == nil {
		return ErrNoStore
	}
	leave, err := rt.host.EnterFrom(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return object.AwaitDurable(ctx, nil, func() error { return rt.host.Engine.Backup(ctx, dir) })
}

// Export writes the object's storage to a SQLite file, which must not exist.
// The file has the object's SQL database. Its keys, its alarms, and everything
// else that [Stub.Import] needs are in tables whose names begin with "_dog_".
// The data is durable before the file appears. The file can be read only by its
// owner. It is made and put in place like a [Runtime.Backup], and if Export
// fails there is no file. Export succeeds if ctx ends after the file is
// complete.
//
// Export waits for the object's turn and keeps it until the file is written or
// ctx ends. It does not start the object. Use it for maintenance, not in
// requests. An object without stored data gives a file without rows. In a
// handler Export gives up the turn. Exporting a replica that is not in memory
// starts its group.
//
// Export returns the errors of [Stub.Delete], [ErrNoStore] if Options.Store has
// no SQLite, [ErrStoreFull] if the file does not fit, and errors of the file
// system ([io/fs.ErrExist]; [io/fs.ErrInvalid] if the file would be in a data
// directory or a backup).
func (s Stub[T]) Export(ctx context.Context, file string) error {
	files, err := s.files("Stub.Export")
	if err != nil {
		return err
	}
	return administer(ctx, ctx, s.to, "Stub.Export", func(st *Storage) (<-chan error, error) {
		o := st.life.Object()
		if earlier := o.Gate.Outcome(); earlier != nil {
			if err := o.AwaitOutcome(ctx, earlier, nil); err != nil {
				return nil, err
			}
		}
		if err := st.enter(); err != nil {
			return nil, err
		}
		defer st.leave()
		return nil, files.Export(
			ctx, file, st.life.Tx.Data().Pages(), st.life.Tx.Data().Archive(o.Class.Name, o.Name, o.ID.String()),
		)
	})
}

// Import stores the contents of a SQLite file. The file may have been written
// by [Stub.Export], for this object or another object, of this type or another.
// Any other SQLite file becomes the object's SQL database. Either everything is
// stored or nothing. The data is durable when Import returns nil.
//
// Import waits for the object's turn and keeps it while it reads the file. It
// ends when ctx ends, even if the file was made to be slow to read, and when a
// single operation of SQLite on the file takes an hour ([ErrSQLLimit]). When
// everything is read, ctx no longer counts: Import waits until the data is
// durable. So nothing is stored if Import returns the cause of ctx's end.
// Import does not start the object. An object in memory is reset and its
// sockets are closed with 1011, since it does not know the imported data. In a
// handler Import gives up the turn. Imported data is held in memory until it is
// stored, so an object should be small compared to memory. Import makes copies
// of the file in the directory for temporary files. If there is no space left
// there, it returns [ErrStoreFull].
//
// Import returns [ErrNotEmpty] if the object has stored something, the errors
// of [Stub.Export], [ErrStoreCorrupt] if the file is damaged or not valid,
// [ErrStoreTooNew] if a later version of the library has exported it, a
// [UsageError] if it has alarms and the type has no OnAlarm, [ErrSQLRefused] if
// it needs something that this SQLite lacks, such as a module, a function or a
// collation of the program that made it, and [ErrSQLLimit] if it has a table,
// row or value over the limits of [SQL].
func (s Stub[T]) Import(ctx context.Context, file string) error {
	files, err := s.files("Stub.Import")
	if err != nil {
		return err
	}
	return administer(ctx, context.WithoutCancel(ctx), s.to, "Stub.Import", func(st *Storage) (<-chan error, error) {
		if err := st.load(ctx, files, file); err != nil {
			return nil, errors.Join(err, st.life.Tx.Rollback(err))
		}
		return st.replaced(ctx, object.ErrImported)
	})
}

// load reads a file into the transaction.
func (s *Storage) load(ctx context.Context, files store.Files, file string) error {
	o := stateOf(s.life.Object())
	_, found, err := store.Find(o.runtime().host.Engine, o.ID.Base())
	if err != nil {
		return err
	}
	if found {
		return ErrNotEmpty
	}
	if err := s.write(); err != nil {
		return err
	}
	defer s.leave()
	s.life.Tx.Data().DeleteAll() // what is stored beside the object's own data
	err = files.Import(
		ctx, file, s.life.Tx.Data().Pages(), sqlLimits, store.ArchiveTables,
		func(table string, row []any) error {
			if table == store.AlarmsTable && o.ns.OnAlarm == nil {
				return o.ns.noAlarms("Stub.Import")
			}
			return s.life.Tx.Data().Unarchive(table, row)
		},
	)
	if err == nil {
		// Numbers of commands may have been used since the export.
		s.life.Tx.Data().Delete(store.Keys, hook.EpochKey)
	}
	return err
}

// files returns the store's reader and writer of files, or ErrNoStore.
func (s Stub[T]) files(op string) (store.Files, error) {
	if s.to == nil {
		return nil, notRunning(op)
	}
	if files, ok := s.to.runtime().host.Engine.(store.Files); ok {
		return files, nil
	}
	return nil, ErrNoStore
}

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
	return administer(ctx, ctx, s.to, "Stub.Delete", func(st *Storage) (<-chan error, error) {
		if err := st.DeleteAll(); err != nil {
			return nil, err
		}
		return st.replaced(ctx, ErrDeleted)
	})
}

// replaced commits a transaction that has replaced all stored data, and resets
// the life, which does not know the new data. The messages that were kept go
// with the old data. The channel it returns
// delivers whether the commit became durable. A nil channel means that it is
// durable. If ctx belongs to a handler of the life, replaced returns the
// error of the reset.
func (s *Storage) replaced(ctx context.Context, cause error) (<-chan error, error) {
	if err := s.life.Tx.Commit(); err != nil {
		return nil, err
	}
	if r := stateOf(s.life.Object()).ownHistory(); r != nil {
		s.life.Object().Gate.Send(func(lost error) { // after what was sent before
			if lost == nil {
				r.Clear()
			}
		})
	}
	durable := s.life.Object().Gate.Outcome()
	err := s.life.Reset(cause) // for the calls in progress
	if e := turn.From(ctx); e != nil && object.LifeOf(e) == s.life {
		return nil, err
	}
	return durable, nil
}

// administer runs an operation of the library itself on a stored object, as an
// event of the object that does not start it. do returns a channel to wait on
// afterwards, without the turn, while wait is not done. nil means there is
// nothing to wait for. Once do has succeeded, the end of ctx no longer counts.
func administer(
	ctx, wait context.Context, to target, op string, do func(*Storage) (durable <-chan error, err error),
) error {
	if to == nil {
		return notRunning(op)
	}
	leave, err := to.runtime().host.EnterFrom(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return object.AwaitDurable(ctx, nil, func() error {
		for {
			o, err := bring(ctx, to)
			if err == nil {
				err = o.administer(ctx, wait, do)
			}
			if !errors.Is(err, object.ErrRetired) {
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

func (o *objectState) administer(ctx, wait context.Context, do func(*Storage) (<-chan error, error)) error {
	var durable <-chan error
	var done bool
	err := o.Admin(ctx, turn.OriginOf(ctx), func(life *object.Life) (err error) {
		durable, err = do(&Storage{life})
		done = err == nil
		return err
	})
	switch {
	case !done: // if done, err only reports that do has reset the object
		return err
	case durable == nil:
		return nil
	}
	return o.AwaitOutcome(wait, durable, nil)
}

// bring returns the object that to leads to, including a replica that is not in
// memory if it has stored something. It returns object.ErrRetired,
// ErrReplicaGone, and errors of starting its group.
func bring(ctx context.Context, to target) (*objectState, error) {
	o, err := objectOf(ctx, to)
	if !errors.Is(err, ErrReplicaGone) {
		return o, err
	}
	ns := to.namespace()
	id, _ := to.identity()
	stored, found, failed := store.Find(ns.rt.host.Engine, object.ID(id).Base())
	if failed != nil {
		return nil, failed
	}
	if !found || stored.Group == nil {
		return nil, err
	}
	revived, failed := ns.Revive(ctx, object.ID(id), stored)
	if errors.Is(failed, object.ErrUnregistered) {
		return nil, err
	}
	return stateOf(revived), failed
}
