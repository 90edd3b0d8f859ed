package sql_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

var errNo = errors.New("no")

// countable are objects with a table t, which undo what fails.
var countable = dog.ObjectOptions[fixture.Object]{
	Schema:          dog.Schema{"CREATE TABLE t (a INTEGER PRIMARY KEY, b REFERENCES t DEFERRABLE INITIALLY DEFERRED)"},
	RollbackOnError: true,
}

// storeBoth stores a both as a key and a row.
func storeBoth(t testing.TB, s *dog.Storage, a int) {
	t.Helper()
	require.NoError(t, s.Put(fmt.Sprint(a), nil))
	sqlExec(t, s, "INSERT INTO t (a) VALUES (?)", a)
}

// requireBoth requires that keys and rows are these.
func requireBoth(t testing.TB, s *dog.Storage, want ...int) {
	t.Helper()
	require.Equal(t, append([]int{}, want...), sqlList[int](t, s, "SELECT a FROM t ORDER BY a"))
	var keys []string
	for e, err := range s.List(dog.ListOptions{}) {
		require.NoError(t, err)
		keys = append(keys, e.Key)
	}
	var texts []string
	for _, a := range want {
		texts = append(texts, fmt.Sprint(a))
	}
	require.ElementsMatch(t, texts, keys)
	require.Equal(t, []string{"ok"}, sqlList[string](t, s, "PRAGMA integrity_check"))
}

func TestSQL_SharesItsTransactionWithKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cells := newTables(t, disk.Memory(), countable)
		stub := cells.Named("x")
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }))
		require.ErrorIs(t, fixture.Commit(t, stub, func(s *dog.Storage) error {
			storeBoth(t, s, 2)
			requireBoth(t, s, 1, 2)
			return errNo
		}), errNo)
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { requireBoth(t, s, 1); return nil }))
		require.ErrorIs(
			t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 3); panic("no") }),
			dog.ErrReset,
		)
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { requireBoth(t, s, 1); return nil }))
	})
}

func TestSQL_JoinsNestedTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cells := newTables(t, disk.Memory(), countable)
		stub := cells.Named("x")
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }))
		time.Sleep(5 * time.Minute) // the object is dropped from memory, and its database closed
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error {
			for _, before := range []bool{false, true} { // SQL is used for the first time within, and outside
				if before {
					storeBoth(t, s, 2)
				}
				require.ErrorIs(t, s.Transaction(func() error {
					require.NoError(t, s.Transaction(func() error { storeBoth(t, s, 3); return nil }))
					require.ErrorIs(t, s.Transaction(func() error { storeBoth(t, s, 4); return errNo }), errNo)
					storeBoth(t, s, 5)
					return errNo
				}), errNo)
			}
			requireBoth(t, s, 1, 2)
			require.Panics(t, func() { _ = s.Transaction(func() error { storeBoth(t, s, 6); panic("no") }) })
			requireBoth(t, s, 1, 2)
			return s.Transaction(func() error { storeBoth(t, s, 7); return nil })
		}))
		require.NoError(
			t, fixture.Commit(t, stub, func(s *dog.Storage) error { requireBoth(t, s, 1, 2, 7); return nil }),
		)
	})
}

func TestSQL_IsEmptyAfterDeleteAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cells := newTables(t, disk.Memory(), countable)
		stub := cells.Named("x")
		do := func(f func(s *dog.Storage) error) error { return fixture.Commit(t, stub, f) }
		require.NoError(t, do(func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }))

		require.ErrorIs(t, do(func(s *dog.Storage) error {
			storeBoth(t, s, 2)
			require.NoError(t, s.DeleteAll())
			requireBoth(t, s) // the schema is there again
			storeBoth(t, s, 3)
			return errNo
		}), errNo)
		require.NoError(t, do(func(s *dog.Storage) error { requireBoth(t, s, 1); storeBoth(t, s, 4); return nil }))

		require.NoError(t, do(func(s *dog.Storage) error {
			require.ErrorIs(t, s.Transaction(func() error {
				require.NoError(t, s.DeleteAll())
				requireBoth(t, s)
				storeBoth(t, s, 5)
				require.ErrorIs(t, s.DeleteAll(), dog.ErrInTransaction)
				return errNo
			}), errNo)
			requireBoth(t, s, 1, 4)
			storeBoth(t, s, 6)
			return nil
		}))
		require.NoError(t, do(func(s *dog.Storage) error { requireBoth(t, s, 1, 4, 6); return nil }))

		require.NoError(t, do(func(s *dog.Storage) error {
			return s.Transaction(func() error { return s.DeleteAll() })
		}))
		require.NoError(t, do(func(s *dog.Storage) error { storeBoth(t, s, 7); return nil }))
		require.NoError(t, do(func(s *dog.Storage) error { requireBoth(t, s, 7); return nil }))
	})
}

func TestSQL_RowsEndWithTheTurnOrAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cells := newTables(t, disk.Memory(), countable)
		rows := "SELECT value FROM generate_series(1, 5)"
		waits := map[string]func(ctx context.Context, s *dog.Storage) error{
			"Await": func(ctx context.Context, _ *dog.Storage) error {
				return dog.Await(ctx, func() error { return nil })
			},
			"Sync": func(ctx context.Context, s *dog.Storage) error { return s.Sync(ctx) },
			"a write and Sync": func(ctx context.Context, s *dog.Storage) error {
				return errors.Join(s.Put("k", nil), s.Sync(ctx))
			},
		}
		for name, wait := range waits {
			require.NoError(t, fixture.InTurn(cells.Named("x"), func(ctx context.Context, c *fixture.Object) error {
				var got []int
				var last error
				for v, err := range dog.QueryAs[int](c.Storage().SQL(), rows) {
					if err != nil {
						require.NoError(t, last, "the error is the last item")
						last = err
						continue
					}
					got = append(got, v)
					if v == 2 {
						require.NoError(t, wait(ctx, c.Storage()), name)
					}
				}
				fixture.RequireUsage(t, last, "read on after", name)
				require.Equal(t, []int{1, 2}, got)
				return nil
			}))
		}

		next := make(chan struct{})
		result := make(chan error)
		require.NoError(t, fixture.InTurn(cells.Named("x"), func(_ context.Context, c *fixture.Object) error {
			go func() { // against the rules
				var last error
				for _, err := range dog.QueryAs[int](c.Storage().SQL(), rows) {
					last = err
					if err == nil {
						<-next
					}
				}
				result <- last
			}()
			synctest.Wait()
			return nil
		}))
		close(next)
		fixture.RequireUsage(t, <-result, "read on after")
	})
}

func TestSQL_ConstraintFailureAtCommitResetsTheObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cells := newTables(t, disk.Memory(), countable)
		stub := cells.Named("x")
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }))
		err := fixture.Commit(t, stub, func(s *dog.Storage) error {
			storeBoth(t, s, 2)
			sqlExec(t, s, "UPDATE t SET b = 99")
			return nil
		})
		require.ErrorIs(t, err, dog.ErrReset)
		require.ErrorIs(t, err, dog.ErrConstraint)
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { requireBoth(t, s, 1); return nil }))
	})
}

func TestSQL_TransactionRolledBackBySQLiteIsUndoneWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cells := newTables(t, disk.Memory(), countable)
		stub := cells.Named("x")
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }))
		err := fixture.Commit(t, stub, func(s *dog.Storage) error {
			storeBoth(t, s, 2)
			_, err := s.SQL().Exec("INSERT OR ROLLBACK INTO t (a) VALUES (1)")
			require.ErrorIs(t, err, dog.ErrConstraint)
			return nil // the handler does not care, but what it stored would be torn
		})
		require.ErrorIs(t, err, dog.ErrReset)
		require.ErrorIs(t, err, dog.ErrConstraint)
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { requireBoth(t, s, 1); return nil }))
	})
}

