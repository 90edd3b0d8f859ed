package sql_test

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSQL_RowsAreReadByColumn(t *testing.T) {
	withTable(t, func(_ context.Context, s *dog.Storage) {
		insert := "INSERT INTO t (rowid, a, b) VALUES (?, 1, 'x'), (?, NULL, x'00ff')"
		result := sqlExec(t, s, insert, math.MaxInt64-1, int64(math.MaxInt64))
		require.Equal(t, dog.SQLResult{LastInsertID: math.MaxInt64, RowsAffected: 2}, result)
		var seen [][]any
		for row, err := range s.SQL().Query(
			"SELECT rowid AS id, a, b FROM t WHERE rowid > :least", sql.Named("least", 5),
		) {
			require.NoError(t, err)
			require.Equal(t, []string{"id", "a", "b"}, row.Columns())
			var id uint64
			var a *int
			var b []byte
			require.NoError(t, row.Scan(&id, &a, &b))
			require.Error(t, row.Scan(&id, &a))
			require.Error(t, row.Scan(id, a, b))
			require.Nil(t, row.Value(3))
			require.Nil(t, row.Value(-1))
			seen = append(seen, []any{id, a == nil, string(b), row.Value(1)})
		}
		require.Equal(t, [][]any{
			{uint64(math.MaxInt64 - 1), false, "x", int64(1)}, {uint64(math.MaxInt64), true, "\x00\xff", nil},
		}, seen)
	})
}

type numbered struct {
	ID int64 `sql:"id"`
}

type person struct {
	numbered
	Name    string
	Nick    *string `sql:"nick_name"`
	Born    time.Time
	Seen    sql.NullTime
	Data    []byte
	Any     any
	Ready   bool
	Score   float32
	Upper   shout
	Ignored string `sql:"-"`
}

// shout is a Scanner.
type shout string

func (s *shout) Scan(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New("no text")
	}
	*s = shout(strings.ToUpper(text))
	return nil
}

func TestSQL_RowsAreReadIntoStructs(t *testing.T) {
	withTable(t, func(_ context.Context, s *dog.Storage) {
		born := time.Date(2020, 2, 3, 4, 5, 6, 7, time.UTC)
		nick := "n"
		query := `SELECT ? AS id, 'ada' AS NAME, 'n' AS nick_name, ? AS born, '2020-02-03 04:05:06' AS Seen,
			x'01' AS data, 7 AS "any", 1 AS ready, 0.5 AS score, 'abc' AS upper`
		got, found, err := dog.QueryRowAs[person](s.SQL(), query, 5, born)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, person{
			numbered: numbered{5}, Name: "ada", Nick: &nick, Born: born,
			Seen: sql.NullTime{Time: born.Truncate(time.Second), Valid: true},
			Data: []byte{1}, Any: int64(7), Ready: true, Score: 0.5, Upper: "ABC",
		}, got)

		got, found, err = dog.QueryRowAs[person](
			s.SQL(), `SELECT NULL AS nick_name, NULL AS seen, NULL AS data, NULL AS "any"`,
		)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, person{}, got)

		for _, query := range []string{
			"SELECT 1 AS absent", "SELECT 1 AS absent WHERE 0", "SELECT 1 AS ignored", "SELECT 1 AS \"-\"",
			"SELECT NULL AS name",
			"SELECT 'x' AS id", "SELECT 2 AS ready", "SELECT 'never' AS born", "SELECT 1 AS upper",
		} {
			_, found, err := dog.QueryRowAs[person](s.SQL(), query)
			require.Error(t, err, query)
			require.False(t, found)
			column := strings.Trim(strings.Fields(query)[3], `"`)
			require.ErrorContains(t, err, column, "the error names the column")
		}
	})
}

