package sqlite

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// ends fails the test when f takes so long that nothing would ever end it.
func ends(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%.80s: does not end", what)
	}
}

func times(n int, what string) string { return strings.Repeat(what, n) }

// runBriefly runs a query with a limit of a twentieth of a second.
func runBriefly(s store.SQL, query string, args ...any) error {
	d := s.(*database)
	if d.conn != nil {
		d.conn.meter.dog.awake.Store(false) // its timer was set for longer
	}
	limits := d.limits
	d.limits.Time, d.limits.Steps = 50*time.Millisecond, 1<<60
	_, err := try(s, query, args...)
	d.limits = limits
	return err
}

func TestHostile_StatementEndsAtItsTimeLimit(t *testing.T) {
	const mega = 1 << 20
	a := times(2*mega-100, "a")
	var object strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&object, `,"k%d":1`, i)
	}
	members := "{" + object.String()[1:] + "}"
	s, _ := newSQL(t)
	run(
		t, s,
		"CREATE TABLE c (a CHECK (decimal_mul(a, a) <> '')); CREATE TABLE i (a); CREATE INDEX j ON i "+
			"(decimal_mul(a, a)); "+
			"CREATE TABLE t (a); INSERT INTO t VALUES (?)",
		times(mega, "3"),
	)
	run(t, s, "ALTER TABLE t ADD COLUMN b AS (length(decimal_mul(a, a)))")
	run(t, s, "CREATE VIRTUAL TABLE f USING fts5 (a)")
	run(t, s, "INSERT INTO f VALUES (?)", times(100_000, "a "))
	require.NoError(t, s.Commit())
	type statement struct {
		query string
		args  []any
	}
	single := []statement{ // one instruction takes long, and nothing but the watchdog ends it
		{"SELECT ? REGEXP ?", []any{a, times(8, "(") + "a*" + times(8, ")*") + "b"}},
		{"SELECT decimal_mul(?, ?)", []any{times(mega, "3"), times(mega, "7")}},
		{"SELECT b FROM t", nil},
		{"INSERT INTO c VALUES (?)", []any{times(mega, "3")}},
		{"INSERT INTO i VALUES (?)", []any{times(mega, "3")}},
		{"SELECT trim(?, ?)", []any{a, times(200_000, "b") + "a"}},
		{"SELECT json_patch(?, ?)", []any{members, members[:len(members)-1] + `,"z":1}`}},
	}
	statements := []statement{
		// A statement without a loop, with cheap instructions.
		{"SELECT " + times(45, "length(hex(?1))||length(quote(?1)),") + "1", []any{times(mega-10, "a")}},
		{"SELECT " + times(90, "length(json_quote(upper(?1))),") + "1", []any{times(mega-10, "a")}},
		// One with a loop, of cheap steps.
		{endless + "SELECT sum(length(printf('%1000000d', i))) FROM n", nil},
		{endless + "SELECT sum(length(replace(?, 'a', 'bb'))) FROM n", []any{times(mega-10, "a")}},
		{endless + "SELECT group_concat(i) FROM n", nil},
		{endless + "SELECT count(*) FROM n", nil},
		{"SELECT count(*) FROM generate_series(1, 100000000) ORDER BY random()", nil},
		{"SELECT count(*) FROM generate_series(1, 100000000) CROSS JOIN f WHERE f MATCH ?",
			[]any{times(100, "a OR ") + "a"}},
		{
			"SELECT 1 FROM " + times(20, "(SELECT 1 UNION ALL SELECT 2),") + "generate_series(1, 1000000000) WHERE " +
				"value < 0",
			nil,
		},
	}
	if canSeal {
		statements = append(statements, single...)
	}
	for _, c := range statements {
		ends(t, c.query, func() {
			err := runBriefly(s, c.query, c.args...)
			require.ErrorIs(t, err, store.ErrLimit, c.query)
			require.Less(t, len(err.Error()), 300)
			require.NoError(t, s.Rollback())
			require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT count(*) FROM t"))
		})
	}
}

