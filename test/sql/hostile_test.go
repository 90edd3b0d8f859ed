package sql_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSQL_ArgumentsCannotKeepTheTurn(t *testing.T) {
	fixture.TakesLong(t)
	if runtime.GOOS == "windows" {
		t.Skip("nothing ends a function there, so the test would hang")
	}
	_, cells := newTables(t, disk.Memory(), countable)
	stub := cells.Named("x")
	mega := strings.Repeat("3", 1<<20)
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }))
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error {
		_, err := s.SQL().Exec("SELECT decimal_mul(?, ?)", mega, mega)
		require.ErrorIs(t, err, dog.ErrSQLLimit)
		require.Less(t, len(err.Error()), 300)
		requireBoth(t, s, 1)
		_, err = s.SQL().Exec("SELECT ? LIKE ?", mega, "%"+strings.Repeat("3", 50)+"%")
		require.ErrorIs(t, err, dog.ErrSQLLimit)
		return nil
	}), "what only reads spoils nothing")
	require.ErrorIs(t, fixture.Commit(t, stub, func(s *dog.Storage) error {
		storeBoth(t, s, 2)
		_, err := s.SQL().Exec("SELECT decimal_mul(?, ?)", mega, mega)
		require.ErrorIs(t, err, dog.ErrSQLLimit)
		return nil // the handler does not care, but the transaction went with the connection
	}), dog.ErrSQLLimit)
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { requireBoth(t, s, 1); return nil }))
}

func TestSQL_AbortEndsAStatement(t *testing.T) {
	_, cells := newTables(t, disk.Memory(), countable)
	stub := cells.Named("x")
	began := make(chan *fixture.Object, 1)
	go func() {
		c := <-began
		time.Sleep(time.Millisecond) // so that the statement is likely to run
		c.Abort(errNo)
	}()
	require.ErrorIs(t, dog.CallErr(t.Context(), stub, (*fixture.Object).With, func(c *fixture.Object) error {
		began <- c
		for {
			_, err := c.Storage().
				SQL().
				Exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
			if err != nil {
				return err
			}
		}
	}), errNo)
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }))
}

func TestSQL_SearchIsPartOfTheTransactionAndOfTheSchema(t *testing.T) {
	_, cells := newTables(t, disk.Memory(), dog.ObjectOptions[fixture.Object]{Schema: dog.Schema{
		"CREATE VIRTUAL TABLE search USING fts5 (body)", "CREATE VIRTUAL TABLE words USING fts5vocab (search, row)",
	}})
	stub := cells.Named("x")
	search := func(want ...int) {
		t.Helper()
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error {
			require.ElementsMatch(t, want, sqlList[int](t, s, "SELECT rowid FROM search WHERE search MATCH 'dog'"))
			return nil
		}))
	}
	insert := func(s *dog.Storage, body string) {
		_, err := s.SQL().Exec("INSERT INTO search (body) VALUES (?)", body)
		require.NoError(t, err)
	}
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error {
		insert(s, "the dog")
		require.ErrorIs(t, s.Transaction(func() error { insert(s, "another dog"); return errNo }), errNo)
		_, err := s.SQL().Exec("PRAGMA optimize")
		return err
	}))
	search(1)
	require.Error(t, dog.CallErr(t.Context(), stub, (*fixture.Object).With, func(c *fixture.Object) error {
		insert(c.Storage(), "a third dog")
		c.Abort(errNo)
		return nil
	}))
	search(1)
	require.NoError(t, stub.Delete(context.Background()))
	search()
}
