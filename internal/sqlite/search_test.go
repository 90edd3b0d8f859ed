package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

const searchable = `CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT);
	CREATE VIRTUAL TABLE search USING fts5 (body, content='notes', content_rowid='id', tokenize='porter unicode61');
	CREATE VIRTUAL TABLE words USING fts5vocab (search, row);
	CREATE TRIGGER noted AFTER INSERT ON notes BEGIN INSERT INTO search (rowid, body) VALUES (new.id, new.body); END;
	CREATE TRIGGER gone AFTER DELETE ON notes BEGIN
		INSERT INTO search (search, rowid, body) VALUES ('delete', old.id, old.body);
	END`

func found(t *testing.T, s store.SQL, match string) (ids []any) {
	t.Helper()
	for _, row := range run(t, s, "SELECT rowid FROM search WHERE search MATCH ? ORDER BY rank, rowid", match) {
		ids = append(ids, row[0])
	}
	return ids
}

func TestSearch_FindsText(t *testing.T) {
	s, pages := newSQL(t)
	run(t, s, searchable)
	run(t, s, "INSERT INTO notes (body) VALUES ('the dog runs'), ('a cat sleeps'), ('dogs and cats')")
	require.Equal(t, []any{int64(1), int64(3)}, found(t, s, "dog"))
	require.NoError(t, s.Commit())
	require.NoError(t, s.Close())

	require.Equal(t, []any{int64(2), int64(3)}, found(t, s, "cat"), "with a connection that has not created the table")
	require.Equal(t, [][]any{{"a <b>cat</b> sleeps"}},
		run(t, s, "SELECT highlight(search, 0, '<b>', '</b>') FROM search WHERE search MATCH 'cat' AND rowid = 2"))
	require.Equal(t, [][]any{{int64(2)}}, run(t, s, "SELECT doc FROM words WHERE term = 'dog'"))
	run(t, s, "INSERT INTO search (search) VALUES ('integrity-check'); INSERT INTO search (search) VALUES ('optimize')")
	run(t, s, "DELETE FROM notes WHERE id = 1")
	require.Equal(t, []any{int64(3)}, found(t, s, "dog"))
	before := pages.clone()
	require.NoError(t, s.Rollback())
	require.Equal(t, before, pages.clone())
	require.Equal(t, []any{int64(1), int64(3)}, found(t, s, "dog"))

	require.NoError(t, s.Savepoint(1))
	run(t, s, "INSERT INTO notes (body) VALUES ('another dog')")
	require.Len(t, found(t, s, "dog"), 3)
	require.NoError(t, s.RollbackTo(1))
	require.Len(t, found(t, s, "dog"), 2)
	run(t, s, "ALTER TABLE search RENAME TO index_of_notes; DROP TABLE words; DROP TABLE index_of_notes")
	require.Equal(t, [][]any{{"notes"}}, run(t, s, "SELECT name FROM sqlite_schema WHERE type = 'table'"))
	require.NoError(t, s.Commit())
}

func TestSearch_ItsTablesAreReadOnly(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, searchable)
	run(t, s, "INSERT INTO notes (body) VALUES ('the dog runs')")
	require.NoError(t, s.Commit())
	for range 2 { // by the connection that made them and by another
		for _, query := range []string{
			"UPDATE search_data SET block = x'00'", "DELETE FROM search_idx",
			"INSERT INTO search_config VALUES ('version', 9)",
			"DROP TABLE search_data", "ALTER TABLE search_data RENAME TO x", "ALTER TABLE search_data ADD COLUMN x",
			"CREATE TRIGGER g AFTER INSERT ON search_data BEGIN SELECT 1; END",
		} {
			_, err := try(s, query)
			require.Error(t, err, query)
		}
		require.Equal(t, []any{int64(1)}, found(t, s, "dog"))
		require.NoError(t, s.Rollback())
		require.NoError(t, s.Close())
	}
}

func TestSearch_CannotReadTablesOfTheLibrary(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.(*database).conn.control("CREATE TABLE _dog_x (a)"))
	run(t, s, "CREATE VIRTUAL TABLE f USING fts5 (a, content='_dog_x')")
	for _, query := range []string{
		"SELECT a FROM f", "INSERT INTO f (f) VALUES ('rebuild')",
		"CREATE VIRTUAL TABLE v USING fts5vocab (temp, f, row); SELECT * FROM v",
	} {
		_, err := try(s, query)
		require.Error(t, err, query)
	}
}

func TestSearch_IsExportedAndImported(t *testing.T) {
	s, pages := newSQL(t)
	run(t, s, searchable)
	run(t, s, "INSERT INTO notes (body) VALUES ('the dog runs'), ('a cat sleeps')")
	require.NoError(t, s.Commit())
	p := newPool(t, 10)
	file := filepath.Join(t.TempDir(), "exported")
	require.NoError(t, p.Export(t.Context(), file, pages, nil))
	copied := newPages()
	require.NoError(t, p.Import(t.Context(), file, copied, testLimits, nil, nil))
	c := openSQL(t, p, copied)
	require.Equal(t, []any{int64(2)}, found(t, c, "cat"))
	run(t, c, "INSERT INTO notes (body) VALUES ('cats'); INSERT INTO search (search) VALUES ('integrity-check')")
	require.Len(t, found(t, c, "cat"), 2)
}