func TestHostile_PatternsAreShort(t *testing.T) {
	s, _ := newSQL(t)
	for _, op := range []string{"LIKE", "GLOB"} {
		run(t, s, "SELECT ? "+op+" ?", times(1000, "a"), times(50, "a"))
		for _, pattern := range []string{times(51, "a"), times(10_000, "%a"), "%" + times(49_000, "a") + "b%"} {
			_, err := try(s, "SELECT ? "+op+" ?", times(64<<10, "a"), pattern)
			require.ErrorIs(t, err, store.ErrLimit)
		}
	}
}

func TestHostile_SlowReadKeepsTheTransaction(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a)")
	require.ErrorIs(t, runBriefly(s, endless+"SELECT count(*) FROM n"), store.ErrLimit)
	run(t, s, "INSERT INTO t VALUES (1)")
	require.NoError(t, s.Commit())
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT a FROM t"))
}

func TestHostile_TransactionIsLostWithItsConnection(t *testing.T) {
	needsWatchdog(t)
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())
	run(t, s, "INSERT INTO t VALUES (1)")
	machine := s.(*database).conn.machine
	three := times(1<<20, "3")
	require.ErrorIs(t, runBriefly(s, "SELECT decimal_mul(?, ?)", three, three), store.ErrLimit)
	for _, query := range []string{"SELECT 1", "INSERT INTO t VALUES (2)"} {
		_, again := try(s, query)
		require.ErrorIs(t, again, store.ErrLimit)
		require.ErrorContains(t, again, "transaction is lost")
	}
	require.ErrorIs(t, s.Commit(), store.ErrLimit)
	require.NoError(t, s.Rollback())
	require.Nil(t, machine.env.Wrapper.Memory, "its memory is given back")
	require.Empty(t, run(t, s, "SELECT a FROM t"))
	run(t, s, "INSERT INTO t VALUES (3)")
	require.NoError(t, s.Commit())
}

func TestHostile_TimeBetweenRowsDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newSQL(t)
		r, err := s.Run("SELECT value FROM generate_series(1, 10)", nil, noted)
		require.NoError(t, err)
		n := 0
		for r.Next() {
			n++
			time.Sleep(testLimits.Time)
		}
		require.NoError(t, r.Err())
		require.Equal(t, 10, n)
	})
}

func TestHostile_ReadingManyPagesEndsAtItsTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, pages := newSQL(t)
		run(t, s, "CREATE TABLE t (a); INSERT INTO t SELECT zeroblob(900) FROM generate_series(1, 1000)")
		require.NoError(t, s.Commit())
		require.NoError(t, s.Close())
		pages.failOp = func(op string) error {
			if op == "read" {
				time.Sleep(testLimits.Time / 500)
			}
			return nil
		}
		_, err := try(s, "SELECT count(*) FROM t")
		require.ErrorIs(t, err, store.ErrLimit)
		pages.failOp = nil
		require.Equal(t, [][]any{{int64(1000)}}, run(t, s, "SELECT count(*) FROM t"))
	})
}

func TestHostile_ForeignKeyCheckEndsAtItsTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, pages := newSQL(t)
		run(t, s, "CREATE TABLE p (a PRIMARY KEY); CREATE TABLE t (a REFERENCES p, b); INSERT INTO p VALUES (1);"+
			"INSERT INTO t SELECT 1, zeroblob(900) FROM generate_series(1, 1000)")
		require.NoError(t, s.Commit())
		require.NoError(t, s.Close())
		for allowed, want := range map[time.Duration]error{10 * time.Second: store.ErrLimit, 30 * time.Second: nil} {
			s.Allow(allowed, 0)
			require.NoError(t, s.ForeignKeys(false))
			pages.failOp = func(op string) error {
				if op == "read" {
					time.Sleep(20 * time.Millisecond)
				}
				return nil
			}
			require.ErrorIs(t, s.ForeignKeys(true), want)
			pages.failOp = nil
			require.NoError(t, s.Close())
		}
	})
}

