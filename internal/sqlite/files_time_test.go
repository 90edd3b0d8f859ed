package sqlite

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// The author of a table must not control what checking or reading it costs.
func TestFiles_MaintenanceRunsNoCodeOfTheDatabase(t *testing.T) {
	p := newPool(t, 1)
	pages := newPages()
	violated := plainFile(
		t,
		"PRAGMA page_size=1024; PRAGMA ignore_check_constraints=ON; CREATE TABLE t (a CHECK (a = 0)); INSERT INTO t "+
			"VALUES (1)",
	)
	require.NoError(t, readPages(t.Context(), violated, pages))
	require.NoError(t, p.Export(t.Context(), filepath.Join(t.TempDir(), "file"), pages, []store.Table{keyTable()}))

	for name, c := range map[string]struct {
		table string
		err   error
	}{
		"generated column":        {"_dog_keys (key, value, g AS (instr(key, value)))", store.ErrCorrupt},
		"stored generated column": {"_dog_keys (key, value, g AS (instr(1, value)) STORED)", store.ErrCorrupt},
		"its own generated":       {"_dog_keys (key, value AS (instr(key, 1)))", store.ErrCorrupt},
		"another column":          {"_dog_keys (key, value, more)", store.ErrCorrupt},
		"too few columns":         {"_dog_keys (key)", store.ErrCorrupt},
		"virtual":                 {"", store.ErrCorrupt},
		"check":                   {"_dog_keys (key, value, CHECK (instr(key, value) = 0))", nil},
		"in another order":        {"_dog_keys (value, key)", nil},
	} {
		t.Run(name, func(t *testing.T) {
			create := "CREATE TABLE " + c.table
			if c.table == "" {
				create = "CREATE VIRTUAL TABLE _dog_keys USING fts5 (key, value)"
			}
			file := filepath.Join(t.TempDir(), "file")
			db, err := sqlite3.Open(file)
			require.NoError(t, err)
			require.NoError(t, fts5.Register(db))
			require.NoError(t, db.Exec(create))
			if c.err == nil {
				require.NoError(t, db.Exec("INSERT INTO _dog_keys (key, value) VALUES ('k', 'v')"))
			}
			require.NoError(t, db.Close())
			var rows [][]any
			err = p.Import(
				t.Context(), file, newPages(), testLimits, []store.Table{keyTable()},
				func(_ string, row []any) error {
					rows = append(rows, row)
					return nil
				},
			)
			require.ErrorIs(t, err, c.err)
			if c.err == nil {
				require.Equal(t, [][]any{{"k", "v"}}, rows)
			}
		})
	}
}

// A call that ends by itself is ended where it asks, and one that does not by
// the watchdog.
func TestFiles_WorkEndsWithItsContext(t *testing.T) {
	needsWatchdog(t)
	no := errors.New("no longer")
	for name, query := range map[string]string{
		"that asks":         endless + "SELECT count(*) FROM n",
		"that does not ask": "SELECT decimal_mul(a, a) FROM (SELECT replace(hex(zeroblob(500000)), '0', '3') AS a)",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, 1)
			file := plainFile(t, "CREATE TABLE t (a)")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			ends(t, name, func() {
				err := p.withFile(ctx, file, sqlite3.OPEN_READWRITE, func(db *sqlite3.Conn) error {
					time.AfterFunc(20*time.Millisecond, func() { cancel(no) })
					return db.Exec(query)
				})
				require.ErrorIs(t, err, no)
			})
		})
	}
}

func TestFiles_ExportAndImportEndWithTheirContext(t *testing.T) {
	p := newPool(t, 1)
	s, pages := newT(t)
	run(t, s, "INSERT INTO t VALUES (1)")
	require.NoError(t, s.Commit())
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, p.Export(t.Context(), file, pages, nil))
	no := errors.New("no longer")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(no)
	require.ErrorIs(t, p.Export(ctx, filepath.Join(dir, "other"), pages, nil), no)
	require.ErrorIs(t, p.Import(ctx, file, newPages(), testLimits, nil, nil), no)
	require.Equal(t, []string{"file"}, names(t, dir))
}

// endingPages are pages whose context ends with the third that is read or
// written.
type endingPages struct {
	store.Pages
	end  func()
	used int
}

func (p *endingPages) use() {
	if p.used++; p.used == 3 {
		p.end()
	}
}

func (p *endingPages) ReadPage(n uint32, to []byte) (bool, error) {
	p.use()
	return p.Pages.ReadPage(n, to)
}

func (p *endingPages) WritePage(n uint32, data []byte) error {
	p.use()
	return p.Pages.WritePage(n, data)
}

// Copying ends with its context too, and not only what SQLite does.
func TestFiles_CopyEndsWithItsContext(t *testing.T) {
	p := newPool(t, 1)
	s, pages := newT(t)
	run(t, s, "INSERT INTO t VALUES (zeroblob(2000000))")
	require.NoError(t, s.Commit())
	count, err := pages.Count()
	require.NoError(t, err)
	require.Greater(t, count, uint32(400))
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, p.Export(t.Context(), file, pages, nil))
	no := errors.New("no longer")

	ctx, cancel := context.WithCancelCause(t.Context())
	read := &endingPages{Pages: pages, end: func() { cancel(no) }}
	require.ErrorIs(t, writePages(ctx, io.Discard, read), no)
	require.Equal(t, 3, read.used)

	ctx, cancel = context.WithCancelCause(t.Context())
	written := &endingPages{Pages: newPages(), end: func() { cancel(no) }}
	require.ErrorIs(t, readPages(ctx, file, written), no)
	require.LessOrEqual(t, written.used, 64, "no more than had been read ahead")
}

func TestFiles_WorkIsBoundedWithoutAContext(t *testing.T) {
	needsWatchdog(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, 1)
		err := p.withFile(
			context.Background(), plainFile(t, "CREATE TABLE t (a)"), sqlite3.OPEN_READONLY,
			func(db *sqlite3.Conn) error {
				time.Sleep(fileTime)
				return db.Exec(endless + "SELECT count(*) FROM n")
			},
		)
		require.ErrorIs(t, err, store.ErrLimit)
	})
}
