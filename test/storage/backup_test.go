package storage_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/osfile"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestBackup_IsAnIndependentStore(t *testing.T) {
	dir := t.TempDir()
	o := newParcels(t, "parcel", dog.Options{Store: disk.At(filepath.Join(dir, "data"))})
	fill(t, o.Named("a"), "x")
	copied := filepath.Join(dir, "copy")
	require.NoError(t, o.rt.Backup(t.Context(), copied))
	fill(t, o.Named("a"), "y")

	restored := newParcels(t, "parcel", dog.Options{Store: disk.At(copied)})
	require.Equal(t, "x", contentOf(t, restored.Named("a")))
	require.Equal(t, "y", contentOf(t, o.Named("a")))
	require.Error(t, o.rt.Backup(t.Context(), copied), "the directory exists")
}

// A store in memory is backed up like one on a disk: the copy outlives it.
func TestBackup_StoreInMemoryIsBackedUpToADirectory(t *testing.T) {
	for name, kept := range map[string]dog.Store{"Memory": disk.Memory(), "Disk": dogtest.NewDisk(t)} {
		t.Run(name, func(t *testing.T) {
			o := newParcels(t, "parcel", dog.Options{Store: kept})
			fill(t, o.Named("a"), "x")
			copied := filepath.Join(t.TempDir(), "deep", "copy")
			require.NoError(t, o.rt.Backup(t.Context(), copied))
			require.ErrorIs(t, o.rt.Backup(t.Context(), copied), fs.ErrExist)
			require.NoError(t, o.rt.Shutdown(t.Context()))
			restored := newParcels(t, "parcel", dog.Options{Store: disk.At(copied)})
			require.Equal(t, "x", contentOf(t, restored.Named("a")))
		})
	}
}

// Wherever space runs out, also for temporary files, the error is ErrStoreFull,
// nothing is left, and nothing is stored.
func TestBackup_FullDiskLeavesNothingOfBackupExportOrImport(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
	stow(t, o.Named("a"), time.Now().Add(time.Hour))
	file := filepath.Join(t.TempDir(), "a.db")
	require.NoError(t, o.Named("a").Export(t.Context(), file))
	for name, work := range map[string]func(target string) error{
		"backup": func(target string) error { return o.rt.Backup(t.Context(), filepath.Join(target, "deep", "copy")) },
		"export": func(target string) error { return o.Named("a").Export(t.Context(), target) },
		"import": func(string) error { return o.Named("b").Import(t.Context(), file) },
	} {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n += 3 {
				var steps atomic.Int64
				restore := osfile.Watch(func(op osfile.Op, _ string) error {
					if op != osfile.OpRemove && steps.Add(1) == int64(n) {
						return syscall.ENOSPC
					}
					return nil
				})
				err := work(filepath.Join(dir, name))
				restore()
				if steps.Load() < int64(n) {
					require.NoError(t, err)
					require.Greater(t, n, 5)
					require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
					return
				}
				require.ErrorIs(t, err, dog.ErrStoreFull)
				for _, made := range []string{dir, temp} {
					entries, err := os.ReadDir(made)
					require.NoError(t, err)
					require.Empty(t, entries)
				}
				if name == "import" {
					require.Empty(t, contentOf(t, o.Named("b")))
				}
				require.NoError(t, o.rt.Stats().Store.Err)
			}
		})
	}
}

func TestBackup_HandlerMayMakeABackup(t *testing.T) {
	dir := t.TempDir()
	o := newParcels(t, "parcel", dog.Options{Store: disk.At(filepath.Join(dir, "data"))})
	copied := filepath.Join(dir, "copy")
	require.NoError(t, dog.CallErr(t.Context(), o.Named("a"), (*parcel).Do, func(ctx context.Context, p *parcel) error {
		if err := p.Storage().Put("content", []byte("x")); err != nil {
			return err
		}
		return o.rt.Backup(ctx, copied)
	}))
	restored := newParcels(t, "parcel", dog.Options{Store: disk.At(copied)})
	require.Equal(t, "x", contentOf(t, restored.Named("a")))
}

func TestBackup_InvalidBackupsExportsAndImportsFail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	for name, options := range map[string]dog.Options{
		"no store": {}, "no SQL": {Store: fixture.StoreOf(fixture.PromptEngine())},
	} {
		t.Run(name, func(t *testing.T) {
			o := newParcels(t, "parcel", options)
			if options.Store == nil {
				require.ErrorIs(t, o.rt.Backup(t.Context(), file), dog.ErrNoStore)
			}
			require.ErrorIs(t, o.Named("a").Export(t.Context(), file), dog.ErrNoStore)
			require.ErrorIs(t, o.Named("a").Import(t.Context(), file), dog.ErrNoStore)
		})
	}
	o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
	require.NoError(t, o.rt.Shutdown(t.Context()))
	require.ErrorIs(t, o.rt.Backup(t.Context(), file), dog.ErrShutdown)
	require.ErrorIs(t, o.Named("a").Export(t.Context(), file), dog.ErrShutdown)
	require.ErrorIs(t, o.Named("a").Import(t.Context(), file), dog.ErrShutdown)
	require.NoFileExists(t, file)
}