func TestHostile_StatementEndsWhenTheDatabaseIsClosed(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Time, l.Steps = time.Hour, 1<<60 })
	run(t, s, "SELECT 1")
	d := s.(*database)
	ended := make(chan error)
	go func() {
		_, err := try(s, endless+"SELECT count(*) FROM n")
		ended <- err
	}()
	ends(t, "Close", func() {
		for d.mu.TryLock() { // until the statement has it
			d.mu.Unlock()
		}
		require.NoError(t, s.Close())
	})
	require.ErrorIs(t, <-ended, store.ErrRowsEnded)
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT 1"))
}

// Some are within what SQLite bounds by itself; the others run out of its
// stack.
func TestHostile_NestingIsLimited(t *testing.T) {
	const depth = 300
	chain := func(begin, link string, n int) string {
		for i := range n {
			begin += fmt.Sprintf(link, i, i+1)
		}
		return begin
	}
	tables := chain("CREATE TABLE t0 (a);", "/*%d*/ CREATE TABLE t%d (a);", depth)
	for _, c := range []struct{ schema, query string }{
		{chain("CREATE TABLE v0 (a);", "CREATE VIEW v%[2]d AS SELECT a FROM v%[1]d;", depth), "SELECT * FROM v300"},
		{
			chain(
				tables, "CREATE TRIGGER g%[1]d AFTER INSERT ON t%[1]d BEGIN INSERT INTO t%[2]d VALUES (new.a); END;",
				depth,
			),
			"INSERT INTO t0 VALUES (1)",
		},
		{
			chain("CREATE TABLE c0 (a INTEGER PRIMARY KEY);",
				"CREATE TABLE c%[2]d (a INTEGER PRIMARY KEY REFERENCES c%[1]d ON DELETE CASCADE);", depth),
			"DELETE FROM c0",
		},
		{"", chain("WITH c0 AS (SELECT 1 AS a)", ", c%[2]d AS (SELECT a FROM c%[1]d)", depth) + " SELECT * FROM c300"},
		{"", "SELECT " + times(5000, "(") + "1" + times(5000, ")")},
		{"", "SELECT " + times(5000, "- ") + "1"},
		{"", "SELECT " + times(5000, "NOT ") + "1"},
		{"", "SELECT " + times(5000, "(SELECT ") + "1" + times(5000, ")")},
		{"", "SELECT * FROM " + times(3000, "(SELECT * FROM ") + "(SELECT 1)" + times(3000, ")")},
		{"", "SELECT 1 " + times(3000, "UNION SELECT 1 ")},
		{"", "SELECT 1 " + times(3000, "UNION ALL SELECT 1 ")},
		{"", "SELECT 1" + times(5000, "+1")},
		{"", "SELECT 1" + times(5000, " AND (1") + times(5000, ")")},
		{"", "SELECT " + times(5000, "abs(") + "1" + times(5000, ")")},
		{"", "SELECT " + times(3000, "CASE WHEN ") + "1" + times(3000, " THEN 1 END")},
	} {
		s, _ := newSQL(t)
		run(t, s, c.schema)
		require.NoError(t, s.Commit())
		_, err := try(s, c.query)
		require.ErrorIs(t, err, store.ErrLimit, "%.60s", c.query)
		require.Less(t, len(err.Error()), 300)
		require.NoError(t, s.Rollback())
		require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT 1"))
	}
}

func TestHostile_SortingIsBounded(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Steps, l.Time = 1<<40, time.Hour })
	_, err := try(s, "SELECT length(b) FROM (SELECT zeroblob(2000000) AS b FROM generate_series(1, 100)) ORDER BY b")
	require.ErrorIs(t, err, store.ErrLimit)
	require.ErrorContains(t, err, "memory")
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT 1"))
	require.LessOrEqual(t, s.(*database).conn.machine.size(), maxKept)
}
