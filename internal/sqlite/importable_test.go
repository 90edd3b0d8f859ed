package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// foreignFile makes a SQLite file with a function and a collation that other
// connections do not have.
func foreignFile(t *testing.T, queries string) string {
	file := filepath.Join(t.TempDir(), "foreign.db")
	db, err := sqlite3.Open(file)
	require.NoError(t, err)
	own := func(ctx sqlite3.Context, _ ...sqlite3.Value) { ctx.ResultInt(1) }
	require.NoError(t, db.CreateFunction("ours", -1, sqlite3.DETERMINISTIC|sqlite3.INNOCUOUS, own))
	require.NoError(
		t, db.CreateCollation("ours", func(a, b []byte) int { return strings.Compare(string(a), string(b)) }),
	)
	require.NoError(t, db.Exec(queries))
	require.NoError(t, db.Close())
	return file
}

func TestImport_KeepsRowids(t *testing.T) {
	p := newPool(t, 10)
	for name, table := range map[string]string{
		"no index":          "CREATE TABLE t (a)",
		"index":             "CREATE TABLE t (a); CREATE INDEX i ON t (a)",
		"primary key":       "CREATE TABLE t (a TEXT PRIMARY KEY)",
		"integer key":       "CREATE TABLE t (a, id INTEGER PRIMARY KEY)",
		"autoincrement":     "CREATE TABLE t (a, id INTEGER PRIMARY KEY AUTOINCREMENT)",
		"strict":            "CREATE TABLE t (a TEXT) STRICT",
		"column rowid":      "CREATE TABLE t (a, rowid TEXT)",
		"generated columns": "CREATE TABLE t (a, b AS (a || 'x'), c AS (a || 'y') STORED)",
		"check and default": "CREATE TABLE t (a CHECK (a > ''), b DEFAULT 7)",
		"foreign key":       "CREATE TABLE t (a UNIQUE, b REFERENCES t (a))",
		"trigger": "CREATE TABLE t (a); CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t WHERE a = " +
			"'never'; END",
		"search": "CREATE VIRTUAL TABLE t USING fts5 (a)",
	} {
		for _, pageSize := range []int{512, 1024, 4096} {
			t.Run(fmt.Sprintf("%s, %d", name, pageSize), func(t *testing.T) {
				s, pages := newSQL(t)
				run(
					t, s,
					table+"; INSERT INTO t (_rowid_, a) VALUES (3, 'c'), (70, 'x'), (-5, 'm'), (4000000000, 'z'), "+
						"(9, 'i')",
				)
				run(t, s, "DELETE FROM t WHERE a = 'x'")
				require.NoError(t, s.Commit())
				const all = "SELECT _rowid_, a FROM t ORDER BY 1"
				before := run(t, s, all)

				file := filepath.Join(t.TempDir(), "file.db")
				require.NoError(t, p.Export(t.Context(), file, pages, nil))
				resized := filepath.Join(t.TempDir(), "resized.db")
				require.NoError(t, p.withFile(t.Context(), file, sqlite3.OPEN_READONLY, func(db *sqlite3.Conn) error {
					return db.Exec(fmt.Sprintf("PRAGMA page_size=%d; VACUUM INTO %s", pageSize, sqlite3.Quote(resized)))
				}))
				copied := newPages()
				require.NoError(t, p.Import(t.Context(), resized, copied, testLimits, nil, nil))
				c := openSQL(t, p, copied)
				require.Equal(t, before, run(t, c, all))
				require.Equal(t, [][]any{{"ok"}}, run(t, c, "PRAGMA integrity_check"))
			})
		}
	}
}

// wide returns the definitions of n columns.
func wide(n int) string {
	columns := make([]string, n)
	for i := range columns {
		columns[i] = fmt.Sprint("c", i)
	}
	return strings.Join(columns, ",")
}

