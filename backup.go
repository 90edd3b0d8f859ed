package dog

import (
	"context"
	"errors"

	"github.com/godurable/dog/internal/store"
)

var errImported = errors.New("dog: object was imported")

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
// In a handler Backup gives up the turn. It returns [ErrNoStore],
// [ErrShutdown], [ErrStoreFull], [ErrStoreFailed], errors of the file system
// ([io/fs.ErrExist]; [io/fs.ErrInvalid] if dir is in a data directory, or in
// another backup), [ErrOutsideTurn], [ErrInTransaction], and the cause of ctx's
// end.
func (rt *Runtime) Backup(ctx context.Context, dir string) error {
	if rt == nil || rt.ctx == nil {
		return notRunning("Runtime.Backup")
	}
	if rt.opts.Store == nil {
		return ErrNoStore
	}
	leave, err := rt.enterFrom(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return awaitDurable(ctx, nil, func() error { return rt.engine.Backup(ctx, dir) })
}

// Export writes the object's storage to a SQLite file, which must not exist.
// The file has the object's SQL database. Its keys, its alarms, and everything
// else that [Stub.Import] needs are in tables whose names begin with "_dog_".
// The data is durable before the file appears. The file can be read only by its
// owner. It is made and put in place like a [Runtime.Backup], and if Export
// fails there is no file.
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
	return administer(ctx, s.to, "Stub.Export", func(st *Storage) (<-chan error, error) {
		o := st.inst.obj
		if earlier := o.gate.Outcome(); earlier != nil {
			if err := o.told(ctx, earlier, nil); err != nil {
				return nil, err
			}
		}
		if err := st.enter(); err != nil {
			return nil, err
		}
		defer st.leave()
		return nil, files.Export(ctx, file, st.tx.Data().Pages(), st.tx.Data().Archive(o.ns.name, o.name, o.id.String()))
	})
}

// Import stores the contents of a SQLite file. The file may have been written
// by [Stub.Export], for this object or another object, of this type or another.
// Any other SQLite file becomes the object's SQL database. Either everything is
// stored or nothing. The data is durable when Import returns nil.
//
// Import waits for the object's turn and keeps it while it reads the file. It
// ends when ctx ends, however expensive the file is made to be to read, and
// when SQLite works on the file for an hour in a single operation
// ([ErrSQLLimit]). Import does not start the object. An object in memory is
// reset and its sockets are closed with 1011, since it does not know the
// imported data. In a handler Import gives up the turn. Imported data is held
// in memory until it is stored, so an object should be small compared to
// memory. Import makes copies of the file in the directory for temporary files.
// If there is no space left there, it returns [ErrStoreFull].
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
	return administer(ctx, s.to, "Stub.Import", func(st *Storage) (<-chan error, error) {
		if err := st.load(ctx, files, file); err != nil {
			return nil, errors.Join(err, st.tx.Rollback(err))
		}
		return st.replaced(errImported)
	})
}

// load reads a file into the transaction.
func (s *Storage) load(ctx context.Context, files store.Files, file string) error {
	o := s.inst.obj
	_, found, err := store.Find(o.runtime().engine, o.id.base())
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
	return files.Import(ctx, file, s.tx.Data().Pages(), sqlLimits, store.ArchiveTables, func(table string, row []any) error {
		if table == store.AlarmsTable && !o.ns.alarms {
			return o.ns.noAlarms("Stub.Import")
		}
		return s.tx.Data().Unarchive(table, row)
	})
}

// files returns the store's reader and writer of files, or ErrNoStore.
func (s Stub[T]) files(op string) (store.Files, error) {
	if s.to == nil {
		return nil, notRunning(op)
	}
	if files, ok := s.to.runtime().engine.(store.Files); ok {
		return files, nil
	}
	return nil, ErrNoStore
}
