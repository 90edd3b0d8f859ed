package rowscan_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/rowscan"
)

type row []any

func (r row) Value(column int) any { return r[column] }

type stamp struct {
	At time.Time `sql:"seen_at"`
}

type visit struct {
	stamp
	Name  string
	Count *int32
	Skip  string `sql:"-"`
}

// read reads a row with these columns into a T.
func read[T any](columns []string, values ...any) (v T, err error) {
	scan, err := rowscan.For[T, row](columns)
	if err == nil {
		err = scan(&v, values)
	}
	return v, err
}

func TestFor_ReadsStructsByTheNamesOfTheirFields(t *testing.T) {
	v, err := read[visit]([]string{"NAME", "seen_at", "count"}, []byte("ada"), "2026-01-02 03:04:05", int64(7))
	require.NoError(t, err)
	require.Equal(t, "ada", v.Name)
	require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), v.At)
	require.EqualValues(t, 7, *v.Count)

	_, err = read[visit]([]string{"name", "skip"}, "ada", "x")
	require.EqualError(t, err, `rowscan_test.visit has no field for column "skip"`)
	_, err = read[visit]([]string{"count"}, int64(math.MaxInt64))
	require.EqualError(t, err, `column "count": 9223372036854775807 overflows int32`)
}

func TestFor_ReadsASingleColumnIntoOtherTypes(t *testing.T) {
	n, err := read[int]([]string{"n"}, 2.0)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	_, err = read[int]([]string{"n"}, 2.5)
	require.EqualError(t, err, `column "n": cannot read float64 into int`)
	_, err = read[string]([]string{"s"}, nil)
	require.EqualError(t, err, `column "s": cannot read NULL into string`)
	_, err = read[int]([]string{"a", "b"}, int64(1), int64(2))
	require.EqualError(t, err, "2 columns for one value of int")
}

func TestColumn_NeedsAPointer(t *testing.T) {
	var b bool
	require.NoError(t, rowscan.Column(&b, "b", int64(1)))
	require.True(t, b)
	require.EqualError(t, rowscan.Column(b, "b", int64(1)), `column "b": the destination is no pointer`)
}
