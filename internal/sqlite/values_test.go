package sqlite

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
)

type (
	word    string
	count   uint16
	raw     []byte
	celsius float64
)

// upper is a Valuer that stores itself in capitals.
type upper string

func (u upper) Value() (driver.Value, error) {
	if u == "bad" {
		return nil, errors.New("bad value")
	}
	return strings.ToUpper(string(u)), nil
}

func TestValues_RoundTrip(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (v)")
	seven := 7
	at := time.Date(2026, 2, 3, 4, 5, 6, 789, time.FixedZone("", 3600))
	for name, c := range map[string]struct{ in, out any }{
		"nil":               {nil, nil},
		"nil blob":          {[]byte(nil), nil},
		"empty blob":        {[]byte{}, []byte{}},
		"blob with zeros":   {[]byte{0, 1, 0, 255, 0}, []byte{0, 1, 0, 255, 0}},
		"empty string":      {"", ""},
		"string with zeros": {"a\x00b\x00", "a\x00b\x00"},
		"invalid UTF-8":     {"\xff\xfe", "\xff\xfe"},
		"greatest integer":  {int64(math.MaxInt64), int64(math.MaxInt64)},
		"least integer":     {int64(math.MinInt64), int64(math.MinInt64)},
		"beyond 53 bits":    {int64(1<<53 + 1), int64(1<<53 + 1)},
		"int":               {-7, int64(-7)},
		"uint8":             {uint8(200), int64(200)},
		"uint64":            {uint64(math.MaxInt64), int64(math.MaxInt64)},
		"float":             {math.Pi, math.Pi},
		"float32":           {float32(0.5), 0.5},
		"whole float":       {2.0, 2.0},
		"infinity":          {math.Inf(1), math.Inf(1)},
		"true":              {true, int64(1)},
		"false":             {false, int64(0)},
		"time in UTC":       {at, "2026-02-03 03:05:06.000000789"},
		"time of a second":  {at.Truncate(time.Second), "2026-02-03 03:05:06"},
		"first time":        {time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), "0000-01-01 00:00:00"},
		"last time": {
			time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), "9999-12-31 23:59:59.999999999",
		},
		"named string":       {word("w"), "w"},
		"named integer":      {count(3), int64(3)},
		"named blob":         {raw{1, 2}, []byte{1, 2}},
		"named float":        {celsius(21.5), 21.5},
		"pointer":            {&seven, int64(7)},
		"nil pointer":        {(*int)(nil), nil},
		"valuer":             {upper("abc"), "ABC"},
		"nil valuer pointer": {(*upper)(nil), nil},
		"sql.Null":           {sql.Null[string]{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, s, "DELETE FROM t; INSERT INTO t VALUES (?)", c.in)
			require.Equal(t, [][]any{{c.out}}, run(t, s, "SELECT v FROM t"))
			require.NoError(t, s.Commit())
			require.NoError(t, s.Close())
			require.Equal(t, [][]any{{c.out}}, run(t, s, "SELECT v FROM t"))
		})
	}
}

func TestArguments_RefuseValuesThatCannotBeStored(t *testing.T) {
	s, _ := newSQL(t)
	for name, arg := range map[string]any{
		"struct":         struct{}{},
		"map":            map[string]int{},
		"slice":          []int{1},
		"failing valuer": upper("bad"),
	} {
		_, err := try(s, "SELECT ?", arg)
		require.Error(t, err, name)
		_, err = try(s, "SELECT :v", sql.Named("v", arg))
		require.Error(t, err, name)
	}
}

func TestArguments_RefuseValuesThatSQLiteWouldChange(t *testing.T) {
	s, _ := newSQL(t)
	type bits uint
	large := uint(math.MaxUint)
	pointer := &large
	early := time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600))
	for name, arg := range map[string]any{
		"uint":                     large,
		"uint64":                   uint64(math.MaxInt64) + 1,
		"uint of a type":           bits(large),
		"pointer to uint":          &large,
		"uint in sql.Null":         sql.Null[uint]{V: large, Valid: true},
		"pointer in sql.Null":      &sql.Null[*bits]{V: (*bits)(&large), Valid: true},
		"uint64 in sql.Null":       sql.Null[uint64]{V: math.MaxUint64, Valid: true},
		"pointer to pointer":       &pointer,
		"NaN":                      math.NaN(),
		"NaN of 32 bits":           float32(math.NaN()),
		"NaN in sql.Null":          sql.Null[float64]{V: math.NaN(), Valid: true},
		"year 10000":               time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		"year 10000 by its zone":   time.Date(9999, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600)),
		"year -1":                  time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
		"year -1 by its zone":      early,
		"pointer to a year":        &early,
		"year -1 in sql.NullTime":  sql.NullTime{Time: early, Valid: true},
		"pointer to sql.Null time": &sql.Null[time.Time]{V: early, Valid: true},
	} {
		_, err := try(s, "SELECT ?", arg)
		require.ErrorIs(t, err, store.ErrLimit, name)
		require.ErrorContains(t, err, "argument 1", name)
		_, err = try(s, "SELECT :v", sql.Named("v", arg))
		require.ErrorIs(t, err, store.ErrLimit, name)
	}
}

