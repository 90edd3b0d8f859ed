package sqlite

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

func isOpen(s store.SQL) bool { return s.(*database).conn != nil }

func newMany(t *testing.T, p *Pool, n int) []store.SQL {
	many := make([]store.SQL, n)
	for i := range many {
		many[i] = openSQL(t, p, newPages())
		run(t, many[i], "CREATE TABLE t (a); INSERT INTO t VALUES (?)", i)
		require.NoError(t, many[i].Commit())
	}
	return many
}

func countOpen(many []store.SQL) (n int) {
	for _, s := range many {
		if isOpen(s) {
			n++
		}
	}
	return n
}

func TestPool_ClosesIdleConnectionsBeyondTheBound(t *testing.T) {
	p := newPool(t, 3)
	many := newMany(t, p, 10)
	require.Equal(t, 3, countOpen(many))
	for i, s := range many {
		require.Equal(t, []any{int64(i)}, all(t, s))
		require.LessOrEqual(t, countOpen(many), 3)
	}
}

func TestPool_ClosesTheLeastRecentlyUsedFirst(t *testing.T) {
	p := newPool(t, 4)
	many := newMany(t, p, 4)
	for range 3 {
		all(t, many[0])
		one := openSQL(t, p, newPages())
		run(t, one, "SELECT 1")
	}
	require.True(t, isOpen(many[0]))
}

func TestPool_ConnectionsInUseStayOpen(t *testing.T) {
	p := newPool(t, 2)
	many := newMany(t, p, 6)
	for i := range 3 {
		run(t, many[i], "INSERT INTO t VALUES (100)")
	}
	var open []store.Rows
	for _, s := range many[3:5] {
		r, err := s.Run("SELECT 1 UNION ALL SELECT 2", nil, noted)
		require.NoError(t, err)
		require.True(t, r.Next())
		open = append(open, r)
	}
	all(t, many[5])
	require.GreaterOrEqual(t, countOpen(many), 5)
	for _, r := range open {
		require.True(t, r.Next())
		require.Equal(t, int64(2), r.Value(0))
		require.NoError(t, r.Close())
	}
	for i := range 3 {
		require.NoError(t, many[i].Commit())
		require.Equal(t, []any{int64(i), int64(100)}, all(t, many[i]))
	}
	all(t, many[5])
	require.LessOrEqual(t, countOpen(many), 3)
}

func TestPool_Closed(t *testing.T) {
	p := New(0, slog.New(slog.DiscardHandler))
	name := p.name
	require.NotNil(t, vfs.Find(name))
	pages := newPages()
	s, err := p.OpenSQL(pages, testLimits)
	require.NoError(t, err)
	run(t, s, "CREATE TABLE t (a)")
	r, err := s.Run("SELECT 1", nil, noted)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.Nil(t, vfs.Find(name))
	require.False(t, isOpen(s))
	require.False(t, r.Next())
	require.ErrorIs(t, r.Err(), store.ErrRowsEnded)
	_, err = try(s, "SELECT 1")
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = p.OpenSQL(pages, testLimits)
	require.ErrorIs(t, err, store.ErrClosed)
	require.NoError(t, s.Close())
	require.NoError(t, p.Close())
	require.Zero(t, pages.writes)
}

func TestPool_ClosedDatabasesLeaveNothing(t *testing.T) {
	p := newPool(t, 10)
	newMany(t, p, 5)
	for _, s := range newMany(t, p, 5) {
		require.NoError(t, s.Close())
	}
	require.Empty(t, p.files)
	require.Equal(t, 5, p.open.Len())
}

func TestPool_DatabasesAreUsedConcurrently(t *testing.T) {
	p := newPool(t, 3)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s := openSQL(t, p, newPages())
			run(t, s, "CREATE TABLE t (a)")
			for i := range 50 {
				run(t, s, "INSERT INTO t VALUES (?)", i)
				if i%3 == 0 {
					require.NoError(t, s.Commit())
				}
				require.Len(t, run(t, s, "SELECT * FROM t"), i+1)
			}
			require.NoError(t, s.Commit())
		})
	}
	all.Wait()
	require.LessOrEqual(t, p.open.Len(), 8)
}