func TestSQL_ScanRefusesLossyConversions(t *testing.T) {
	withTable(t, func(_ context.Context, s *dog.Storage) {
		q := s.SQL()
		check := func(got any, found bool, err error) func(want any) {
			return func(want any) {
				t.Helper()
				if want == nil {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				require.True(t, found)
				require.Equal(t, want, got)
			}
		}
		one := func(into, query string) func(any) {
			switch into {
			case "int8":
				v, found, err := dog.QueryRowAs[int8](q, query)
				return check(v, found, err)
			case "uint64":
				v, found, err := dog.QueryRowAs[uint64](q, query)
				return check(v, found, err)
			case "int64":
				v, found, err := dog.QueryRowAs[int64](q, query)
				return check(v, found, err)
			case "float32":
				v, found, err := dog.QueryRowAs[float32](q, query)
				return check(v, found, err)
			case "float64":
				v, found, err := dog.QueryRowAs[float64](q, query)
				return check(v, found, err)
			case "bool":
				v, found, err := dog.QueryRowAs[bool](q, query)
				return check(v, found, err)
			case "string":
				v, found, err := dog.QueryRowAs[string](q, query)
				return check(v, found, err)
			case "bytes":
				v, found, err := dog.QueryRowAs[[]byte](q, query)
				return check(v, found, err)
			}
			v, found, err := dog.QueryRowAs[time.Time](q, query)
			return check(v, found, err)
		}
		one("int8", "SELECT -128")(int8(-128))
		one("int8", "SELECT 128")(nil)
		one("int8", "SELECT 3.0")(int8(3))
		one("int8", "SELECT 3.5")(nil)
		one("int8", "SELECT '3'")(nil)
		one("int64", "SELECT -9223372036854775808")(int64(math.MinInt64))
		one("int64", "SELECT 9e18")(int64(9e18))
		one("int64", "SELECT 1e19")(nil)
		one("uint64", "SELECT 9223372036854775807")(uint64(math.MaxInt64))
		one("uint64", "SELECT -1")(nil)
		one("float64", "SELECT 9007199254740992")(float64(1 << 53))
		one("float64", "SELECT 9007199254740993")(nil)
		one("float64", "SELECT 9223372036854775807")(nil)
		one("float64", "SELECT -9223372036854775808")(float64(math.MinInt64))
		one("float32", "SELECT 16777217")(nil)
		one("float32", "SELECT 0.1")(float32(0.1))
		one("float32", "SELECT 16777217.0")(float32(16777216))
		one("float32", "SELECT 1e300")(nil)
		one("bool", "SELECT 1")(true)
		one("bool", "SELECT 2")(nil)
		one("string", "SELECT x'6162'")("ab")
		one("string", "SELECT 1")(nil)
		one("bytes", "SELECT 'ab'")([]byte("ab"))
		one("bytes", "SELECT x''")([]byte{})
		one("bytes", "SELECT 1")(nil)
		one("string", "SELECT NULL")(nil)
		one("string", "SELECT 'a', 'b'")(nil)
		one("time", "SELECT '2020-02-03'")(time.Date(2020, 2, 3, 0, 0, 0, 0, time.UTC))
		one("time", "SELECT '2020-02-03 04:05:06.5'")(time.Date(2020, 2, 3, 4, 5, 6, 5e8, time.UTC))
		one("time", "SELECT 'now'")(nil)
		one("time", "SELECT 5")(nil)
		v, found, err := dog.QueryRowAs[[]byte](q, "SELECT NULL")
		require.NoError(t, err)
		require.True(t, found)
		require.Nil(t, v)
		now, _, err := dog.QueryRowAs[time.Time](q, "SELECT CURRENT_TIMESTAMP")
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), now, time.Minute)
		_, found, err = dog.QueryRowAs[int](q, "SELECT 1 WHERE 0")
		require.NoError(t, err)
		require.False(t, found)
	})
}

func TestSQL_QueriesMayBeNestedAndLeft(t *testing.T) {
	withTable(t, func(_ context.Context, s *dog.Storage) {
		sqlExec(t, s, "INSERT INTO t SELECT value, value * 2 FROM generate_series(1, 100)")
		sum := 0
		for outer, err := range dog.QueryAs[int](s.SQL(), "SELECT a FROM t ORDER BY a") {
			require.NoError(t, err)
			for inner, err := range dog.QueryAs[int](s.SQL(), "SELECT b FROM t WHERE a >= ? ORDER BY a", outer) {
				require.NoError(t, err)
				sum += inner
				break
			}
			if outer == 10 {
				break
			}
		}
		require.Equal(t, 110, sum)
		sqlExec(t, s, "DROP TABLE t") // which rows that are still open would prevent
	})
}

