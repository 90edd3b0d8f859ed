package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// seq returns rows, and after them the error if there is one.
func seq(err error, rows ...[]any) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

var keyRows = [][]any{{"a", []byte{0, 1}}, {"b", []byte{}}, {"c", []byte(nil)}}

func keyTable() store.Table {
	return store.Table{
		Name: "_dog_keys", Columns: []string{"key TEXT PRIMARY KEY", "value BLOB"}, Rows: seq(nil, keyRows...),
	}
}

// fromFile returns the rows of a query to a plain file.
func fromFile(t *testing.T, file, text string) (out [][]any) {
	require.NoError(t, newPool(t, 1).withFile(t.Context(), file, sqlite3.OPEN_READONLY, func(db *sqlite3.Conn) error {
		return query(db, text, func(row []any) error {
			out = append(out, row)
			return nil
		})
	}))
	return out
}

// plainFile makes a SQLite file.
func plainFile(t *testing.T, queries string) string {
	file := filepath.Join(t.TempDir(), "plain.db")
	db, err := sqlite3.Open(file)
	require.NoError(t, err)
	require.NoError(t, db.Exec(queries))
	require.NoError(t, db.Close())
	return file
}

func names(t *testing.T, dir string) (out []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestFiles_ExportAndImportKeepEverything(t *testing.T) {
	p := newPool(t, 10)
	pages := newPages()
	s := openSQL(t, p, pages)
	run(t, s, "CREATE TABLE t (a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t (b); CREATE VIEW v AS SELECT b FROM t")
	run(t, s, "INSERT INTO t (b) SELECT randomblob(700) FROM generate_series(1, 300); DELETE FROM t WHERE a % 3 = 0")
	run(t, s, "INSERT INTO t VALUES (-9223372036854775808, 9223372036854775807), (1000, x''), (1001, NULL)")
	require.NoError(t, s.Commit())
	want := run(t, s, "SELECT * FROM t")

	dir := t.TempDir()
	file := filepath.Join(dir, "out ?#%.db")
	require.NoError(t, p.Export(t.Context(), file, pages, []store.Table{keyTable()}))
	require.Equal(t, []string{"out ?#%.db"}, names(t, dir), "no temporary file is left")
	require.Equal(t, want, fromFile(t, file, "SELECT * FROM t"))
	require.Equal(t, [][]any{{"delete"}}, fromFile(t, file, "PRAGMA journal_mode"))
	require.Equal(t, [][]any{{"ok"}}, fromFile(t, file, "PRAGMA integrity_check"))
	require.Equal(
		t, [][]any{{"a", []byte{0, 1}}, {"b", []byte{}}, {"c", nil}}, fromFile(t, file, "SELECT * FROM _dog_keys"),
	)

	before, err := os.ReadFile(file)
	require.NoError(t, err)
	again := newPages()
	var rows [][]any
	require.NoError(
		t,
		p.Import(
			t.Context(), file, again, testLimits,
			[]store.Table{keyTable(), {Name: "_dog_absent", Columns: []string{"a"}}},
			func(table string, row []any) error {
				require.Equal(t, "_dog_keys", table)
				rows = append(rows, row)
				return nil
			},
		),
	)
	require.Equal(t, [][]any{{"a", []byte{0, 1}}, {"b", []byte{}}, {"c", nil}}, rows)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before, after)
	copied := openSQL(t, p, again)
	require.Equal(t, want, run(t, copied, "SELECT * FROM t"))
	require.Equal(t, [][]any{{"ok"}}, run(t, copied, "PRAGMA integrity_check"))
	schema := "SELECT type, name, sql FROM sqlite_schema ORDER BY 2"
	require.Equal(t, run(t, s, schema), run(t, copied, schema))
	run(t, copied, "INSERT INTO t (b) VALUES (1)")
	require.NoError(t, copied.Commit())
}

func TestExport_IsReadByTheCommandLineTool(t *testing.T) {
	tool, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("no sqlite3 here")
	}
	s, pages := newT(t)
	run(t, s, "INSERT INTO t VALUES (42)")
	require.NoError(t, s.Commit())
	file := filepath.Join(t.TempDir(), "out.db")
	require.NoError(t, newPool(t, 1).Export(t.Context(), file, pages, []store.Table{keyTable()}))
	queries := "PRAGMA integrity_check; SELECT a FROM t; SELECT key, hex(value) FROM _dog_keys"
	out, err := exec.Command(tool, file, queries).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "ok\n42\na|0001\nb|\nc|\n", string(out))
}

