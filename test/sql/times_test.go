package sql_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

// requireTimes requires that a query of times has these results.
func requireTimes(t *testing.T, s *dog.Storage, query string, want []time.Time) {
	t.Helper()
	got := sqlList[time.Time](t, s, query)
	require.Len(t, got, len(want))
	for i, at := range want {
		require.True(t, at.Equal(got[i]), "%d: %v, not %v", i, got[i], at)
	}
}

func TestSQL_TimesOfAllYearsAndZonesAreReadBack(t *testing.T) {
	withTable(t, func(_ context.Context, s *dog.Storage) {
		first := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
		last := time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
		times := []time.Time{
			first, first.Add(1), first.Add(time.Second),
			time.Unix(0, 0), time.Date(2026, 3, 29, 2, 30, 0, 5, time.FixedZone("", 5*3600+1800)),
			last.Add(-time.Second), last.Add(-1), last,
		}
		var want []time.Time
		for _, at := range times {
			for _, offset := range []int{0, 14 * 3600, -12 * 3600, 3600 + 60, -1} {
				zoned := at.In(time.FixedZone("", offset))
				sqlExec(t, s, "INSERT INTO t (a) VALUES (?)", zoned)
				want = append(want, at)
			}
		}
		requireTimes(t, s, "SELECT a FROM t ORDER BY rowid", want)
		requireTimes(t, s, "SELECT a FROM t ORDER BY a, rowid", want)
	})
}

// toOrder is the statement that the comment of dog.SQL shows.
const toOrder = "UPDATE t SET at = replace(rtrim(at, 'Z'), 'T', ' ')"

// Earlier programs and programs of other origin store times in RFC 3339.
func TestSQL_TimesInRFC3339CanBeConverted(t *testing.T) {
	source, err := os.ReadFile("../../sql.go")
	require.NoError(t, err)
	require.Contains(t, string(source), "\t"+toOrder+"\n")
	withTable(t, func(_ context.Context, s *dog.Storage) {
		sqlExec(t, s, "ALTER TABLE t RENAME a TO at")
		day := time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC)
		var want []time.Time
		for i, after := range []time.Duration{
			0, 1, time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 90 * time.Minute,
			23*time.Hour + 59*time.Minute, 24 * time.Hour, 24*time.Hour + 5,
		} {
			at := day.Add(after)
			want = append(want, at)
			var stored any = at
			if i%2 == 0 {
				stored = at.Format(time.RFC3339Nano)
			}
			sqlExec(t, s, "INSERT INTO t VALUES (?, ?)", stored, i)
		}
		sqlExec(t, s, "INSERT INTO t VALUES (NULL, NULL)")
		requireTimes(t, s, "SELECT at FROM t WHERE at NOT NULL ORDER BY b", want)
		order := func() []int { return sqlList[int](t, s, "SELECT b FROM t WHERE at NOT NULL ORDER BY at") }
		require.False(t, slices.IsSorted(order()), "it is why there is a statement")

		for range 2 { // what has been converted does not change
			sqlExec(t, s, toOrder)
			requireTimes(t, s, "SELECT at FROM t WHERE at NOT NULL ORDER BY at", want)
			require.IsIncreasing(t, order())
		}
		for i, at := range want { // and equals what is stored for the same time
			require.Equal(t, []int{i}, sqlList[int](t, s, "SELECT b FROM t WHERE at = ?", at))
		}
		require.Equal(t, []int{1}, sqlList[int](t, s, "SELECT count(*) FROM t WHERE at IS NULL"))

		sqlExec(t, s, "DELETE FROM t; INSERT INTO t (at) VALUES ('2026-02-03T05:30:00.25+05:30')")
		requireTimes(t, s, "SELECT at FROM t", []time.Time{day.Add(250 * time.Millisecond)})
	})
}
