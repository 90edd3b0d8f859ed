package sqlite

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

func TestRefusedStatements(t *testing.T) {
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
		"CREATE VIRTUAL TABLE x USING generate_series",
	} {
		before := run(t, s, "SELECT name, sql FROM sqlite_schema ORDER BY name")
		_, err := try(s, query)
		require.ErrorIs(t, err, store.ErrRefused, query)
		require.NotEqual(t, store.ErrRefused.Error(), err.Error(), "says what is refused")
		require.Equal(t, before, run(t, s, "SELECT name, sql FROM sqlite_schema ORDER BY name"), query)
		require.NoError(t, s.Rollback())
	}
	require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT a FROM t"))
	require.NotZero(t, pages.count)
}

func TestTablesOfTheLibraryCannotBeUsed(t *testing.T) {
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

func TestAllowedStatements(t *testing.T) {
	s, _ := newSQL(t)
	for _, query := range []string{
		"", " ; -- nothing\n", "/* open", "SELECT 1;", "SELECT 1; -- last",
		"CREATE TABLE t (a INTEGER PRIMARY KEY, _dog_column, b REFERENCES t)",
		"INSERT INTO t VALUES (1, 2, NULL)", "SELECT _dog_column FROM t", "UPDATE t SET _dog_column = '_dog_'",
		"ALTER TABLE t RENAME TO hot_dog_stands", "ALTER TABLE hot_dog_stands ADD COLUMN my_dog_name",
		"ALTER TABLE hot_dog_stands RENAME COLUMN b TO c", "ALTER TABLE hot_dog_stands DROP COLUMN my_dog_name",
		"ALTER TABLE hot_dog_stands ADD COLUMN n INTEGER NOT NULL DEFAULT 1 CHECK (n > 0)",
		"CREATE INDEX i ON hot_dog_stands (c)", "REINDEX i", "ANALYZE", "EXPLAIN QUERY PLAN SELECT * FROM hot_dog_stands",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT * FROM n",
		"SELECT value FROM json_each('[1,2]')", "SELECT value FROM generate_series(1, 3)",
		"SELECT * FROM pragma_table_info('hot_dog_stands')",
		"PRAGMA table_info(hot_dog_stands)", "PRAGMA table_list", "PRAGMA foreign_key_check", "PRAGMA integrity_check",
		"PRAGMA quick_check", "PRAGMA user_version", "PRAGMA user_version = 7", "PRAGMA defer_foreign_keys = ON",
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

func TestOrdinaryErrorsAreNotRefusals(t *testing.T) {
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
