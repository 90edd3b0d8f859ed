package sqlite

import (
	"testing"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
)

// TestFunctions_BehaveLikeSQLite compares ours with SQLite's own.
func TestFunctions_BehaveLikeSQLite(t *testing.T) {
	ours, _ := newSQL(t)
	theirs, err := sqlite3.Open(":memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, theirs.Close()) }()
	part := rapid.SampledFrom([]string{"a", "b", "ab", "aa", "", "é", "日", "\x00", "\xa9", "\xc3", "x"})
	argument := rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Int64Range(-20, 1200).Draw(t, "integer")
		case 2:
			return rapid.SampledFrom([]float64{0.5, -1, 1e300}).Draw(t, "float")
		}
		text := ""
		for _, p := range rapid.SliceOfN(part, 0, 6).Draw(t, "parts") {
			text += p
		}
		if rapid.Bool().Draw(t, "blob") {
			return []byte(text)
		}
		return text
	})
	const text = "SELECT instr(?1, ?2) AS a, typeof(?1), instr(?1, ?2), replace(?1, ?2, ?3) AS b, " +
		"typeof(replace(?1, ?2, ?3)), " +
		"hex(replace(?1, ?2, ?3))"
	rapid.Check(t, func(t *rapid.T) {
		args := []any{argument.Draw(t, "x"), argument.Draw(t, "y"), argument.Draw(t, "z")}
		p, _, err := theirs.Prepare(text)
		require.NoError(t, err)
		s := &statement{Stmt: p, parameters: 3}
		defer s.Close()
		require.NoError(t, s.bind(args))
		require.True(t, s.Step())
		var want []any
		for i := range s.ColumnCount() {
			want = append(want, value(p, i))
		}
		got, err := try(ours, text, args...)
		require.NoError(t, err)
		require.Equal(t, [][]any{want}, got)
	})
}

func TestFunctions_CostTheSumOfTheirSizes(t *testing.T) {
	s := limited(t, func(l *store.SQLLimits) { l.Steps = 1 << 40 })
	a := times(2<<20-10, "a")
	for _, needle := range []string{
		times(1<<20, "a") + "b", times(64<<10, "a") + "b", "b" + times(1<<20, "a"), times(1<<20, "\xa9"),
	} {
		ends(t, "instr", func() {
			require.Equal(
				t,
				[][]any{{int64(0), int64(0)}},
				run(t, s, "SELECT instr(?1, ?2), instr(CAST (?1 AS BLOB), CAST (?2 AS BLOB))",
					a, needle),
			)
			require.Equal(t, [][]any{{int64(len(a))}}, run(t, s, "SELECT length(replace(?1, ?2, 'x'))", a, needle))
		})
	}
	_, err := try(s, "SELECT replace(?, 'a', ?)", times(10_000, "a"), times(10_000, "b"))
	require.ErrorIs(t, err, store.ErrLimit)
}

func TestFunctions_MayBePartOfTheSchema(t *testing.T) {
	s, _ := newSQL(t)
	run(
		t, s,
		"CREATE TABLE t (a CHECK (instr(a, 'x') = 0), b AS (replace(a, 'a', 'b')) STORED); CREATE INDEX i ON t "+
			"(instr(a, 'b'))",
	)
	run(t, s, "INSERT INTO t VALUES ('banana')")
	require.Equal(t, [][]any{{"bbnbnb"}}, run(t, s, "SELECT b FROM t WHERE instr(a, 'b') = 1"))
}