func TestFiles_EmptyDatabase(t *testing.T) {
	p := newPool(t, 1)
	file := filepath.Join(t.TempDir(), "empty.db")
	require.NoError(t, p.Export(t.Context(), file, newPages(), []store.Table{keyTable()}))
	pages := newPages()
	n := 0
	require.NoError(
		t,
		p.Import(
			t.Context(), file, pages, testLimits, []store.Table{keyTable()},
			func(string, []any) error { n++; return nil },
		),
	)
	require.Equal(t, len(keyRows), n)
	s := openSQL(t, p, pages)
	require.Empty(t, run(t, s, "SELECT * FROM sqlite_schema"))
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())

	bare := filepath.Join(t.TempDir(), "bare.db")
	require.NoError(t, p.Export(t.Context(), bare, newPages(), nil))
	require.Empty(t, fromFile(t, bare, "SELECT * FROM sqlite_schema"))
}

func TestExport_FailureLeavesNoFile(t *testing.T) {
	p := newPool(t, 1)
	s, pages := newT(t)
	run(t, s, "INSERT INTO t VALUES (1)")
	require.NoError(t, s.Commit())
	no := errors.New("no")
	damaged := pages.clone()
	damaged.pages[1] = [pageSize]byte{7}
	failing := pages.clone()
	failing.failAt(3)
	for name, c := range map[string]struct {
		pages  store.Pages
		tables []store.Table
		err    error
	}{
		"rows that fail": {
			pages, []store.Table{{Name: "_dog_x", Columns: []string{"a"}, Rows: seq(no, []any{1})}}, no,
		},
		"pages that fail": {failing, nil, errDisk},
		"damaged pages":   {damaged, nil, store.ErrCorrupt},
		"a bad table":     {pages, []store.Table{{Name: "t", Columns: []string{"a"}, Rows: seq(nil)}}, sqlite3.ERROR},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.ErrorIs(t, p.Export(t.Context(), filepath.Join(dir, "out.db"), c.pages, c.tables), c.err)
			require.Empty(t, names(t, dir))
		})
	}
	file := filepath.Join(t.TempDir(), "there")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	require.ErrorIs(t, p.Export(t.Context(), file, pages, nil), fs.ErrExist)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(content))
	require.ErrorIs(
		t, p.Export(t.Context(), filepath.Join(t.TempDir(), "absent", "out.db"), pages, nil), fs.ErrNotExist,
	)
}

func TestImport_AcceptsFilesOfAnyKind(t *testing.T) {
	p := newPool(t, 10)
	content := "CREATE TABLE t (a); INSERT INTO t VALUES ('ä𝄞'), (NULL);" +
		"INSERT INTO t SELECT printf('%0500d', value) FROM generate_series(1, 50)"
	for name, pragma := range map[string]string{
		"512":         "PRAGMA page_size=512;",
		"4096":        "PRAGMA page_size=4096;",
		"65536":       "PRAGMA page_size=65536;",
		"WAL":         "PRAGMA journal_mode=WAL;",
		"UTF-16":      "PRAGMA encoding='UTF-16le';",
		"auto vacuum": "PRAGMA auto_vacuum=FULL;",
	} {
		t.Run(name, func(t *testing.T) {
			file := plainFile(t, pragma+content)
			pages := newPages()
			require.NoError(t, p.Import(t.Context(), file, pages, testLimits, nil, nil))
			s := openSQL(t, p, pages)
			require.Equal(t, fromFile(t, file, "SELECT a FROM t"), run(t, s, "SELECT a FROM t"))
			require.Equal(t, [][]any{{int64(pageSize)}}, run(t, s, "PRAGMA page_size"))
			run(t, s, "DELETE FROM t; INSERT INTO t VALUES ('ü')")
			require.NoError(t, s.Commit())
			require.NoError(t, s.Close())
			require.Equal(t, [][]any{{"ü"}}, run(t, s, "SELECT a FROM t"))
			require.Equal(t, [][]any{{"ok"}}, run(t, s, "PRAGMA integrity_check"))
		})
	}
}