// stow stores something of each kind.
func stow(t testing.TB, to dog.Stub[parcel], alarm time.Time) {
	t.Helper()
	require.NoError(t, dog.CallErr(t.Context(), to, (*parcel).Do, func(_ context.Context, p *parcel) error {
		s := p.Storage()
		_, err := s.SQL().Exec(`CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT);
			INSERT INTO things (name) VALUES ('one'), ('two')`)
		return errors.Join(err, s.Put("content", []byte("x")), s.Put("", nil), s.Put("\xff\x00", []byte{0}),
			s.Alarms().Set(alarm), s.Alarms().SetNamed("named", alarm, []byte("payload")))
	}))
}

// requireStowed checks that everything is there.
func requireStowed(t testing.TB, in dog.Stub[parcel], alarm time.Time) {
	t.Helper()
	require.NoError(t, dog.CallErr(t.Context(), in, (*parcel).Do, func(_ context.Context, p *parcel) error {
		s := p.Storage()
		var names []string
		for name, err := range dog.QueryAs[string](s.SQL(), "SELECT name FROM things ORDER BY id") {
			require.NoError(t, err)
			names = append(names, name)
		}
		require.Equal(t, []string{"one", "two"}, names)
		keys := map[string][]byte{}
		for e, err := range s.List(dog.ListOptions{}) {
			require.NoError(t, err)
			keys[e.Key] = e.Value
		}
		require.Equal(t, map[string][]byte{"content": []byte("x"), "": {}, "\xff\x00": {0}}, keys)
		a, found, err := s.Alarms().Get("")
		require.NoError(t, err)
		require.True(t, found)
		require.True(t, alarm.Equal(a.At))
		a, found, err = s.Alarms().Get("named")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "payload", string(a.Payload))
		return nil
	}))
}

func TestBackup_ExportedObjectCanBeImported(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.db")
	alarm := time.Now().Add(time.Hour)
	o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
	a := o.Named("a")
	stow(t, a, alarm)
	starts := o.starts.Load()
	require.NoError(t, a.Export(t.Context(), file))
	require.ErrorIs(t, a.Export(t.Context(), file), fs.ErrExist)
	require.ErrorIs(t, a.Import(t.Context(), file), dog.ErrNotEmpty)
	requireStowed(t, a, alarm)
	require.Equal(t, starts, o.starts.Load(), "it goes on as if nothing had been")

	require.NoError(t, a.Delete(t.Context()))
	require.NoError(t, a.Import(t.Context(), file))
	require.Equal(t, starts, o.starts.Load())
	requireStowed(t, a, alarm)

	// Into another object, which is in memory with an empty database that it
	// has looked at.
	other := o.New()
	require.NoError(t, dog.CallErr(t.Context(), other, (*parcel).Do, func(_ context.Context, p *parcel) error {
		for _, err := range dog.QueryAs[string](p.Storage().SQL(), "SELECT name FROM sqlite_schema") {
			require.NoError(t, err)
		}
		return nil
	}))
	require.NoError(t, other.Import(t.Context(), file))
	requireStowed(t, other, alarm)

	// Into another program.
	elsewhere := newParcels(t, "packet", dog.Options{Store: disk.Memory()})
	require.NoError(t, elsewhere.Named("a").Import(t.Context(), file))
	requireStowed(t, elsewhere.Named("a"), alarm)
}

func TestBackup_ImportedAlarmRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "a.db")
		o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
		require.NoError(t, dog.CallErr(t.Context(), o.Named("a"), (*parcel).WakeIn, time.Minute))
		require.NoError(t, o.Named("a").Export(t.Context(), file))
		require.NoError(t, o.Named("b").Import(t.Context(), file))
		time.Sleep(2 * time.Minute)
		require.EqualValues(t, 2, o.alarms.Load())
	})
}

func TestBackup_ImportRefusesAlarmsWithoutOnAlarm(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.db")
	o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
	stow(t, o.Named("a"), time.Now().Add(time.Hour))
	require.NoError(t, o.Named("a").Export(t.Context(), file))
	cells, err := dog.RegisterObject[fixture.Object](o.rt, "cell", nil)
	require.NoError(t, err)
	fixture.RequireUsage(t, cells.Named("a").Import(t.Context(), file), "has no OnAlarm")
	for e, err := range cells.List(t.Context(), dog.ObjectListOptions{}) {
		require.NoError(t, err)
		require.False(t, e.Stored, "a part of it is there")
	}
}

