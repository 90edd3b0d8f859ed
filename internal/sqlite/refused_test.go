package sqlite

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

func TestGuard_RefusedStatements(t *testing.T) {
	s, pages := newSQL(t)
	run(t, s, "CREATE TABLE t (a); CREATE TABLE hot_dog_stands (a); INSERT INTO t VALUES (1)")
	require.NoError(t, s.Commit())
	for _, query := range []string{
		"ATTACH 'file:x' AS x", "ATTACH ':memory:' AS x", "DETACH main",
		"VACUUM", "vacuum main", "VACUUM INTO 'x'", " /* c */ -- d\n;;\ufeffVACUUM", "SELECT 1; VACUUM",
		"BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "ROLLBACK", "SAVEPOINT x", "RELEASE dog", "ROLLBACK TO dog",
		"INSERT INTO t VALUES (2); COMMIT",
		"SELECT load_extension('x')",
		"PRAGMA journal_mode=WAL", "PRAGMA journal_mode", "PRAGMA locking_mode=NORMAL", "PRAGMA writable_schema=ON",
		"PRAGMA max_page_count=10", "PRAGMA page_size=4096", "PRAGMA foreign_keys=OFF", "PRAGMA cache_spill=ON",
		"PRAGMA Cache_Size=1", "PRAGMA temp_store=FILE", "PRAGMA encoding='UTF-16'", "PRAGMA incremental_vacuum",
		"PRAGMA checksum_verification", "PRAGMA wal_checkpoint", "SELECT * FROM pragma_journal_mode",
		"CREATE TEMP TABLE x (a)", "CREATE TEMP VIEW x AS SELECT 1", "CREATE TEMPORARY TABLE x AS SELECT 1",
		"CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
		"CREATE TABLE _dog_x (a)", `CREATE TABLE "_DOG_x" (a)`, "CREATE VIEW _dog_x AS SELECT 1",
		"CREATE INDEX _dog_x ON t (a)", "CREATE TRIGGER _dog_x AFTER INSERT ON t BEGIN SELECT 1; END",
		"ALTER TABLE t RENAME TO _dog_x", `ALTER TABLE t RENAME TO "_Dog_x"`, "ALTER TABLE t RENAME TO\t[_dog_x]",
		"PRAGMA table_info(_dog_x)",
		"CREATE VIRTUAL TABLE x USING generate_series", "CREATE VIRTUAL TABLE x USING rtree(id, a, b)",
		"CREATE VIRTUAL TABLE x USING json_each", "CREATE VIRTUAL TABLE IF NOT EXISTS main.x USING fts4(a)",
		"CREATE VIRTUAL TABLE _dog_x USING fts5(a)",
		"UPDATE sqlite_schema SET sql = 'x'", "DELETE FROM main.sqlite_master", "DROP TABLE sqlite_schema",
		"INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 2, 'CREATE TABLE x (a)')", "CREATE TABLE sqlite_x (a)",
		"ALTER TABLE sqlite_schema ADD COLUMN b", "CREATE INDEX i ON sqlite_schema (name)",
		"CREATE TRIGGER g AFTER INSERT ON sqlite_schema BEGIN SELECT 1; END",
		"SELECT * FROM pragma_optimize",
	} {
		before := run(t, s, "SELECT name, sql FROM sqlite_schema ORDER BY name")
		_, err := try(s, query)
		require.ErrorIs(t, err, store.ErrRefused, query)
		require.NotEqual(t, store.ErrRefused.Error(), err.Error(), "states what is refused")
		require.Equal(t, before, run(t, s, "SELECT name, sql FROM sqlite_schema ORDER BY name"), query)
		require.NoError(t, s.Rollback())
	}
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT a FROM t"))
	require.NotZero(t, pages.count)
}

