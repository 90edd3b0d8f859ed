package sql_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// newRelease runs f in a turn of an object in a runtime of its own, whose
// objects have a schema.
func newRelease(t *testing.T, d dog.Store, schema dog.Schema, f func(s *dog.Storage)) error {
	t.Helper()
	rt, cells := newTables(t, d, dog.ObjectOptions[fixture.Object]{Schema: schema})
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()
	return fixture.Commit(t, cells.Named("x"), func(s *dog.Storage) error {
		f(s)
		return nil
	})
}

func columnsOfT(t *testing.T, s *dog.Storage) []string {
	return sqlList[string](t, s, "SELECT name FROM pragma_table_info('t') ORDER BY cid")
}

func withoutUse(*dog.Storage) {}

func TestSchema_StepsRunOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		schema := dog.Schema{"CREATE TABLE t (a); INSERT INTO t VALUES (1)"}
		for range 2 {
			require.NoError(t, newRelease(t, d, schema, func(s *dog.Storage) {
				require.Equal(t, []int{1}, sqlList[int](t, s, "SELECT a FROM t"))
			}))
		}
		schema = append(schema, "ALTER TABLE t ADD COLUMN b DEFAULT 2", "ALTER TABLE t ADD COLUMN c DEFAULT 3")
		for range 2 {
			require.NoError(t, newRelease(t, d, schema, func(s *dog.Storage) {
				require.Equal(t, []string{"a", "b", "c"}, columnsOfT(t, s))
			}))
		}
	})
}

func TestSchema_MismatchWithStoredStepsStopsTheObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		schema := dog.Schema{"CREATE TABLE t (a)", "ALTER TABLE t ADD COLUMN b", "ALTER TABLE t ADD COLUMN c"}
		require.NoError(t, newRelease(t, d, schema, withoutUse))
		for name, c := range map[string]struct {
			schema dog.Schema
			step   int
		}{
			"changed": {dog.Schema{schema[0], "ALTER TABLE t ADD COLUMN x", schema[2]}, 1},
			"moved":   {dog.Schema{schema[0], schema[2], schema[1]}, 1},
			"removed": {schema[:2], 2},
			"put in":  {dog.Schema{schema[0], "CREATE TABLE u (a)", schema[1], schema[2]}, 1},
		} {
			err := newRelease(t, d, c.schema, withoutUse)
			require.ErrorIs(t, err, dog.ErrReset, name)
			wrong, ok := errors.AsType[*dog.SchemaError](err)
			require.True(t, ok, name)
			require.Equal(t, c.step, wrong.Step, name)
		}
		require.NoError(t, newRelease(t, d, schema, func(s *dog.Storage) {
			require.Equal(t, []string{"a", "b", "c"}, columnsOfT(t, s))
		}))
	})
}

func TestSchema_FailedStepUndoesAllSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		first := dog.Schema{"CREATE TABLE t (a)"}
		require.NoError(t, newRelease(t, d, first, withoutUse))
		err := newRelease(t, d, append(first, "ALTER TABLE t ADD COLUMN b", "CREATE TABLE t (a)"), withoutUse)
		wrong, ok := errors.AsType[*dog.SchemaError](err)
		require.True(t, ok)
		require.Equal(t, 2, wrong.Step)
		require.ErrorContains(t, err, "already exists")
		require.NoError(
			t, newRelease(t, d, first, func(s *dog.Storage) { require.Equal(t, []string{"a"}, columnsOfT(t, s)) }),
		)

		err = newRelease(t, d, append(first, "VACUUM"), withoutUse)
		require.ErrorIs(t, err, dog.ErrSQLRefused)
	})
}

func TestSchema_CostsOneReadWhenUpToDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{inner: disk.Memory()}
		_, cells := newTables(
			t, fixture.StoreOf(w),
			dog.ObjectOptions[fixture.Object]{Schema: dog.Schema{"CREATE TABLE t (a)", "CREATE TABLE u (a)"}},
		)
		require.NoError(t, fixture.Commit(t, cells.Named("x"), func(*dog.Storage) error { return nil }))
		time.Sleep(5 * time.Minute) // it is dropped from memory
		gets, commits, opened := w.gets.Load(), w.commits.Load(), w.opened.Load()
		require.NoError(t, fixture.Commit(t, cells.Named("x"), func(*dog.Storage) error { return nil }))
		require.LessOrEqual(t, w.gets.Load()-gets, int64(2))
		require.Equal(t, commits, w.commits.Load())
		require.Equal(t, opened, w.opened.Load(), "the database stays closed")
	})
}

func TestSchema_StepMayRunWithoutForeignKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := dog.Schema{
			"CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT)",
			"CREATE TABLE children (id INTEGER PRIMARY KEY, parent REFERENCES parents (id) ON DELETE CASCADE)",
			"INSERT INTO parents VALUES (1, 'a'), (2, 'b'); INSERT INTO children VALUES (1, 1), (2, 2)",
		}
		const rebuild = `CREATE TABLE other (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT '');
			INSERT INTO other SELECT id, name FROM parents WHERE id < %d;
			DROP TABLE parents; ALTER TABLE other RENAME TO parents; PRAGMA foreign_key_check`
		for _, c := range []struct{ before, after string }{
			{"PRAGMA foreign_keys = OFF;", ""},
			{"\n\tpragma Foreign_Keys=0 ;", ";"},
			{"PRAGMA foreign_keys(off);", "; PRAGMA foreign_keys = ON;\n"},
			{"PRAGMA foreign_keys = false;", ";PRAGMA foreign_keys(1)"},
			{
				"-- rooms; with names\n/* *\n */ PRAGMA foreign_keys = OFF;",
				"; /* ; */ PRAGMA foreign_keys = ON; -- done",
			},
		} {
			d := dogtest.NewDisk(t)
			require.NoError(t, newRelease(t, d, first, withoutUse))
			step := c.before + fmt.Sprintf(rebuild, 2) + c.after
			err := newRelease(t, d, append(slices.Clone(first), step), withoutUse)
			require.ErrorIs(t, err, dog.ErrConstraint, "a child has lost its parent")
			var schema *dog.SchemaError
			require.ErrorAs(t, err, &schema)
			require.Equal(t, 3, schema.Step)
			require.ErrorContains(t, err, `"children"`)

			step = c.before + fmt.Sprintf(rebuild, 3) + c.after
			all := append(slices.Clone(first), step)
			require.NoError(t, newRelease(t, dogtest.NewDisk(t), all, func(s *dog.Storage) {
				require.Equal(
					t, []int{1, 2}, sqlList[int](t, s, "SELECT id FROM children ORDER BY id"), "all steps at once",
				)
			}))
			require.NoError(t, newRelease(t, d, all, func(s *dog.Storage) {
				require.Equal(t, []int{1, 2}, sqlList[int](t, s, "SELECT id FROM children ORDER BY id"))
				_, err := s.SQL().Exec("INSERT INTO children VALUES (3, 3)")
				require.ErrorIs(t, err, dog.ErrConstraint, "foreign keys are checked again")
				sqlExec(t, s, "DELETE FROM parents WHERE id = 1")
				require.Equal(t, []int{2}, sqlList[int](t, s, "SELECT id FROM children"))
			}))
		}
	})
}

func TestSchema_ForeignKeysAreCheckedAgainAfterAStepThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		schema := dog.Schema{
			"CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id))",
			"PRAGMA foreign_keys = OFF; INSERT INTO c VALUES (1); SELECT * FROM nothing",
		}
		_, cells := newTables(t, dogtest.NewDisk(t), dog.ObjectOptions[fixture.Object]{Schema: schema})
		require.ErrorContains(
			t, fixture.Commit(t, cells.Named("x"), func(*dog.Storage) error { return nil }), "nothing",
		)
		schema[1] = "PRAGMA foreign_keys = OFF; SELECT 1"
		require.NoError(t, fixture.Commit(t, cells.Named("x"), func(s *dog.Storage) error {
			require.Empty(t, sqlList[int](t, s, "SELECT p FROM c"))
			_, err := s.SQL().Exec("INSERT INTO c VALUES (1)")
			require.ErrorIs(t, err, dog.ErrConstraint)
			_, err = s.SQL().Exec("PRAGMA foreign_keys = OFF")
			require.ErrorIs(t, err, dog.ErrSQLRefused, "only a step may")
			return nil
		}))
	})
}