func TestImport_RefusesUnusableDatabases(t *testing.T) {
	p := newPool(t, 1)
	const more = "; CREATE TABLE other (a)"
	for name, c := range map[string]struct {
		queries string
		want    error
		text    string
	}{
		"columns": {"CREATE TABLE t (" + wide(101) + ")", store.ErrLimit, "too many columns"},
		"columns of a view": {
			"CREATE TABLE t (" + wide(60) + "); CREATE VIEW v AS SELECT *, * FROM t", store.ErrLimit,
			"too many columns",
		},
		"value": {
			"CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(3000000))", store.ErrLimit, "row of more than",
		},
		"row": {
			"CREATE TABLE t (a, b); INSERT INTO t VALUES (zeroblob(1500000), zeroblob(1500000))", store.ErrLimit, `"t"`,
		},
		"row without rowid": {
			"CREATE TABLE t (a PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO t VALUES (1, zeroblob(3000000))",
			store.ErrLimit, `"t"`,
		},
		"stored column": {
			"CREATE TABLE t (a, b AS (zeroblob(a)) STORED); INSERT INTO t VALUES (3000000)", store.ErrLimit, `"t"`,
		},
		"function in a check":  {"CREATE TABLE t (a CHECK (ours(a)))", store.ErrRefused, "ours"},
		"function in an index": {"CREATE TABLE t (a); CREATE INDEX i ON t (ours(a))", store.ErrRefused, "ours"},
		"function in a column": {"CREATE TABLE t (a, b AS (ours(a)))", store.ErrRefused, "ours"},
		"function in a view": {
			"CREATE TABLE t (a); CREATE VIEW v AS SELECT ours(a) FROM t", store.ErrRefused, "ours",
		},
		"function in a trigger": {
			"CREATE TABLE t (a); CREATE TRIGGER g AFTER UPDATE ON t BEGIN SELECT ours(1); END", store.ErrRefused,
			"ours",
		},
		"function on deletion": {
			"CREATE TABLE t (a); CREATE TRIGGER g BEFORE DELETE ON t BEGIN SELECT ours(1); END", store.ErrRefused,
			"ours",
		},
		"function of a view's": {
			"CREATE VIEW v AS SELECT 1 AS a; CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN SELECT ours(1); END",
			store.ErrRefused, "ours",
		},
		"collation":             {"CREATE TABLE t (a COLLATE ours PRIMARY KEY)", store.ErrRefused, "ours"},
		"collation of an index": {"CREATE TABLE t (a); CREATE INDEX i ON t (a COLLATE ours)", store.ErrRefused, "ours"},
	} {
		t.Run(name, func(t *testing.T) {
			err := p.Import(t.Context(), foreignFile(t, c.queries+more), newPages(), testLimits, nil, nil)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.text)
		})
	}
	module := foreignFile(t, "CREATE TABLE t (a); PRAGMA writable_schema=ON; "+
		"INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING absent(a)')")
	err := p.Import(t.Context(), module, newPages(), testLimits, nil, nil)
	require.ErrorIs(t, err, store.ErrRefused)
	require.ErrorContains(t, err, "absent")
}

func TestImport_AcceptsWhatIsBrokenEverywhere(t *testing.T) {
	p := newPool(t, 1)
	file := foreignFile(
		t,
		"PRAGMA foreign_keys=OFF; CREATE TABLE t (a, b); INSERT INTO t VALUES (1, zeroblob(2000000));"+
			"CREATE TABLE gone (a); CREATE VIEW v AS SELECT a FROM gone;"+
			"CREATE TRIGGER g AFTER INSERT ON t WHEN new.a > 5 BEGIN INSERT INTO gone VALUES (1); END; DROP TABLE "+
			"gone;"+
			"CREATE TABLE c (p REFERENCES absent (id)); INSERT INTO c VALUES (1); CREATE TABLE full ("+wide(100)+")",
	)
	pages := newPages()
	require.NoError(t, p.Import(t.Context(), file, pages, testLimits, nil, nil))
	s := openSQL(t, p, pages)
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT a FROM t"))
}