func TestSQL_ReadingStoresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{inner: disk.Memory()}
		_, cells := newTables(t, fixture.StoreOf(w), countable)
		require.NoError(
			t, fixture.Commit(t, cells.Named("x"), func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }),
		)
		before := w.commits.Load()
		require.NoError(t, fixture.InTurn(cells.Named("x"), func(_ context.Context, c *fixture.Object) error {
			requireBoth(t, c.Storage(), 1)
			return nil
		}))
		require.Equal(t, before, w.commits.Load())
	})
}

func TestSQL_ReadsOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		_, cells := newTables(t, d, countable)
		stub := cells.Named("x")
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }))
		d.Fill()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.NoError(t, fixture.InTurn(stub, func(_ context.Context, c *fixture.Object) error {
			_, err := c.Storage().SQL().Exec("INSERT INTO t (a) VALUES (2)")
			require.ErrorIs(t, err, dog.ErrStoreFull)
			requireBoth(t, c.Storage(), 1)
			return nil
		}))
		d.Free()
		time.Sleep(2 * time.Second)
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 2); return nil }))
		require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { requireBoth(t, s, 1, 2); return nil }))
	})
}

func TestSQL_DatabasesOfEvictedObjectsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{inner: disk.Memory()}
		_, cells := newTables(t, fixture.StoreOf(w), countable)
		require.NoError(
			t,
			fixture.Commit(t, cells.Named("idle"), func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }),
		)
		require.Error(
			t,
			fixture.Commit(
				t, cells.Named("reset in its turn"), func(s *dog.Storage) error { storeBoth(t, s, 1); panic("no") },
			),
		)
		require.Error(
			t,
			fixture.Commit(
				t, cells.Named("reset reading"), func(s *dog.Storage) error { requireBoth(t, s); panic("no") },
			),
		)
		var other *fixture.Object
		require.NoError(
			t,
			fixture.InTurn(cells.Named("reset while idle"), func(_ context.Context, c *fixture.Object) error {
				storeBoth(t, c.Storage(), 1)
				other = c
				return nil
			}),
		)
		other.Abort(errNo)
		require.ErrorIs(
			t, dog.CallErr(t.Context(), cells.Named("reset within a statement"), (*fixture.Object).With, breakOff),
			dog.ErrReset,
		)
		time.Sleep(5 * time.Minute)
		require.Positive(t, w.opened.Load())
		require.Equal(t, w.opened.Load(), w.closed.Load())
	})
}

// breaker is an argument that resets an object when it is asked for its value.
type breaker struct{ c *fixture.Object }

func (b breaker) Value() (driver.Value, error) {
	b.c.Abort(errNo)
	return int64(1), nil
}

// breakOff resets an object in the middle of a statement.
func breakOff(c *fixture.Object) error {
	_, err := c.Storage().SQL().Exec("SELECT ?", breaker{c})
	return err
}

// TestSQL_SurvivesCrashesTogetherWithKeys crashes the disk at random and
// compares what is left with what was acknowledged.
func TestSQL_SurvivesCrashesTogetherWithKeys(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seeds := rapid.SliceOfN(rapid.Uint64(), 1, 3).Draw(rt, "seeds")
		steps := rapid.SliceOfN(rapid.IntRange(1, 12), len(seeds), len(seeds)).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			d := dogtest.NewDisk(t)
			next := 1
			for i, seed := range seeds {
				_, cells := newTables(t, d, countable)
				stub := cells.Named("x")
				for range steps[i] {
					require.NoError(
						t,
						fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, next); return nil }),
					)
					next++
				}
				acknowledged := next
				d.CrashTorn(seed)
				_, cells = newTables(t, d, countable)
				require.NoError(t, fixture.Commit(t, cells.Named("x"), func(s *dog.Storage) error {
					var want []int
					for a := 1; a < acknowledged; a++ {
						want = append(want, a)
					}
					requireBoth(t, s, want...)
					return nil
				}))
				d.Crash()
			}
		})
	})
}
