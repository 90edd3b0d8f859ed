package dog

import (
	"context"
	"errors"

	"github.com/godurable/dog/internal/store"
)

var errImported = errors.New("dog: object was imported")

// Backup writes a copy of the store into a directory, which must not exist,
// while everything goes on. The copy has all that was committed before the
// call, and of each object a state in which it has been; it is opened like the
// original, by package disk, and so is that of a store in memory. It is
// complete and durable when Backup returns nil; otherwise there is no such
// directory, nor those above it that Backup has made, unless there is something
// else in them by then. Like the store's own, the copy's files may be read by
// nobody else.
//
// The copy is made beside dir, in a directory named ".dog-" and a random
// number, and placed by one step at the end, which fails when there is
// something of that name by then: of several backups to one name one succeeds.
// What a killed process has left of such directories the next backup or export
// beside it removes, and nothing else.
//
// In a handler Backup gives up the turn. Errors: [ErrNoStore], [ErrShutdown],
// [ErrStoreFull], [ErrStoreFailed], those of the file system ([io/fs.ErrExist];
// [io/fs.ErrInvalid] when dir lies in a data directory, or in another backup),
// [ErrOutsideTurn], [ErrInTransaction], and the cause of ctx's end.
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

// Export writes what the object has stored to a SQLite file, which must not
// exist: its database, and besides its keys, its alarms, and what else
// [Stub.Import] needs, in tables whose names begin with "_dog_". All of that is
// durable before there is a file, which nobody else may read; it is made and
// placed like a [Runtime.Backup], and when Export fails there is none.
//
// Export waits for the object's turn and keeps it until the file is written, or
// ctx ends; the object is not started for it. It belongs into maintenance, not
// into requests. An object that has nothing stored gives a file without rows.
// In a handler Export gives up the turn. Of a replica that is not in memory the
// group is started.
//
// Errors: those of [Stub.Delete], [ErrNoStore] when Options.Store has no
// SQLite, [ErrStoreFull] when the file does not fit, and those of the file
// system ([io/fs.ErrExist]; [io/fs.ErrInvalid] when the file would lie in a
// data directory or a backup).
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
		return nil, files.Export(ctx, file, st.data.Pages(), st.data.Archive(o.ns.name, o.name, o.id.String()))
	})
}

// Import stores what a SQLite file holds: one that [Stub.Export] has written,
// of this object or another one, of this type or another, or any other, which
// becomes the object's SQL database. All of it is stored, or nothing, and
// durable when Import returns nil.
//
// Import waits for the object's turn and keeps it while it reads the file; the
// end of ctx ends that, whatever the file is made to cost, and so does an hour
// that SQLite works on it in one go ([ErrSQLLimit]). The object is not started
// for it. An object in memory is reset, and its sockets are closed with 1011,
// since it knows nothing of what has been stored. In a handler Import gives up
// the turn. What is imported is in memory until it is stored, so objects should
// be small against that. Copies of the file are made in the directory for
// temporary files, which is where there may be no space left ([ErrStoreFull]).
//
// Errors: [ErrNotEmpty] when the object has stored something, those of
// [Stub.Export], [ErrStoreCorrupt] when the file is damaged or not what it
// should be, [ErrStoreTooNew] when a later version of the library has exported
// it, a [UsageError] when it has alarms and the type has no OnAlarm,
// [ErrSQLRefused] when it needs what this SQLite does not have, such as a
// module, a function or a collation of its maker's, and [ErrSQLLimit] when it
// has a table, row or value over the limits of [SQL].
func (s Stub[T]) Import(ctx context.Context, file string) error {
	files, err := s.files("Stub.Import")
	if err != nil {
		return err
	}
	return administer(ctx, s.to, "Stub.Import", func(st *Storage) (<-chan error, error) {
		if err := st.load(ctx, files, file); err != nil {
			return nil, errors.Join(err, st.rollback(err))
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
	return files.Import(ctx, file, s.data.Pages(), sqlLimits, store.ArchiveTables, func(table string, row []any) error {
		if table == store.AlarmsTable && !o.ns.alarms {
			return o.ns.noAlarms("Stub.Import")
		}
		return s.data.Unarchive(table, row)
	})
}

// files returns what reads and writes files for the store, or ErrNoStore.
func (s Stub[T]) files(op string) (store.Files, error) {
	if s.to == nil {
		return nil, notRunning(op)
	}
	if files, ok := s.to.runtime().engine.(store.Files); ok {
		return files, nil
	}
	return nil, ErrNoStore
}
