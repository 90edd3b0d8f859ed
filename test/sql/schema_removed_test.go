package sql_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// waysOfSQL return the error of SQL.
var waysOfSQL = map[string]func(*dog.Storage) error{
	"Exec": func(s *dog.Storage) error {
		_, err := s.SQL().Exec("INSERT INTO t VALUES (1)")
		return err
	},
	"Query": func(s *dog.Storage) error {
		for _, err := range s.SQL().Query("SELECT * FROM t") {
			return err
		}
		return nil
	},
	"a nested transaction": func(s *dog.Storage) error {
		return s.Transaction(func() error {
			_, err := s.SQL().Exec("INSERT INTO t VALUES (1)")
			return err
		})
	},
}

func TestSchema_SQLFailsWhenAllStepsHaveBeenRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		schema := dog.Schema{"CREATE TABLE t (a)", "CREATE TABLE u (a)"}
		require.NoError(t, newRelease(t, d, schema, withoutUse))
		for name, use := range waysOfSQL {
			require.NoError(t, newRelease(t, d, nil, func(s *dog.Storage) {
				for range 2 { // also after the first use
					wrong, ok := errors.AsType[*dog.SchemaError](use(s))
					require.True(t, ok, name)
					require.Zero(t, wrong.Step, name)
				}
				require.NoError(t, s.Put("k", nil), "its keys can be used")
			}))
		}
		require.NoError(t, newRelease(t, d, schema, func(s *dog.Storage) {
			require.Empty(t, sqlList[int](t, s, "SELECT a FROM t"), "nothing has been written")
		}))
	})
}

func TestSchema_AllStepsMayBeMissingWhereANewerSchemaIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		require.NoError(t, newRelease(t, d, dog.Schema{"CREATE TABLE t (a)"}, withoutUse))
		_, cells := newTables(t, d, dog.ObjectOptions[fixture.Object]{AllowNewerSchema: true})
		for name, use := range waysOfSQL {
			require.NoError(t, fixture.Commit(t, cells.Named("x"), use), name)
		}
	})
}

// A type that uses SQL without a Schema makes its tables by itself, and may get
// a Schema later.
func TestSchema_IsNotNeededForSQL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		for range 2 {
			require.NoError(t, newRelease(t, d, nil, func(s *dog.Storage) {
				sqlExec(t, s, "CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)")
			}))
		}
		require.NoError(t, newRelease(t, d, dog.Schema{"INSERT INTO t VALUES (2)"}, func(s *dog.Storage) {
			require.Equal(t, []int{1, 1, 2}, sqlList[int](t, s, "SELECT a FROM t"))
		}))
	})
}

func TestSchema_RemovedStepsAreForgottenWithTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		require.NoError(t, newRelease(t, d, dog.Schema{"CREATE TABLE t (a)"}, withoutUse))
		undone := errors.New("undone")
		require.NoError(t, newRelease(t, d, nil, func(s *dog.Storage) {
			require.ErrorIs(t, s.Transaction(func() error {
				require.NoError(t, s.DeleteAll())
				sqlExec(t, s, "CREATE TABLE v (a)")
				return undone
			}), undone)
			require.ErrorAs(t, waysOfSQL["Exec"](s), new(*dog.SchemaError), "the steps are back with the database")
			require.NoError(t, s.DeleteAll())
			sqlExec(t, s, "CREATE TABLE v (a)")
		}))
		require.NoError(t, newRelease(t, d, nil, func(s *dog.Storage) { sqlExec(t, s, "INSERT INTO v VALUES (1)") }))
	})
}

func TestSchema_WithoutStepsIsReadOnceForEachLifeThatUsesSQL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{inner: disk.Memory()}
		_, cells := newTables(t, fixture.StoreOf(w), dog.ObjectOptions[fixture.Object]{})
		use := func(s *dog.Storage) error {
			_, err := s.SQL().Exec("SELECT 1")
			return err
		}
		// reads returns how many keys a new life reads in these turns.
		reads := func(runs ...func(*dog.Storage) error) int64 {
			time.Sleep(5 * time.Minute) // the object is dropped from memory
			before := w.gets.Load()
			for _, f := range runs {
				require.NoError(t, fixture.Commit(t, cells.Named("x"), f))
			}
			return w.gets.Load() - before
		}
		idle := func(*dog.Storage) error { return nil }
		require.NoError(t, fixture.Commit(t, cells.Named("x"), func(s *dog.Storage) error {
			return errors.Join(s.Put("k", nil), use(s))
		}))
		start := reads(idle)
		once := reads(use)
		require.Equal(t, once, reads(use, use, use), "later uses in a life read nothing")
		require.Equal(t, start, reads(idle, idle), "an object that does not use SQL reads nothing")
	})
}
