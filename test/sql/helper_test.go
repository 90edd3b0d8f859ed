package sql_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

// newTables registers objects with options on a store that has SQL.
func newTables(
	t testing.TB, keep dog.Store, options dog.ObjectOptions[fixture.Object],
) (*dog.Runtime, *dog.Namespace[fixture.Object]) {
	t.Helper()
	rt := dogtest.New(t, dog.Options{Store: keep})
	cells, err := dog.RegisterObject(rt, "cell", &options)
	require.NoError(t, err)
	return rt, cells
}

// withTable runs f in a turn of an object that has a table t.
func withTable(t *testing.T, f func(ctx context.Context, s *dog.Storage)) {
	t.Helper()
	_, cells := newTables(
		t, disk.Memory(), dog.ObjectOptions[fixture.Object]{Schema: dog.Schema{"CREATE TABLE t (a, b)"}},
	)
	require.NoError(t, fixture.InTurn(cells.Named("x"), func(ctx context.Context, c *fixture.Object) error {
		f(ctx, c.Storage())
		return nil
	}))
}

func sqlExec(t testing.TB, s *dog.Storage, query string, args ...any) dog.SQLResult {
	t.Helper()
	result, err := s.SQL().Exec(query, args...)
	require.NoError(t, err)
	return result
}

// sqlList returns the one column of a query.
func sqlList[T any](t testing.TB, s *dog.Storage, query string, args ...any) []T {
	t.Helper()
	out := []T{}
	for v, err := range dog.QueryAs[T](s.SQL(), query, args...) {
		require.NoError(t, err)
		out = append(out, v)
	}
	return out
}

// watched is a store that counts.
type watched struct {
	inner   dog.Store
	gets    atomic.Int64 // reads of single keys
	commits atomic.Int64
	opened  atomic.Int64 // databases
	closed  atomic.Int64
}

func (w *watched) OpenEngine(log *slog.Logger) (store.Engine, error) {
	e, err := hook.OpenStore(w.inner, log)
	return &watchedEngine{e, w}, err
}

type watchedEngine struct {
	store.Engine
	w *watched
}

func (e *watchedEngine) Get(key []byte) ([]byte, bool, error) {
	e.w.gets.Add(1)
	return e.Engine.Get(key)
}

func (e *watchedEngine) Begin() store.Batch { return &watchedBatch{e.Engine.Begin(), e.w} }

func (e *watchedEngine) OpenSQL(pages store.Pages, limits store.SQLLimits) (store.SQL, error) {
	e.w.opened.Add(1)
	db, err := e.Engine.OpenSQL(pages, limits)
	return &watchedSQL{SQL: db, w: e.w}, err
}

type watchedBatch struct {
	store.Batch
	w *watched
}

func (b *watchedBatch) Commit() (uint64, error) {
	b.w.commits.Add(1)
	return b.Batch.Commit()
}

type watchedSQL struct {
	store.SQL
	w    *watched
	once atomic.Bool
}

func (s *watchedSQL) Close() error {
	if s.once.CompareAndSwap(false, true) {
		s.w.closed.Add(1)
	}
	return s.SQL.Close()
}