func TestBackup_ImportRefusesFilesOfALaterVersion(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.db")
	o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
	fill(t, o.Named("a"), "x")
	require.NoError(t, o.Named("a").Export(t.Context(), file))
	db, err := sqlite3.Open(file)
	require.NoError(t, err)
	require.NoError(t, db.Exec("UPDATE _dog_object SET version = version + 1"))
	require.ErrorIs(t, o.Named("b").Import(t.Context(), file), dog.ErrStoreTooNew)
	require.NoError(t, db.Exec("UPDATE _dog_object SET version = version - 1"))
	require.NoError(t, db.Close())
	require.NoError(t, o.Named("b").Import(t.Context(), file), "nothing is left of the first try")
	require.Equal(t, "x", contentOf(t, o.Named("b")))
}

func TestBackup_ImportRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.db")
	o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
	require.ErrorIs(t, o.Named("a").Import(t.Context(), file), fs.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte("this is no database, though it is long enough for one"), 0o600))
	require.ErrorIs(t, o.Named("a").Import(t.Context(), file), dog.ErrStoreCorrupt)
	for e, err := range o.List(t.Context(), dog.ObjectListOptions{}) {
		require.NoError(t, err)
		require.False(t, e.Stored)
	}
	fill(t, o.Named("a"), "x")
	require.Equal(t, "x", contentOf(t, o.Named("a")))
}

// filing is an engine with files that are not real.
type filing struct {
	*storetest.Engine
	files map[string][]store.Table
	fail  error // after an import has handed on everything
}

func (f *filing) OpenEngine(*slog.Logger) (store.Engine, error) { return f, nil }

func (f *filing) Export(_ context.Context, file string, _ store.Pages, tables []store.Table) error {
	f.files[file] = tables
	return nil
}

func (f *filing) Import(
	_ context.Context, _ string, pages store.Pages, _ store.SQLLimits, _ []store.Table,
	row func(string, []any) error,
) error {
	return errors.Join(pages.WritePage(0, []byte("page")), pages.SetCount(1),
		row("_dog_keys", []any{[]byte("content"), []byte("x")}), f.fail)
}

func TestBackup_ExportHasOnlyDurableData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &filing{Engine: storetest.New(), files: map[string][]store.Table{}}
		o := newParcels(t, "parcel", dog.Options{Store: fixture.StoreOf(engine)})
		outcome := make(chan error, 2)
		fillAndExport := func() {
			go func() { outcome <- dog.CallErr(context.Background(), o.Named("a"), (*parcel).Fill, "x") }()
			synctest.Wait()
			go func() { outcome <- o.Named("a").Export(context.Background(), "file") }()
			synctest.Wait()
			require.Empty(t, engine.files)
		}
		fillAndExport()
		engine.Flush()
		require.NoError(t, <-outcome)
		require.NoError(t, <-outcome)
		require.Len(t, engine.files, 1)

		clear(engine.files)
		fillAndExport()
		lost := errors.New("lost")
		engine.Fail(lost)
		for range 2 {
			err := <-outcome
			require.ErrorIs(t, err, dog.ErrReset)
			require.ErrorIs(t, err, lost)
		}
		require.Empty(t, engine.files)
	})
}

func TestBackup_ImportIsAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		engine := &filing{Engine: fixture.PromptEngine(), fail: failed}
		o := newParcels(t, "parcel", dog.Options{Store: fixture.StoreOf(engine)})
		a := o.Named("a")
		require.Empty(t, contentOf(t, a))
		require.ErrorIs(t, a.Import(t.Context(), "file"), failed)
		require.Empty(t, contentOf(t, a))
		require.EqualValues(t, 1, o.starts.Load(), "what changed nothing has reset the object")

		engine.fail = nil
		engine.Refuse(failed)
		require.ErrorIs(t, a.Import(t.Context(), "file"), failed)
		engine.Refuse(nil)
		require.Zero(t, keysLeft(t, engine))
		require.Empty(t, contentOf(t, a))

		require.NoError(t, a.Import(t.Context(), "file"))
		require.Equal(t, "x", contentOf(t, a))
	})
}

func TestBackup_ObjectExportsAnother(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.db")
	rt := dogtest.New(t, dog.Options{Store: disk.Memory()})
	cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
	require.NoError(t, err)
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(ctx context.Context, _ *fixture.Object) error {
		if err := cells.Named("b").Export(ctx, file); err != nil {
			return err
		}
		return cells.Named("c").Import(ctx, file)
	}), "what has nothing stored is exported too")
	require.FileExists(t, file)
}