// However it is written, also with an argument that SQLite takes for a no.
func TestGuard_NoPragmaDisablesForeignKeys(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE p (a PRIMARY KEY); CREATE TABLE c (p REFERENCES p)")
	require.NoError(t, s.Commit())
	for _, name := range []string{
		"foreign_keys", "FOREIGN_keys", "main.foreign_keys", `"foreign_keys"`, "[foreign_keys]", "`foreign_keys`",
		"'foreign_keys'", `"main" . "foreign_keys"`, "/* = '' ( */ foreign_keys -- =\n",
	} {
		for _, value := range []string{
			"= OFF", "=off", "= 0", "(0)", "( 'no' )", "= false", `= "OFF"`, "= nonsense", "= -1", "= 1", "(ON)",
			"= ''", `=""`, "('')", "(/* */ '')", "= []", "= ``",
		} {
			for _, before := range []string{"", "EXPLAIN ", "explain query plan ", "SELECT 1; ", "/* x */ "} {
				query := before + "PRAGMA " + name + " " + value
				_, err := try(s, query)
				require.Error(t, err, query)
				if !strings.Contains(err.Error(), "syntax error") {
					require.ErrorIs(t, err, store.ErrRefused, query)
					require.ErrorContains(t, err, "PRAGMA foreign_keys = OFF;", query)
				}
				require.Equal(t, [][]any{{int64(1)}}, run(t, s, "PRAGMA foreign_keys"), query)
			}
		}
	}
	for _, query := range []string{"PRAGMA page_size=''", "PRAGMA encoding=''", "PRAGMA data_version('')"} {
		_, err := try(s, query)
		require.ErrorIs(t, err, store.ErrRefused, query)
	}
	_, err := try(s, "INSERT INTO c VALUES (1)")
	require.ErrorIs(t, err, store.ErrConstraint)
}

func TestGuard_QuotesRefusedTransactionStatements(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a)")
	for query, text := range map[string]string{
		"BEGIN": ": BEGIN:", "BEGIN EXCLUSIVE": ": BEGIN:", "COMMIT": ": COMMIT, or END:", "END": ": COMMIT, or END:",
		"ROLLBACK": ": ROLLBACK:", "SAVEPOINT a": ": SAVEPOINT a:", "RELEASE a": ": RELEASE a:",
		"RELEASE SAVEPOINT a": ": RELEASE a:",
		"ROLLBACK TO a":       ": ROLLBACK TO a:", "ROLLBACK TO SAVEPOINT a": ": ROLLBACK TO a:",
	} {
		for _, begun := range []bool{false, true} {
			if begun {
				run(t, s, "INSERT INTO t VALUES (1)")
			}
			_, err := try(s, query)
			require.ErrorIs(t, err, store.ErrRefused, query)
			require.ErrorContains(t, err, text, query)
			require.NoError(t, s.Rollback())
			run(t, s, "CREATE TABLE IF NOT EXISTS t (a)")
			require.NoError(t, s.Commit())
		}
	}
}

