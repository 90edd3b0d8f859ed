package sqlite

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// all returns the values of t, which has one column.
func all(t testing.TB, s store.SQL) (out []any) {
	t.Helper()
	for _, row := range run(t, s, "SELECT a FROM t ORDER BY rowid") {
		out = append(out, row[0])
	}
	return out
}

func newT(t testing.TB) (store.SQL, *memoryPages) {
	s, pages := newSQL(t)
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())
	return s, pages
}

func TestDatabase_EmptyHasNoPages(t *testing.T) {
	s, pages := newSQL(t)
	run(t, s, "SELECT * FROM sqlite_schema; PRAGMA integrity_check; PRAGMA page_size")
	require.NoError(t, s.Commit())
	require.NoError(t, s.Rollback())
	require.NoError(t, s.Close())
	require.Zero(t, pages.count)
	require.Empty(t, pages.pages)
}

func TestCommit_OnlyItWritesPages(t *testing.T) {
	s, pages := newT(t)
	before := pages.writes
	run(t, s, "INSERT INTO t SELECT randomblob(3000) FROM generate_series(1, 2000)") // far beyond SQLite's cache
	require.Equal(t, before, pages.writes)
	require.NoError(t, s.Commit())
	require.Greater(t, pages.writes, before+6000)
}

func TestTransaction_ReadsAnUnwrittenPage(t *testing.T) {
	s, pages := newT(t)
	run(t, s, "INSERT INTO t VALUES (zeroblob(5000)); DELETE FROM t; INSERT INTO t VALUES (zeroblob(900))")
	require.NoError(t, s.Commit())
	require.Less(t, len(pages.pages), int(pages.count), "SQLite does not write free pages")
	require.NoError(t, s.Close())
	require.Equal(t, [][]any{{"ok"}}, run(t, s, "PRAGMA integrity_check"))
	run(t, s, "INSERT INTO t VALUES (randomblob(9000))")
	require.NoError(t, s.Commit())
	require.Equal(t, [][]any{{"ok"}}, run(t, s, "PRAGMA integrity_check"))
}

func TestRollback_UndoesTheTransaction(t *testing.T) {
	s, pages := newT(t)
	before := pages.clone()
	run(t, s, "INSERT INTO t VALUES (1); CREATE TABLE u (b); DROP TABLE t")
	require.NoError(t, s.Rollback())
	require.Empty(t, all(t, s))
	require.NoError(t, s.Commit())
	require.Equal(t, before.pages, pages.pages)
}

func TestClose_UndoesTheTransactionAndLaterUseReopens(t *testing.T) {
	s, pages := newT(t)
	run(t, s, "INSERT INTO t VALUES (1)")
	require.NoError(t, s.Close())
	require.Empty(t, all(t, s))
	run(t, s, "INSERT INTO t VALUES (2)")
	require.NoError(t, s.Commit())
	require.NoError(t, s.Close())
	require.NoError(t, pages.SetCount(0)) // as DeleteAll does
	require.Empty(t, run(t, s, "SELECT * FROM sqlite_schema"))
}

func TestRollback_AfterACommitRereadsThePages(t *testing.T) {
	s, pages := newT(t)
	before := pages.clone()
	run(t, s, "INSERT INTO t VALUES (1)")
	require.NoError(t, s.Commit())
	pages.undo(before) // the owner's own commit failed
	require.NoError(t, s.Rollback())
	require.Empty(t, all(t, s))
}