// What another program has not brought into the file yet, or not undone,
// counts; and neither the file nor what lies beside it is changed.
func TestImport_LeavesTheFileAndItsJournalsUnchanged(t *testing.T) {
	p := newPool(t, 1)
	for name, c := range map[string]struct {
		setUp, change string
		want          int64
	}{
		"write-ahead log": {
			"PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0", "INSERT INTO t VALUES (zeroblob(9000))", 2,
		},
		"journal to be undone": {
			"PRAGMA cache_size=1",
			"BEGIN; UPDATE t SET a = zeroblob(8000); INSERT INTO t SELECT zeroblob(9000) FROM generate_series(1, 99)",
			1,
		},
		"nothing of these":      {"", "INSERT INTO t VALUES (1)", 2},
		"journal without a use": {"PRAGMA journal_mode=PERSIST", "INSERT INTO t VALUES (1)", 2},
	} {
		t.Run(name, func(t *testing.T) {
			file := plainFile(t, "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(9000))")
			db, err := sqlite3.Open(file)
			require.NoError(t, err)
			require.NoError(t, db.Exec(c.setUp))
			require.NoError(t, db.Exec(c.change))
			dir := t.TempDir() // as it is when the program is killed
			require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Dir(file))))
			require.NoError(t, db.Close())
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "plain.db-shm")))
			link := filepath.Join(t.TempDir(), "link")
			require.NoError(t, os.Symlink(filepath.Join(dir, "plain.db"), link))
			before := contents(t, dir)
			for _, file := range []string{filepath.Join(dir, "plain.db"), link} {
				pages := newPages()
				require.NoError(t, p.Import(t.Context(), file, pages, testLimits, nil, nil))
				require.Equal(t, before, contents(t, dir))
				require.Equal(t, [][]any{{c.want}}, run(t, openSQL(t, p, pages), "SELECT count(*) FROM t"))
			}
		})
	}
}

func contents(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	for _, name := range names(t, dir) {
		content, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		all[name] = string(content)
	}
	return all
}

func TestImport_RefusesOtherThanRegularFiles(t *testing.T) {
	p := newPool(t, 1)
	for _, file := range []string{t.TempDir(), os.DevNull} {
		require.ErrorIs(t, p.Import(t.Context(), file, newPages(), testLimits, nil, nil), fs.ErrInvalid)
	}
}

func TestImport_RefusesInvalidFiles(t *testing.T) {
	p := newPool(t, 1)
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte(fmt.Sprintf("%02000d", 7)), 0o600))
	good, err := os.ReadFile(
		plainFile(t, "CREATE TABLE t (a); INSERT INTO t SELECT randomblob(500) FROM generate_series(1, 100)"),
	)
	require.NoError(t, err)
	damaged := filepath.Join(dir, "damaged")
	bad := slices.Clone(good)
	clear(bad[3*4096 : 4*4096])
	require.NoError(t, os.WriteFile(damaged, bad, 0o600))
	cut := filepath.Join(dir, "cut")
	require.NoError(t, os.WriteFile(cut, good[:len(good)/2], 0o600))
	for file, want := range map[string]error{
		text:                         store.ErrCorrupt,
		damaged:                      store.ErrCorrupt,
		cut:                          store.ErrCorrupt,
		filepath.Join(dir, "absent"): fs.ErrNotExist,
		plainFile(t, "CREATE TABLE _dog_unknown (a)"): store.ErrRefused,
	} {
		pages := newPages()
		require.ErrorIs(t, p.Import(t.Context(), file, pages, testLimits, []store.Table{keyTable()}, nil), want, file)
		require.Zero(t, pages.count)
		require.Empty(t, pages.pages)
	}
	require.ElementsMatch(t, []string{"text", "damaged", "cut"}, names(t, dir))
}

func TestImport_ReturnsErrorsOfItsTablesAndPages(t *testing.T) {
	p := newPool(t, 1)
	file := plainFile(t, "CREATE TABLE t (a); CREATE TABLE _dog_keys (key, value); INSERT INTO _dog_keys VALUES (1, 2)")
	no := errors.New("no")
	require.ErrorIs(
		t,
		p.Import(
			t.Context(), file, newPages(), testLimits, []store.Table{keyTable()},
			func(string, []any) error { return no },
		),
		no,
	)
	for n := 1; ; n++ {
		pages := newPages()
		hit := pages.failAt(n)
		err := p.Import(
			t.Context(), file, pages, testLimits, []store.Table{keyTable()}, func(string, []any) error { return nil },
		)
		if !*hit {
			require.NoError(t, err)
			before := maps.Clone(pages.pages)
			require.Error(
				t,
				p.Import(
					t.Context(), file, pages, testLimits, []store.Table{keyTable()},
					func(string, []any) error { return nil },
				),
				"not empty",
			)
			require.Equal(t, before, pages.pages)
			return
		}
		require.ErrorIs(t, err, errDisk)
	}
}
