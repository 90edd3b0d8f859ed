package sqlite

import (
	"errors"
	"fmt"
	"testing"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
)

// A model is an ordinary SQLite database in memory that does the same.
type model struct{ db *sqlite3.Conn }

func (m model) exec(query string) error { return m.db.Exec(query) }

func (m model) dump(t require.TestingT) (out [][]any) {
	require.NoError(t, query(m.db, dumpQuery, func(row []any) error {
		out = append(out, row)
		return nil
	}))
	return out
}

const dumpQuery = "SELECT id, a, b, typeof(b) FROM t ORDER BY id"

// TestDatabase_BehavesLikeAnOrdinarySQLite compares contents after every step,
// and checks the image of every commit.
func TestDatabase_BehavesLikeAnOrdinarySQLite(t *testing.T) {
	pool := newPool(t, 2)
	rapid.Check(t, func(t *rapid.T) {
		db, err := sqlite3.Open(":memory:")
		require.NoError(t, err)
		defer db.Close()
		m := model{db}
		pages := newPages()
		s, err := pool.OpenSQL(pages, testLimits)
		require.NoError(t, err)
		defer s.Close()
		both := func(query string) {
			_, err := try(s, query)
			want := m.exec(query)
			require.Equal(t, want == nil, err == nil, "%s: %v, want %v", query, err, want)
			if want != nil {
				require.Equal(t, errors.Is(want, sqlite3.CONSTRAINT), errors.Is(err, store.ErrConstraint))
			}
		}
		check := func() {
			got, err := try(s, dumpQuery)
			require.NoError(t, err)
			require.Equal(t, m.dump(t), got)
		}
		rollback := func() {
			require.NoError(t, s.Rollback())
			require.NoError(t, m.exec("ROLLBACK; BEGIN"))
		}
		committed := pages.clone()
		commit := func() {
			require.NoError(t, s.Commit())
			require.NoError(t, m.exec("COMMIT; BEGIN"))
			committed = pages.clone()
			for n := range pages.pages {
				require.Less(t, n, pages.count)
			}
			other, err := pool.OpenSQL(committed.clone(), testLimits)
			require.NoError(t, err)
			defer other.Close()
			ok, err := try(other, "PRAGMA integrity_check")
			require.NoError(t, err)
			require.Equal(t, [][]any{{"ok"}}, ok)
			got, err := try(other, dumpQuery)
			require.NoError(t, err)
			require.Equal(t, m.dump(t), got)
		}
		require.NoError(t, m.exec("BEGIN"))
		both("CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b); CREATE INDEX i ON t (b)")
		commit()
		depth := 0
		id := rapid.IntRange(1, 40)
		content := rapid.SampledFrom([]string{
			"NULL", "x''", "''", "9223372036854775807", "-0.5", "zeroblob(3000)", "printf('%04000d', 7)",
		})
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"insert": func(t *rapid.T) {
				both(fmt.Sprintf(
					"INSERT INTO t VALUES (%d, %d, %s)", id.Draw(t, "id"), id.Draw(t, "a"), content.Draw(t, "b"),
				))
			},
			"replace": func(t *rapid.T) {
				both(fmt.Sprintf(
					"INSERT OR REPLACE INTO t VALUES (%d, %d, %s)", id.Draw(t, "id"), id.Draw(t, "a"),
					content.Draw(t, "b"),
				))
			},
			"update": func(t *rapid.T) {
				both(fmt.Sprintf("UPDATE t SET b = %s WHERE id %% %d = 0", content.Draw(t, "b"), id.Draw(t, "mod")))
			},
			"renumber": func(t *rapid.T) { both(fmt.Sprintf("UPDATE t SET id = id + %d", id.Draw(t, "by"))) },
			"delete":   func(t *rapid.T) { both(fmt.Sprintf("DELETE FROM t WHERE id > %d", id.Draw(t, "id"))) },
			"schema": func(t *rapid.T) {
				both(rapid.SampledFrom([]string{
					"CREATE TABLE IF NOT EXISTS u AS SELECT * FROM t", "DROP TABLE IF EXISTS u",
					"DROP INDEX IF EXISTS i", "CREATE INDEX IF NOT EXISTS i ON t (b)",
				}).Draw(t, "query"))
			},
			"savepoint": func(t *rapid.T) {
				depth++
				require.NoError(t, s.Savepoint(depth))
				require.NoError(t, m.exec(fmt.Sprintf("SAVEPOINT s%d", depth)))
			},
			"release": func(t *rapid.T) {
				if depth == 0 {
					t.Skip()
				}
				require.NoError(t, s.Release(depth))
				require.NoError(t, m.exec(fmt.Sprintf("RELEASE s%d", depth)))
				depth--
			},
			"rollback to": func(t *rapid.T) {
				if depth == 0 {
					t.Skip()
				}
				to := rapid.IntRange(1, depth).Draw(t, "depth")
				require.NoError(t, s.RollbackTo(to))
				require.NoError(t, m.exec(fmt.Sprintf("ROLLBACK TO s%d; RELEASE s%d", to, to)))
				depth = to - 1
			},
			"commit":   func(*rapid.T) { commit(); depth = 0 },
			"rollback": func(*rapid.T) { rollback(); depth = 0 },
			"close": func(*rapid.T) {
				require.NoError(t, s.Close())
				require.NoError(t, m.exec("ROLLBACK; BEGIN"))
				depth = 0
			},
			"failing commit": func(t *rapid.T) {
				hit := pages.failAt(rapid.IntRange(1, 20).Draw(t, "operation"))
				err := s.Commit()
				pages.failOp = nil
				if !*hit {
					require.NoError(t, err)
					require.NoError(t, m.exec("COMMIT; BEGIN"))
					committed = pages.clone()
				} else {
					require.ErrorIs(t, err, errDisk)
					pages.undo(committed)
					rollback()
				}
				depth = 0
			},
			"other": func(t *rapid.T) { // takes a place in the pool
				o, err := pool.OpenSQL(newPages(), testLimits)
				require.NoError(t, err)
				_, err = try(o, "SELECT 1")
				require.NoError(t, err)
				require.NoError(t, o.Close())
			},
		})
	})
}