func TestTransaction_AsksItsOwnerBeforeTheFirstWrite(t *testing.T) {
	s, _ := newT(t)
	asked := 0
	ask := func() error { asked++; return nil }
	do := func(query string) {
		r, err := s.Run(query, nil, ask)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	do("SELECT * FROM t; PRAGMA table_info(t)")
	require.Equal(t, 0, asked)
	do("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
	do("CREATE TABLE u (a)")
	require.Equal(t, 1, asked)
	require.NoError(t, s.Commit())
	do("PRAGMA defer_foreign_keys = ON")
	require.Equal(t, 2, asked)
	require.NoError(t, s.Rollback())

	no := errors.New("no")
	_, err := s.Run("DELETE FROM t", nil, func() error { return no })
	require.ErrorIs(t, err, no)
	require.Equal(t, []any{int64(1), int64(2)}, all(t, s))
	do("DELETE FROM t")
	require.Equal(t, 3, asked)
}

func TestForeignKeys_AreOnAndMayBeDeferred(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE p (id PRIMARY KEY); CREATE TABLE c (p REFERENCES p)")
	require.NoError(t, s.Commit())
	_, err := try(s, "INSERT INTO c VALUES (1)")
	require.ErrorIs(t, err, store.ErrConstraint)

	for range 2 { // the pragma ends with the transaction, and works again in the next
		run(t, s, "PRAGMA defer_foreign_keys = ON")
		run(t, s, "INSERT INTO c VALUES (1)")
		require.ErrorIs(t, s.Commit(), store.ErrConstraint)
		_, err = try(s, "SELECT 1")
		require.ErrorIs(t, err, store.ErrConstraint, "only Rollback is left")
		require.NoError(t, s.Rollback())
		require.Empty(t, run(t, s, "SELECT * FROM c"))
		_, err = try(s, "INSERT INTO c VALUES (1)")
		require.ErrorIs(t, err, store.ErrConstraint)
		require.NoError(t, s.Rollback())
	}
	run(t, s, "PRAGMA defer_foreign_keys = ON; INSERT INTO c VALUES (1); INSERT INTO p VALUES (1)")
	require.NoError(t, s.Commit())
}

func TestStatement_FailedConstraintUndoesOnlyIt(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a UNIQUE NOT NULL CHECK (a > 0)); INSERT INTO t VALUES (1)")
	for _, query := range []string{
		"INSERT INTO t VALUES (5), (1)", "INSERT INTO t VALUES (NULL)", "INSERT INTO t VALUES (-1)",
		"UPDATE t SET a = -a",
	} {
		_, err := try(s, query)
		require.ErrorIs(t, err, store.ErrConstraint, query)
	}
	_, err := try(s, "INSERT INTO t VALUES (1)")
	require.ErrorContains(t, err, "UNIQUE constraint failed: t.a")
	require.NoError(t, s.Commit())
	require.Equal(t, []any{int64(1)}, all(t, s))
}

func TestTransaction_EndedBySQLiteIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		query string
		err   error
	}{
		"OR ROLLBACK":     {"INSERT OR ROLLBACK INTO u VALUES (1)", store.ErrConstraint},
		"RAISE(ROLLBACK)": {"DELETE FROM u", store.ErrConstraint},
		"steps":           {"INSERT INTO u " + endless + "SELECT i + 1 FROM n", store.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			s, pages := limited(t, func(l *store.SQLLimits) { l.Steps = 100_000 }), newPages()
			s.(*database).pages = pages
			run(t, s, "CREATE TABLE t (a)")
			run(t, s, `CREATE TABLE u (a UNIQUE); INSERT INTO u VALUES (1);
				CREATE TRIGGER no BEFORE DELETE ON u BEGIN SELECT RAISE(ROLLBACK, 'no'); END`)
			require.NoError(t, s.Commit())
			before := pages.clone()
			run(t, s, "INSERT INTO t VALUES (1)")
			r, err := s.Run("SELECT * FROM t, generate_series(1, 3)", nil, noted)
			require.NoError(t, err)
			require.True(t, r.Next())
			require.NoError(t, s.Savepoint(1))
			_, err = try(s, c.query)
			require.ErrorIs(t, err, c.err)
			require.False(t, r.Next())
			require.ErrorIs(t, r.Err(), store.ErrRowsEnded)
			for _, err := range []error{s.Release(1), s.RollbackTo(1), s.Commit()} {
				require.ErrorIs(t, err, c.err)
			}
			_, err = try(s, "INSERT INTO t VALUES (2)")
			require.ErrorIs(t, err, c.err)
			require.NoError(t, s.Rollback())
			require.Equal(t, before.pages, pages.pages)
			require.Empty(t, all(t, s))
			run(t, s, "INSERT INTO t VALUES (3)")
			require.NoError(t, s.Commit())
		})
	}
}

