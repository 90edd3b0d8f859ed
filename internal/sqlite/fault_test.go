package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

var errDisk = errors.New("disk on fire")

// failAt makes the nth operation of these pages fail. *hit reports whether it
// was reached.
func (p *memoryPages) failAt(n int) (hit *bool) {
	hit = new(bool)
	p.failOp = func(string) error {
		if n--; n == 0 {
			*hit = true
			return errDisk
		}
		return nil
	}
	return hit
}

// TestFault_PageFailuresAreReportedAndUndone fails each operation of a
// transaction in turn.
func TestFault_PageFailuresAreReportedAndUndone(t *testing.T) {
	pool := newPool(t, 10)
	pages := newPages()
	s := openSQL(t, pool, pages)
	run(t, s, "CREATE TABLE t (a); CREATE TABLE u (a)")
	run(t, s, "INSERT INTO t SELECT randomblob(2000) FROM generate_series(1, 60); INSERT INTO u VALUES (1)")
	require.NoError(t, s.Commit())
	sums := func() [][]any { return run(t, s, "SELECT count(*), sum(length(a)), (SELECT count(*) FROM u) FROM t") }
	want := sums()
	workload := func() error {
		r, err := s.Run("SELECT a FROM t", nil, noted)
		if err != nil {
			return err
		}
		defer r.Close()
		if !r.Next() {
			return r.Err()
		}
		for _, query := range []string{
			"DELETE FROM t WHERE rowid % 2 = 0", "UPDATE t SET a = randomblob(3000) WHERE rowid % 3 = 0",
			"INSERT INTO u VALUES (2)", "CREATE TABLE v (a)", "DELETE FROM t WHERE rowid > 30",
		} {
			if _, err := try(s, query); err != nil {
				return err
			}
		}
		for r.Next() {
			_ = r.Value(0)
		}
		if err := r.Err(); err != nil {
			return err
		}
		return s.Commit()
	}
	for n := 1; ; n++ {
		require.NoError(t, s.Close())
		before := pages.clone()
		hit := pages.failAt(n)
		err := workload()
		pages.failOp = nil
		if !*hit {
			require.NoError(t, err)
			require.Greater(t, n, 100)
			return
		}
		require.ErrorIs(t, err, errDisk, n)
		if s.(*database).begun {
			_, err = try(s, "SELECT 1")
			require.ErrorIs(t, err, errDisk, "only Rollback is left")
			require.ErrorIs(t, s.Commit(), errDisk)
		}
		pages.undo(before)
		require.NoError(t, s.Rollback())
		require.Equal(t, want, sums(), n)
		require.Equal(t, [][]any{{"ok"}}, run(t, s, "PRAGMA integrity_check"))
		require.True(t, maps.Equal(before.pages, pages.pages))
	}
}

func TestFault_FailedReadOutsideATransactionNeedsNoRollback(t *testing.T) {
	s, pages := newT(t)
	run(t, s, "INSERT INTO t SELECT randomblob(2000) FROM generate_series(1, 60)")
	require.NoError(t, s.Commit())
	require.NoError(t, s.Close())
	other, err := s.Run("SELECT 1 UNION ALL SELECT 2", nil, noted)
	require.NoError(t, err)
	pages.failOp = func(op string) error { return errDisk }
	_, err = try(s, "SELECT a FROM t")
	require.ErrorIs(t, err, errDisk)
	require.False(t, other.Next())
	require.ErrorIs(t, other.Err(), store.ErrRowsEnded)
	_, err = try(s, "SELECT a FROM t")
	require.ErrorIs(t, err, errDisk)
	pages.failOp = nil
	require.Len(t, all(t, s), 60)
}

func TestFault_StoreErrorsAreReturned(t *testing.T) {
	for _, cause := range []error{store.ErrFull, store.ErrFailed, store.ErrCorrupt} {
		s, pages := newT(t)
		run(t, s, "INSERT INTO t VALUES (1)")
		pages.failOp = func(op string) error { return fmt.Errorf("wrapped: %w", cause) }
		require.ErrorIs(t, s.Commit(), cause)
		require.NoError(t, s.Rollback())
		_, err := try(s, "SELECT * FROM t")
		require.ErrorIs(t, err, cause)
	}
}

func TestFault_DamagedPages(t *testing.T) {
	s, pages := newT(t)
	run(t, s, "INSERT INTO t SELECT randomblob(2000) FROM generate_series(1, 60)")
	require.NoError(t, s.Commit())
	image := pages.clone()
	refusedOnce := 0
	for n := range image.count {
		require.NoError(t, s.Close())
		pages.undo(image)
		page := pages.pages[n]
		for i := range page {
			page[i] ^= 0xa5
		}
		pages.pages[n] = page
		check, err := try(s, "PRAGMA integrity_check")
		if err != nil {
			require.ErrorIs(t, err, store.ErrCorrupt, n)
			refusedOnce++
		} else if len(check) > 1 || check[0][0] != "ok" {
			refusedOnce++
		}
	}
	require.Positive(t, refusedOnce)

	require.NoError(t, s.Close())
	pages.undo(image)
	require.NoError(t, pages.SetCount(image.count/2)) // pages are missing
	_, err := try(s, "SELECT sum(length(a)) FROM t")
	require.ErrorIs(t, err, store.ErrCorrupt)

	require.NoError(t, s.Close())
	pages.undo(image)
	pages.pages[0] = [pageSize]byte{'n', 'o'}
	_, err = try(s, "SELECT * FROM t")
	require.ErrorIs(t, err, store.ErrCorrupt)
}

func TestFault_PanicIsAShortErrorWithDetailsInTheLog(t *testing.T) {
	var log strings.Builder
	p := New(10, slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	pages := newPages()
	s := openSQL(t, p, pages)
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())
	require.NoError(t, s.Close())
	check := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, store.ErrRefused)
		require.ErrorContains(t, err, "SQLite failed at the statement")
		require.Less(t, len(err.Error()), 200)
		require.NotContains(t, err.Error(), "\n")
		require.Contains(t, log.String(), "page on fire")
		require.Contains(t, log.String(), "goroutine ")
		log.Reset()
	}
	pages.failOp = func(op string) error {
		if op == "read" {
			panic("page on fire")
		}
		return nil
	}
	_, err := try(s, "SELECT * FROM t")
	check(err)
	pages.failOp = nil
	require.Empty(t, run(t, s, "SELECT * FROM t"))
	run(t, s, "INSERT INTO t VALUES (1)")
	pages.failOp = func(op string) error { panic("page on fire") }
	check(s.Commit())
	pages.failOp = nil
	require.NoError(t, s.Rollback())
	require.Empty(t, run(t, s, "SELECT * FROM t"))
}

// TestFault_SQLiteCannotWriteBeforeTheCommit makes it try.
func TestFault_SQLiteCannotWriteBeforeTheCommit(t *testing.T) {
	s, pages := newT(t)
	c := s.(*database).conn
	require.NoError(t, c.control("PRAGMA cache_spill=ON"))
	run(t, s, "INSERT INTO t VALUES (1)")
	before := pages.writes
	require.Error(t, c.db.CacheFlush())
	require.Equal(t, before, pages.writes)
	require.ErrorIs(t, s.Commit(), store.ErrFailed)
	require.NoError(t, s.Rollback())
	require.Empty(t, all(t, s))
}
