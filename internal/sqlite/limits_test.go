package sqlite

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

func limited(t *testing.T, change func(*store.SQLLimits)) store.SQL {
	limits := testLimits
	change(&limits)
	s, err := newPool(t, 10).OpenSQL(newPages(), limits)
	require.NoError(t, err)
	return s
}

const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "

func TestLimits_StatementBytes(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Statement = 20 })
	run(t, s, "SELECT "+strings.Repeat("1", 13))
	_, err := try(s, "SELECT "+strings.Repeat("1", 14))
	require.ErrorIs(t, err, store.ErrLimit)
}

func TestLimits_Parameters(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Parameters = 3 })
	run(t, s, "SELECT ?, ?, ?", 1, 2, 3)
	for _, query := range []string{"SELECT ?, ?, ?, ?", "SELECT ?4", "SELECT :a, :b, :c, :d"} {
		_, err := try(s, query, 1, 2, 3, 4)
		require.ErrorIs(t, err, store.ErrLimit, query)
	}
}

func TestLimits_Columns(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Columns = 6 })
	run(t, s, "SELECT 1, 2, 3, 4, 5, 6; CREATE TABLE t (a, b, c, d, e, f)")
	for _, query := range []string{
		"SELECT 1, 2, 3, 4, 5, 6, 7", "CREATE TABLE u (a, b, c, d, e, f, g)", "ALTER TABLE t ADD COLUMN g",
	} {
		_, err := try(s, query)
		require.ErrorIs(t, err, store.ErrLimit, query)
	}
}

func TestLimits_Steps(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Steps = 100_000 })
	run(t, s, "SELECT 1")
	_, err := try(s, endless+"SELECT count(*) FROM n")
	require.ErrorIs(t, err, store.ErrLimit)
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT 1"), "a statement that only reads takes nothing with it")
}

func TestLimits_StepsAreTheSameInEveryRun(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Steps = 100_000 })
	counts := map[int]bool{}
	for i := range 10 {
		run(t, s, "SELECT * FROM generate_series(1, ?)", i) // so that runs do not begin with equal counters
		r, err := s.Run(endless+"SELECT i FROM n", nil, noted)
		require.NoError(t, err)
		n := 0
		for r.Next() {
			n++
		}
		require.ErrorIs(t, r.Err(), store.ErrLimit)
		counts[n] = true
	}
	require.Len(t, counts, 1)
}

func TestLimits_StatementsOfOneQueryShareTheSteps(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Steps = 100_000 })
	half := "SELECT count(*) FROM generate_series(1, 10000);"
	run(t, s, half)
	_, err := try(s, strings.Repeat(half, 20))
	require.ErrorIs(t, err, store.ErrLimit)
}

func TestLimits_OpenQueriesCountStepsSeparately(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Steps = 100_000 })
	a, err := s.Run("SELECT value FROM generate_series(1, 10000)", nil, noted)
	require.NoError(t, err)
	_, err = try(s, endless+"SELECT count(*) FROM n")
	require.ErrorIs(t, err, store.ErrLimit)
	n := 0
	for a.Next() {
		n++
	}
	require.NoError(t, a.Err())
	require.Equal(t, 10000, n)
}

func TestLimits_Pages(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Pages = 20 })
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())
	_, err := try(s, "INSERT INTO t SELECT randomblob(500) FROM generate_series(1, 100)")
	require.ErrorIs(t, err, store.ErrLimit)
	require.NoError(t, s.Rollback())
	require.Equal(t, [][]any{{int64(0)}}, run(t, s, "SELECT count(*) FROM t"))
	run(t, s, "INSERT INTO t SELECT randomblob(500) FROM generate_series(1, 10)")
	require.NoError(t, s.Commit())
}

func TestLimits_Values(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Value = 1000 })
	run(t, s, "CREATE TABLE t (a, b); INSERT INTO t VALUES (?, NULL)", make([]byte, 900))
	for _, query := range []string{
		"SELECT zeroblob(1001)", "SELECT printf('%01001d', 1)", "INSERT INTO t SELECT a, a FROM t",
		"SELECT group_concat(value) FROM " +
			"generate_series(1, 1000)",
	} {
		_, err := try(s, query)
		require.ErrorIs(t, err, store.ErrLimit, query)
	}
	for _, arg := range []any{
		make([]byte, 1001), strings.Repeat("x", 1001), sql.Named("a", strings.Repeat("x", 1001)),
	} {
		_, err := try(s, "SELECT :a", arg)
		require.ErrorIs(t, err, store.ErrLimit)
	}
	require.NoError(t, s.Commit())
}

func TestLimits_ConnectionThatUsedMuchMemoryIsNotKept(t *testing.T) {
	s, _ := newT(t)
	run(t, s, "INSERT INTO t SELECT zeroblob(1000000) FROM generate_series(1, 6)")
	require.NoError(t, s.Commit())
	require.False(t, isOpen(s))
	require.Len(t, all(t, s), 6)
}

func TestLimits_Memory(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Value = 1_000_000_000 })
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())
	for _, query := range []string{
		"SELECT length(hex(zeroblob(100000000)))",
		"SELECT zeroblob(140000000)",
		"INSERT INTO t VALUES (zeroblob(140000000))",
	} {
		_, err := try(s, query)
		require.ErrorIs(t, err, store.ErrLimit, query)
		require.NoError(t, s.Rollback())
		require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT 1"))
	}
	_, err := try(s, "SELECT ?", make([]byte, 140_000_000))
	require.ErrorIs(t, err, store.ErrLimit)
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT 1"))
}

func TestLimits_Sorting(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Steps = 1 << 40 })
	sorted := run(
		t, s, "SELECT length(a) FROM (SELECT randomblob(1000) AS a FROM generate_series(1, 10000) ORDER BY a) LIMIT 2",
	)
	require.Equal(t, [][]any{{int64(1000)}, {int64(1000)}}, sorted)
	_, err := try(
		s, "SELECT length(a) FROM (SELECT randomblob(10000) AS a FROM generate_series(1, 10000) ORDER BY a) LIMIT 1",
	)
	require.ErrorIs(t, err, store.ErrLimit)
}

func TestLimits_ConnectionWithMoreMemoryIsNotKept(t *testing.T) {
	pages := newPages()
	limits := testLimits
	limits.Memory = 4 << 20
	s, err := newPool(t, 10).OpenSQL(pages, limits)
	require.NoError(t, err)
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())
	const fill = "INSERT INTO t SELECT zeroblob(900) FROM generate_series(1, 4000)"
	_, err = try(s, fill)
	require.ErrorIs(t, err, store.ErrLimit)
	require.NoError(t, s.Rollback())
	run(t, s, "SELECT 1")
	s.Allow(0, 64<<20)
	require.False(t, isOpen(s))
	run(t, s, fill)
	s.Allow(0, 0)
	require.True(t, isOpen(s), "the transaction goes on")
	require.NoError(t, s.Commit())
	require.False(t, isOpen(s))
	_, err = try(s, fill)
	require.ErrorIs(t, err, store.ErrLimit)
	require.NoError(t, s.Rollback())
	require.Equal(t, [][]any{{int64(4000)}}, run(t, s, "SELECT count(*) FROM t"))
	require.NoError(t, s.Close())
}