func TestSavepoint_Nests(t *testing.T) {
	s, _ := newT(t)
	run(t, s, "INSERT INTO t VALUES (0)")
	require.NoError(t, s.Savepoint(1))
	run(t, s, "INSERT INTO t VALUES (1)")
	require.NoError(t, s.Savepoint(2))
	run(t, s, "INSERT INTO t VALUES (2)")
	require.NoError(t, s.Savepoint(3))
	run(t, s, "INSERT INTO t VALUES (3)")
	require.NoError(t, s.Release(3))
	require.Equal(t, []any{int64(0), int64(1), int64(2), int64(3)}, all(t, s))
	require.NoError(t, s.RollbackTo(2))
	require.Equal(t, []any{int64(0), int64(1)}, all(t, s))
	require.NoError(t, s.RollbackTo(2), "there is none any more")
	require.NoError(t, s.Savepoint(2))
	run(t, s, "INSERT INTO t VALUES (4)")
	require.NoError(t, s.Release(1), "and with it those within")
	require.NoError(t, s.RollbackTo(1))
	require.NoError(t, s.Commit())
	require.Equal(t, []any{int64(0), int64(1), int64(4)}, all(t, s))
}

func TestSavepoint_UndoesATransactionBegunInside(t *testing.T) {
	s, _ := newT(t)
	require.NoError(t, s.Savepoint(1))
	require.NoError(t, s.Savepoint(2))
	run(t, s, "INSERT INTO t VALUES (1)")
	require.NoError(t, s.Release(2))
	require.NoError(t, s.RollbackTo(1))
	run(t, s, "INSERT INTO t VALUES (2)")
	require.NoError(t, s.Commit())
	require.Equal(t, []any{int64(2)}, all(t, s))
	require.Error(t, s.Savepoint(0))
	require.NoError(t, s.Savepoint(5), "outer transactions may not have used SQL")
	require.Error(t, s.Savepoint(5))
	require.NoError(t, s.RollbackTo(1))
}

func TestRows_EndWithTheirTransaction(t *testing.T) {
	for name, end := range map[string]func(store.SQL) error{
		"Commit":   store.SQL.Commit,
		"Rollback": store.SQL.Rollback,
		"Close":    store.SQL.Close,
	} {
		for _, writes := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " writes ", writes), func(t *testing.T) {
				s, _ := newT(t)
				run(t, s, "INSERT INTO t VALUES (1), (2), (3)")
				require.NoError(t, s.Commit())
				if writes {
					run(t, s, "INSERT INTO t VALUES (4)")
				}
				a, err := s.Run("SELECT a FROM t", nil, noted)
				require.NoError(t, err)
				b, err := s.Run("SELECT a FROM t", nil, noted) // the same statement while it is in use
				require.NoError(t, err)
				require.True(t, a.Next())
				require.Equal(t, int64(1), a.Value(0))
				require.True(t, b.Next())
				require.True(t, b.Next())
				require.Equal(t, int64(2), b.Value(0))
				require.NoError(t, end(s))
				for _, r := range []store.Rows{a, b} {
					require.False(t, r.Next())
					require.ErrorIs(t, r.Err(), store.ErrRowsEnded)
					require.Nil(t, r.Value(0))
					require.Equal(t, []string{"a"}, r.Columns())
					require.NoError(t, r.Close())
				}
				require.Contains(t, all(t, s), int64(3))
			})
		}
	}
}

func TestRows_OutliveALaterNestedTransaction(t *testing.T) {
	s, _ := newT(t)
	run(t, s, "INSERT INTO t VALUES (1), (2), (3)")
	outer, err := s.Run("SELECT a FROM t ORDER BY a", nil, noted)
	require.NoError(t, err)
	var seen []any
	for outer.Next() {
		seen = append(seen, outer.Value(0))
		require.NoError(t, s.Savepoint(1))
		inner, err := s.Run("SELECT a FROM t", nil, noted)
		require.NoError(t, err)
		require.True(t, inner.Next())
		run(t, s, "UPDATE t SET a = a + 100")
		require.NoError(t, s.RollbackTo(1))
		require.False(t, inner.Next())
		require.ErrorIs(t, inner.Err(), store.ErrRowsEnded)
	}
	require.NoError(t, outer.Err())
	require.Equal(t, []any{int64(1), int64(2), int64(3)}, seen)
}

func TestStatement_ChangesRowsThatAreNotRead(t *testing.T) {
	s, _ := newT(t)
	r, err := s.Run("INSERT INTO t VALUES (1), (2) RETURNING a", nil, noted)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, s.Commit())
	require.Equal(t, []any{int64(1), int64(2)}, all(t, s))
}