func TestGuard_AllowsOnlyTheMainSchema(t *testing.T) {
	kinds := []string{
		"CREATE TABLE %s.x (a)", "CREATE TABLE %s.t (a)", "CREATE TABLE IF NOT EXISTS %s.x (a)",
		"CREATE TABLE %s.x AS SELECT 1", "CREATE VIEW %s.x AS SELECT 1", "CREATE VIEW IF NOT EXISTS %s.t AS SELECT 1",
		"CREATE TRIGGER %s.x AFTER INSERT ON main.t BEGIN SELECT 1; END",
		"CREATE TRIGGER %s.x BEFORE DELETE ON main.t BEGIN DELETE FROM t; END",
		"CREATE TRIGGER %s.x INSTEAD OF INSERT ON main.v BEGIN SELECT 1; END",
		"CREATE VIRTUAL TABLE %s.x USING fts5(a)", "CREATE VIRTUAL TABLE %s.x USING fts5vocab(main, f, row)",
		"SELECT * FROM %s.sqlite_schema", "INSERT INTO %s.sqlite_schema VALUES (1, 2, 3, 4, 5)",
		"SELECT * FROM t WHERE a IN (SELECT name FROM %s.sqlite_schema)", "EXPLAIN CREATE TABLE %s.x (a)",
		"CREATE VIEW w AS SELECT * FROM %s.sqlite_schema; SELECT * FROM w",
		"ANALYZE %s", "PRAGMA %s.table_info(t)", "PRAGMA %s.user_version", "PRAGMA %s.user_version = 3",
		"PRAGMA %s.optimize",
		"SELECT 1; CREATE TABLE %s.x (a)",
	}
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a); CREATE VIEW v AS SELECT a FROM t; INSERT INTO t VALUES (17)")
	require.NoError(t, s.Commit())
	check := func(query string) {
		_, err := try(s, query)
		require.ErrorIs(t, err, store.ErrRefused, query)
		d := s.(*database)
		d.conn.guard.trusted = true
		require.Empty(t, run(t, s, "SELECT name FROM temp.sqlite_schema"), query)
		d.conn.guard.trusted = false
		require.Equal(t, [][]any{{int64(17)}}, run(t, s, "SELECT a FROM t"), query)
		if d.begun {
			require.NoError(t, s.Rollback())
		}
	}
	for _, kind := range kinds {
		for _, schema := range []string{"temp", `"TEMP"`} {
			check(fmt.Sprintf(kind, schema))
		}
	}
	for _, query := range []string{
		"CREATE TEMP TABLE t (a)", "CREATE TEMPORARY TABLE x AS SELECT 1", "CREATE TEMP VIEW t AS SELECT 1",
		"CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", "SELECT * FROM sqlite_temp_schema",
		"SELECT * FROM sqlite_temp_master", "SELECT * FROM pragma_table_info('t', 'temp')",
		"SELECT * FROM pragma_table_list('t') JOIN pragma_index_list('t', 'temp')",
	} {
		check(query)
	}
	for _, kind := range kinds { // of what is attached there is nothing
		_, err := try(s, fmt.Sprintf(kind, "aux"))
		require.Error(t, err, kind)
		require.NoError(t, s.Rollback())
	}
}

// An object has no connection of its own, so that none may keep a setting.
func TestGuard_RefusesUnknownPragmas(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())
	c := s.(*database).conn
	ours := func(text string) (out [][]any) {
		require.NoError(t, query(c.db, text, func(row []any) error {
			out = append(out, row)
			return nil
		}))
		return out
	}
	c.guard.trusted = true
	names := ours("SELECT name FROM pragma_pragma_list")
	c.guard.trusted = false
	require.Greater(t, len(names), 50)
	settings := func() (all []any) {
		c.guard.trusted = true
		defer func() { c.guard.trusted = false }()
		for _, name := range []string{
			"locking_mode", "journal_mode", "cache_spill", "cache_size", "foreign_keys", "max_page_count", "page_size",
			"temp_store", "synchronous", "recursive_triggers", "query_only", "ignore_check_constraints",
			"writable_schema", "trusted_schema", "secure_delete", "legacy_alter_table", "reverse_unordered_selects",
			"busy_timeout", "mmap_size",
		} {
			all = append(all, name, ours("PRAGMA "+name))
		}
		return all
	}
	before := settings()
	for _, row := range append(names, []any{"nothing"}, []any{"case_sensitive_like"}, []any{"temp_store_directory"}) {
		name := row[0].(string)
		_, known := pragmas[name]
		for _, form := range []string{
			"PRAGMA %s", "PRAGMA main.%s = 2", "PRAGMA %s = 1", "PRAGMA %s(0)", "PRAGMA %s = 'OFF'",
			"SELECT * FROM pragma_%s",
		} {
			if _, err := try(s, fmt.Sprintf(form, name)); !known {
				require.Error(t, err, form, name)
			}
		}
		require.Same(t, c, s.(*database).conn)
		require.Equal(t, before, settings(), name)
	}
}

