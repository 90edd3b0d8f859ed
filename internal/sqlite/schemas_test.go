package sqlite

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// Whatever a statement does to something in another schema, it is refused, or
// there is nothing of that name, as in any database without such a schema.
func TestRefused_OtherSchemas(t *testing.T) {
	s, _ := newSQL(t)
	run(
		t, s, "CREATE TABLE t (a); CREATE VIEW v AS SELECT a FROM t; CREATE INDEX i ON t (a);"+
			"CREATE TRIGGER g AFTER DELETE ON t BEGIN SELECT 1; END; INSERT INTO t VALUES (17)",
	)
	require.NoError(t, s.Commit())
	d := s.(*database)
	state := func() (all [][]any) {
		for _, query := range []string{
			"SELECT * FROM main.sqlite_schema", "SELECT * FROM temp.sqlite_schema", "SELECT a FROM t",
			"SELECT name FROM pragma_database_list WHERE name NOT IN ('main', 'temp')",
		} {
			run(t, s, "SELECT 1") // there is a connection
			d.conn.guard.trusted = true
			all = append(append(all, []any{query}), run(t, s, query)...)
			d.conn.guard.trusted = false
		}
		return all
	}
	before := state()
	for _, c := range []struct {
		statement string // %s: the schema
		temp, aux string // the error: "" for ErrRefused, else its text
	}{
		{"CREATE TABLE %s.x (a)", "", "unknown database"},
		{"CREATE VIEW %s.x AS SELECT 1", "", "unknown database"},
		{"CREATE TRIGGER %s.x AFTER INSERT ON t BEGIN SELECT 1; END", "", "unknown database"},
		{"CREATE INDEX %s.x ON t (a)", "cannot create a TEMP index", "unknown database"},
		{"CREATE UNIQUE INDEX IF NOT EXISTS %s.i ON t (a)", "cannot create a TEMP index", "unknown database"},
		{"CREATE INDEX %s.x ON sqlite_temp_schema (name)", "may not be indexed", "unknown database"},
		{"REINDEX %s.i", "unable to identify", "unknown database"},
		{"REINDEX %s.t", "unable to identify", "unknown database"},
		{"ANALYZE %s", "", "no such table"},
		{"ANALYZE %s.t", "no such table", "unknown database"},
		{"DROP TABLE %s.t", "no such table", "no such table"},
		{"DROP TABLE %s.sqlite_schema", "", "no such table"},
		{"DROP TABLE IF EXISTS %s.t", nothing, nothing},
		{"DROP VIEW %s.v", "no such view", "no such view"},
		{"DROP VIEW IF EXISTS %s.v", nothing, nothing},
		{"DROP INDEX %s.i", "no such index", "no such index"},
		{"DROP INDEX IF EXISTS %s.i", nothing, nothing},
		{"DROP TRIGGER %s.g", "no such trigger", "no such trigger"},
		{"DROP TRIGGER IF EXISTS %s.g", nothing, nothing},
		{"ALTER TABLE %s.t RENAME TO y", "no such table", "no such table"},
		{"ALTER TABLE %s.t RENAME COLUMN a TO b", "no such table", "no such table"},
		{"ALTER TABLE %s.t ADD COLUMN b", "no such table", "no such table"},
		{"ALTER TABLE %s.t DROP COLUMN a", "no such table", "no such table"},
		{"ALTER TABLE %s.sqlite_schema RENAME TO y", "", "no such table"},
		{"SELECT * FROM %s.t", "no such table", "no such table"},
		{"SELECT * FROM %s.sqlite_schema", "", "no such table"},
		{"INSERT INTO %s.t VALUES (1)", "no such table", "no such table"},
		{"INSERT INTO t SELECT * FROM %s.t", "no such table", "no such table"},
		{"REPLACE INTO %s.t VALUES (1)", "no such table", "no such table"},
		{"UPDATE %s.t SET a = 1", "no such table", "no such table"},
		{"DELETE FROM %s.t", "no such table", "no such table"},
		{"INSERT INTO %s.sqlite_schema VALUES (1, 2, 3, 4, 5)", "", "no such table"},
		{"UPDATE %s.sqlite_schema SET sql = ''", "", "no such table"},
		{"DELETE FROM %s.sqlite_schema", "", "no such table"},
		{"VACUUM %s", "", "unknown database"},
		{"ATTACH ':memory:' AS %s", "", ""},
		{"ATTACH 'file.db' AS %s", "", ""},
		{"DETACH %s", "", ""},
		{"PRAGMA %s.table_info(t)", "", "unknown database"},
		{"PRAGMA %s.user_version = 7", "", "unknown database"},
	} {
		for schema, want := range map[string]string{
			"temp": c.temp, "TEMP": c.temp, `"temp"`: c.temp, "aux": c.aux, "[aux]": c.aux,
		} {
			query := fmt.Sprintf(c.statement, schema)
			_, err := try(s, query)
			switch want {
			case "":
				require.ErrorIs(t, err, store.ErrRefused, query)
			case nothing:
				require.NoError(t, err, query)
			default:
				require.ErrorContains(t, err, want, query)
				for _, kind := range []error{store.ErrLimit, store.ErrConstraint, store.ErrCorrupt} {
					require.NotErrorIs(t, err, kind, query)
				}
			}
			require.Equal(t, before, state(), query)
			require.NoError(t, s.Rollback())
		}
	}
}

// nothing is the outcome of a statement that does nothing.
const nothing = "nothing"