func TestDatabase_LastInsertIDAndChangesOutliveTheConnection(t *testing.T) {
	s, _ := newT(t)
	require.Zero(t, s.LastInsertID())
	run(t, s, "INSERT INTO t (rowid, a) VALUES (9007199254740993, 1), (9007199254740994, 2)")
	run(t, s, "SELECT * FROM t")
	check := func() {
		require.Equal(t, int64(9007199254740994), s.LastInsertID())
		require.Equal(t, int64(2), s.Changes())
	}
	check()
	require.NoError(t, s.Commit())
	require.NoError(t, s.Close())
	check()
	require.Equal(t, [][]any{{int64(9007199254740994)}}, run(t, s, "SELECT last_insert_rowid()"))
	check()
	run(t, s, "UPDATE t SET a = 5 WHERE a = 1")
	require.Equal(t, int64(1), s.Changes())
	r, err := s.Run("INSERT INTO t (rowid, a) VALUES (3, 3) RETURNING a", nil, noted)
	require.NoError(t, err)
	require.Equal(t, int64(3), s.LastInsertID())
	require.NoError(t, r.Close())
	require.Equal(t, int64(1), s.Changes())
}

func TestStatement_SeveralReturnTheColumnsOfTheLast(t *testing.T) {
	s, _ := newSQL(t)
	query := "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 2); SELECT a AS x, b FROM t WHERE a > ?; -- end"
	r, err := s.Run(query, []any{5}, noted)
	require.NoError(t, err)
	require.False(t, r.Next())
	require.NoError(t, r.Err())
	require.Equal(t, []string{"x", "b"}, r.Columns())
	_, err = try(s, "INSERT INTO t VALUES (3, 4); SELECT nothing")
	require.Error(t, err)
	require.Len(t, run(t, s, "SELECT * FROM t"), 2, "what ran before the error stays in the transaction")
}

func TestStatement_CachedOneSeesANewSchema(t *testing.T) {
	s, _ := newT(t)
	run(t, s, "INSERT INTO t VALUES (1)")
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT * FROM t"))
	run(t, s, "ALTER TABLE t ADD COLUMN b DEFAULT 2")
	require.Equal(t, [][]any{{int64(1), int64(2)}}, run(t, s, "SELECT * FROM t"))
	require.NoError(t, s.Rollback())
	_, err := try(s, "SELECT * FROM t")
	require.NoError(t, err)
	for range 2 { // a no-op may become a change when the schema does
		run(t, s, "CREATE TRIGGER IF NOT EXISTS g AFTER INSERT ON t BEGIN SELECT 1; END")
		require.NoError(t, s.Commit())
		run(t, s, "CREATE TRIGGER IF NOT EXISTS g AFTER INSERT ON t BEGIN SELECT 1; END")
		run(t, s, "DROP TRIGGER g")
		require.NoError(t, s.Commit())
	}
}

func TestStatement_Many(t *testing.T) {
	s, _ := newT(t)
	open, err := s.Run("SELECT 'first' UNION ALL SELECT 'second'", nil, noted)
	require.NoError(t, err)
	for i := range 3 * maxPrepared {
		require.Equal(t, [][]any{{int64(i)}}, run(t, s, "SELECT "+fmt.Sprint(i)))
	}
	require.LessOrEqual(t, len(s.(*database).conn.cache), maxPrepared)
	require.True(t, open.Next())
	require.True(t, open.Next())
	require.Equal(t, "second", open.Value(0))
	require.False(t, open.Next())
}

func TestRows_BigResultIsStreamed(t *testing.T) {
	s, _ := newT(t)
	run(t, s, "INSERT INTO t SELECT printf('%0100d', value) FROM generate_series(0, 19999)")
	require.NoError(t, s.Commit())
	require.NoError(t, s.Close())
	r, err := s.Run("SELECT a FROM t ORDER BY rowid", nil, noted)
	require.NoError(t, err)
	n := 0
	for r.Next() {
		if v := r.Value(0).(string); !strings.HasSuffix(v, fmt.Sprint(n)) || len(v) != 100 {
			t.Fatal(n, v)
		}
		n++
	}
	require.NoError(t, r.Err())
	require.Equal(t, 20_000, n)
}