func TestGuard_RefusesTablesOfTheLibrary(t *testing.T) {
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a)")
	d := s.(*database)
	require.NoError(t, d.conn.control("CREATE TABLE _dog_x (a)"))
	for _, query := range []string{
		"SELECT * FROM _dog_x", "SELECT * FROM t WHERE a IN (SELECT a FROM _DOG_X)", "INSERT INTO _dog_x VALUES (1)",
		"UPDATE _dog_x SET a = 1", "DELETE FROM _dog_x", "DROP TABLE _dog_x", "CREATE INDEX i ON _dog_x (a)",
		"ALTER TABLE _dog_x RENAME TO y", "ALTER TABLE _dog_x ADD COLUMN b", "ANALYZE _dog_x",
		"CREATE TRIGGER g AFTER INSERT ON _dog_x BEGIN SELECT 1; END",
		"CREATE VIEW v AS SELECT * FROM _dog_x; SELECT * FROM v",
		"CREATE TRIGGER h AFTER INSERT ON t BEGIN DELETE FROM _dog_x; END; INSERT INTO t VALUES (1)",
	} {
		_, err := try(s, query)
		require.ErrorIs(t, err, store.ErrRefused, query)
	}
}

func TestGuard_AllowedStatements(t *testing.T) {
	s, _ := newSQL(t)
	for _, query := range []string{
		"", " ; -- nothing\n", "/* open", "SELECT 1;", "SELECT 1; -- last",
		"CREATE TABLE t (a INTEGER PRIMARY KEY, _dog_column, b REFERENCES t)",
		"INSERT INTO t VALUES (1, 2, NULL)", "SELECT _dog_column FROM t", "UPDATE t SET _dog_column = '_dog_'",
		"ALTER TABLE t RENAME TO hot_dog_stands", "ALTER TABLE hot_dog_stands ADD COLUMN my_dog_name",
		"ALTER TABLE hot_dog_stands RENAME COLUMN b TO c", "ALTER TABLE hot_dog_stands DROP COLUMN my_dog_name",
		"ALTER TABLE hot_dog_stands ADD COLUMN n INTEGER NOT NULL DEFAULT 1 CHECK (n > 0)",
		"CREATE INDEX i ON hot_dog_stands (c)", "REINDEX i", "ANALYZE",
		"EXPLAIN QUERY PLAN SELECT * FROM hot_dog_stands",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT * FROM n",
		"SELECT value FROM json_each('[1,2]')", "SELECT value FROM generate_series(1, 3)",
		"SELECT * FROM pragma_table_info('hot_dog_stands')",
		"PRAGMA table_info(hot_dog_stands)", "PRAGMA table_list", "PRAGMA foreign_key_check", "PRAGMA integrity_check",
		"PRAGMA quick_check", "PRAGMA user_version", "PRAGMA user_version = 7", "PRAGMA defer_foreign_keys = ON",
		"PRAGMA optimize", "PRAGMA main.optimize", "PRAGMA optimize(0x10002)", "PRAGMA application_id = 3",
		"CREATE VIEW v AS SELECT 1", "DROP VIEW v", "DROP TABLE IF EXISTS absent",
		"INSERT INTO hot_dog_stands (a, c) VALUES (5, 1) RETURNING a",
	} {
		_, err := try(s, query)
		require.NoError(t, err, query)
	}
	require.NoError(t, s.Commit())
	require.NoError(t, s.Close())
	require.Equal(t, [][]any{{int64(7)}}, run(t, s, "PRAGMA user_version"))
}

func TestGuard_OrdinaryErrorsAreNoRefusals(t *testing.T) {
	s, _ := newSQL(t)
	for _, query := range []string{"SELEC 1", "SELECT * FROM absent", "SELECT nothing()", "SELECT 1\x00"} {
		_, err := try(s, query)
		require.Error(t, err, query)
		for _, kind := range []error{store.ErrRefused, store.ErrLimit, store.ErrConstraint, store.ErrCorrupt} {
			require.False(t, errors.Is(err, kind), "%s: %v", query, err)
		}
	}
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT 1"))
}