func TestSQL_ErrorsHaveKinds(t *testing.T) {
	withTable(t, func(_ context.Context, s *dog.Storage) {
		sqlExec(t, s, "CREATE TABLE u (a UNIQUE); INSERT INTO u VALUES (1)")
		for query, want := range map[string]error{
			"ATTACH 'x' AS y":                       dog.ErrSQLRefused,
			"BEGIN":                                 dog.ErrSQLRefused,
			"CREATE TABLE _dog_x (a)":               dog.ErrSQLRefused,
			"INSERT INTO u VALUES (1)":              dog.ErrConstraint,
			"SELECT zeroblob(3000000)":              dog.ErrSQLLimit,
			"SELECT ?101":                           dog.ErrSQLLimit,
			strings.Repeat(" ", 100_001):            dog.ErrSQLLimit,
			"SELECT 1" + strings.Repeat(", 1", 100): dog.ErrSQLLimit,
		} {
			_, err := s.SQL().Exec(query)
			require.ErrorIs(t, err, want, query)
			n := 0
			for _, err := range s.SQL().Query(query) {
				require.ErrorIs(t, err, want, query)
				n++
			}
			require.Equal(t, 1, n, "an error is the last item")
		}
		sqlExec(t, s, "SELECT 1")
	})
}

func TestSQL_NeedsAStoreWithSQL(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		_, err := c.Storage().SQL().Exec("SELECT 1")
		require.ErrorIs(t, err, dog.ErrNoStore)
		return nil
	}))
}

func TestSQL_FailsOutsideATurn(t *testing.T) {
	var none dog.Object
	_, err := none.Storage().SQL().Exec("SELECT 1")
	fixture.RequireUsage(t, err, "not made by a runtime")
	_, _, err = dog.QueryRowAs[int](none.Storage().SQL(), "SELECT 1")
	fixture.RequireUsage(t, err, "not made by a runtime")

	var kept *dog.Storage
	withTable(t, func(_ context.Context, s *dog.Storage) { kept = s })
	_, err = kept.SQL().Exec("SELECT 1")
	require.ErrorIs(t, err, dog.ErrOutsideTurn)
	_, _, err = dog.QueryRowAs[int](kept.SQL(), "SELECT 1")
	require.ErrorIs(t, err, dog.ErrOutsideTurn)
}

func TestSQL_QueryRunsWithoutALoop(t *testing.T) {
	withTable(t, func(_ context.Context, s *dog.Storage) {
		sqlExec(t, s, "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
		s.SQL().Query("DELETE FROM t WHERE a = 1")
		dog.QueryAs[int](s.SQL(), "DELETE FROM t WHERE a = 2 RETURNING a")
		require.Equal(t, []int{3}, sqlList[int](t, s, "SELECT a FROM t"))

		rows := s.SQL().Query("SELECT a FROM t")
		for _, err := range rows {
			require.NoError(t, err)
		}
		for _, err := range rows {
			fixture.RequireUsage(t, err, "read on after", "the second loop")
		}
		s.SQL().Query("SELECT a FROM t") // left open, it does not outlive the turn
	})
}

func TestSQL_ErrorOfAQueryWithoutALoopIsLogged(t *testing.T) {
	options, log := fixture.LogToBuffer()
	options.Store = disk.Memory()
	_, cells := fixture.NewObjects(t, options)
	require.NoError(t, fixture.Commit(t, cells.Named("a"), func(s *dog.Storage) error {
		s.SQL().Query("DELETE FROM unread")
		for _, err := range s.SQL().Query("DELETE FROM looped") {
			require.ErrorContains(t, err, "looped")
		}
		_, _, err := dog.QueryRowAs[int](s.SQL(), "SELECT a FROM one")
		require.ErrorContains(t, err, "one")
		require.Empty(t, log.String())
		return nil
	}))
	require.Equal(t, 1, strings.Count(log.String(), "rows were not read"))
	require.Contains(t, log.String(), "no such table: unread")
}