// A decimal is what database/sql leaves to its driver.
type decimal struct{}

func (decimal) Decompose([]byte) (form byte, negative bool, coefficient []byte, exponent int32) {
	return 0, false, []byte{1}, 0
}

func TestArguments_RefuseDecimals(t *testing.T) {
	s, _ := newSQL(t)
	for _, arg := range []any{decimal{}, &decimal{}, sql.Null[decimal]{Valid: true}, sql.Named("v", decimal{})} {
		_, err := try(s, "SELECT :v", arg)
		require.ErrorContains(t, err, "decimal", "%T", arg)
	}
}

// anyTime draws times that lie close together as often as far apart.
var anyTime = rapid.Custom(func(t *rapid.T) time.Time {
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if rapid.Bool().Draw(t, "far") {
		base = base.AddDate(rapid.IntRange(-2020, 7900).Draw(t, "years"), 0, 0)
	}
	unit := rapid.SampledFrom(
		[]time.Duration{time.Nanosecond, time.Microsecond, 50 * time.Millisecond, time.Second, time.Hour},
	).Draw(t, "unit")
	zone := time.FixedZone("", rapid.IntRange(-12, 12).Draw(t, "zone")*3600)
	return base.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "n")) * unit).In(zone)
})

func TestValues_StoredTimesSortChronologically(t *testing.T) {
	s, _ := newSQL(t)
	ask := func(t *rapid.T, query string, args ...any) [][]any {
		rows, err := try(s, query, args...)
		require.NoError(t, err)
		return rows
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyTime.Draw(t, "a"), anyTime.Draw(t, "b")
		got := ask(t, "SELECT ?1 < ?2, ?1 = ?2, ?1 > ?2", a, b)
		require.Equal(t, [][]any{{truth(a.Before(b)), truth(a.Equal(b)), truth(a.After(b))}}, got)

		// SQLite's own functions know whole seconds, or milliseconds.
		a, b = a.Truncate(time.Second), b.Truncate(time.Millisecond)
		got = ask(t, "SELECT ?1 < datetime(?2), ?1 = datetime(?1), ?1 > datetime(?2)", a, b.Truncate(time.Second))
		require.Equal(
			t, [][]any{{truth(a.Before(b.Truncate(time.Second))), int64(1), truth(a.After(b.Truncate(time.Second)))}},
			got,
		)
		if !a.Equal(b) {
			got = ask(t, "SELECT ?1 < datetime(?2, 'subsec')", a, b)
			require.Equal(t, [][]any{{truth(a.Before(b))}}, got)
		}
	})
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func TestArguments_BindToTheirParameters(t *testing.T) {
	s, _ := newSQL(t)
	for _, c := range []struct {
		query string
		args  []any
		want  []any // nil: an error
	}{
		{"SELECT ?, ?", []any{1, 2}, []any{int64(1), int64(2)}},
		{"SELECT ?2, ?1", []any{1, 2}, []any{int64(2), int64(1)}},
		{"SELECT :a, :b", []any{1, 2}, []any{int64(1), int64(2)}},
		{"SELECT :a, @b, $c, :a", []any{sql.Named("c", 3), sql.Named("a", 1), sql.Named("b", 2)},
			[]any{int64(1), int64(2), int64(3), int64(1)}},
		{"SELECT :a, @a", []any{sql.Named("a", 1)}, []any{int64(1), int64(1)}},
		{"SELECT ?, :a, ?", []any{1, sql.Named("a", 2), 3}, []any{int64(1), int64(2), int64(3)}},
		{"SELECT 1", nil, []any{int64(1)}},
		{"SELECT ?, ?", []any{1}, nil},
		{"SELECT ?", []any{1, 2}, nil},
		{"SELECT 1", []any{1}, nil},
		{"SELECT :a, :b", []any{sql.Named("a", 1)}, nil},
		{"SELECT :a", []any{sql.Named("b", 1)}, nil},
		{"SELECT :a", []any{sql.Named("a", 1), sql.Named("a", 2)}, nil},
		{"SELECT :a", []any{sql.Named("a", 1), 2}, nil},
		{"SELECT ?; SELECT ?", []any{1, 2}, nil},
		{"SELECT ?; SELECT ?", []any{1}, nil},
		{"SELECT ?; SELECT 1", []any{1}, nil},
		{"-- nothing", []any{1}, nil},
	} {
		got, err := try(s, c.query, c.args...)
		if c.want == nil {
			require.Error(t, err, c.query)
			continue
		}
		require.NoError(t, err, c.query)
		require.Equal(t, [][]any{c.want}, got, c.query)
	}
}

func TestArguments_AreNotKeptByCachedStatements(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "SELECT ?", "secret")
	_, err := try(s, "SELECT ?")
	require.Error(t, err)
}
