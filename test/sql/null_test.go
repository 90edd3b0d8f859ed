package sql_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

type ratio float64

// The types of database/sql for NULL keep a number, or refuse it, as the types
// in them do.
func TestSQL_NullFloatsAreNotRounded(t *testing.T) {
	_, cells := newTables(t, disk.Memory(), dog.ObjectOptions[fixture.Object]{})
	require.NoError(t, fixture.Commit(t, cells.Named("x"), func(s *dog.Storage) error {
		const exact, rounded = "SELECT 9007199254740992", "SELECT 9007199254740993"
		v, _, err := dog.QueryRowAs[sql.NullFloat64](s.SQL(), exact)
		require.NoError(t, err)
		require.Equal(t, sql.NullFloat64{Float64: 1 << 53, Valid: true}, v)
		n, _, err := dog.QueryRowAs[sql.Null[ratio]](s.SQL(), exact)
		require.NoError(t, err)
		require.Equal(t, sql.Null[ratio]{V: 1 << 53, Valid: true}, n)
		v, _, err = dog.QueryRowAs[sql.NullFloat64](s.SQL(), "SELECT NULL")
		require.NoError(t, err)
		require.Zero(t, v)
		n, _, err = dog.QueryRowAs[sql.Null[ratio]](s.SQL(), "SELECT NULL")
		require.NoError(t, err)
		require.Zero(t, n)
		_, _, err = dog.QueryRowAs[sql.NullFloat64](s.SQL(), rounded)
		require.ErrorContains(t, err, "overflows")
		_, _, err = dog.QueryRowAs[sql.Null[ratio]](s.SQL(), rounded)
		require.ErrorContains(t, err, "overflows")
		_, _, err = dog.QueryRowAs[sql.Null[float32]](s.SQL(), "SELECT 16777217")
		require.ErrorContains(t, err, "overflows")
		return nil
	}))
}
