package dog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
)

// newRelease runs f in a turn of an object in a runtime of its own, whose cells have a schema.
func newRelease(t *testing.T, d dog.Store, schema dog.Schema, f func(s *dog.Storage)) error {
	t.Helper()
	rt, cells := newTables(t, d, func(c *cell) { c.Schema = schema })
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()
	return turnIn(t, cells.Named("x"), func(s *dog.Storage) error {
		f(s)
		return nil
	})
}

func columnsOfT(t *testing.T, s *dog.Storage) []string {
	return sqlList[string](t, s, "SELECT name FROM pragma_table_info('t') ORDER BY cid")
}

func noUse(*dog.Storage) {}

func TestStepsOfASchemaAreTakenOnceAndInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
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

func TestASchemaThatContradictsWhatWasTakenStopsTheObject(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		schema := dog.Schema{"CREATE TABLE t (a)", "ALTER TABLE t ADD COLUMN b", "ALTER TABLE t ADD COLUMN c"}
		require.NoError(t, newRelease(t, d, schema, noUse))
		for name, c := range map[string]struct {
			schema dog.Schema
			step   int
		}{
			"changed": {dog.Schema{schema[0], "ALTER TABLE t ADD COLUMN x", schema[2]}, 1},
			"moved":   {dog.Schema{schema[0], schema[2], schema[1]}, 1},
			"removed": {schema[:2], 2},
			"put in":  {dog.Schema{schema[0], "CREATE TABLE u (a)", schema[1], schema[2]}, 1},
		} {
			err := newRelease(t, d, c.schema, noUse)
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

func TestAStepThatFailsUndoesAllOfThem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		first := dog.Schema{"CREATE TABLE t (a)"}
		require.NoError(t, newRelease(t, d, first, noUse))
		err := newRelease(t, d, append(first, "ALTER TABLE t ADD COLUMN b", "CREATE TABLE t (a)"), noUse)
		wrong, ok := errors.AsType[*dog.SchemaError](err)
		require.True(t, ok)
		require.Equal(t, 2, wrong.Step)
		require.ErrorContains(t, err, "already exists")
		require.NoError(t, newRelease(t, d, first, func(s *dog.Storage) { require.Equal(t, []string{"a"}, columnsOfT(t, s)) }))

		err = newRelease(t, d, append(first, "VACUUM"), noUse)
		require.ErrorIs(t, err, dog.ErrSQLRefused)
		err = newRelease(t, nil, first, noUse)
		require.ErrorIs(t, err, dog.ErrNoSQL)
	})
}

func TestAnUpToDateSchemaCostsOneRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := &watched{Store: disk.Memory()}
		_, cells := newTables(t, w, func(c *cell) { c.Schema = dog.Schema{"CREATE TABLE t (a)", "CREATE TABLE u (a)"} })
		require.NoError(t, turnIn(t, cells.Named("x"), func(*dog.Storage) error { return nil }))
		time.Sleep(5 * time.Minute) // it is dropped from memory
		gets, commits, opened := w.gets.Load(), w.commits.Load(), w.opened.Load()
		require.NoError(t, turnIn(t, cells.Named("x"), func(*dog.Storage) error { return nil }))
		require.LessOrEqual(t, w.gets.Load()-gets, int64(2))
		require.Equal(t, commits, w.commits.Load())
		require.Equal(t, opened, w.opened.Load(), "the database stays closed")
	})
}
