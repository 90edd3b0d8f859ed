package life_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store"
)

// keepAll has all good neighbours store something before the disk hangs.
func (s *hangTest) keepAll(t *testing.T) {
	t.Helper()
	kept := make(chan error, goodNeighbours)
	for i := range goodNeighbours {
		go func() { kept <- dog.CallErr0(t.Context(), s.good(i), (*hangObject).Keep) }()
	}
	synctest.Wait()
	require.Empty(t, kept, "the disk waits for the test")
	s.engine.Flush()
	for range goodNeighbours {
		require.NoError(t, <-kept)
	}
}

// goodNeighbours is how many objects there are that do not hang.
const goodNeighbours = 1000

// good returns a good neighbour.
func (s *hangTest) good(i int) dog.Stub[hangObject] {
	return s.objects.Named("good " + strconv.Itoa(i))
}

// hangEngine opens databases in which nothing happens, except that the first
// one hangs at a step of its schema.
type hangEngine struct {
	store.Engine
	test *hangTest
}

func (e *hangEngine) OpenSQL(store.Pages, store.SQLLimits) (store.SQL, error) {
	return hangSQL{test: e.test}, nil
}

type hangSQL struct {
	store.SQL
	test *hangTest
}

func (q hangSQL) Run(_ string, _ []any, write func() error) (store.Rows, error) {
	q.test.at("Schema", "bad")
	return noRows{}, write()
}

func (hangSQL) Allow(time.Duration, int) {}
func (hangSQL) Savepoint(int) error      { return nil }
func (hangSQL) Release(int) error        { return nil }
func (hangSQL) LastInsertID() int64      { return 0 }
func (hangSQL) Changes() int64           { return 0 }
func (hangSQL) Commit() error            { return nil }
func (hangSQL) Rollback() error          { return nil }
func (hangSQL) Close() error             { return nil }

type noRows struct{ store.Rows }

func (noRows) Next() bool   { return false }
func (noRows) Err() error   { return nil }
func (noRows) Close() error { return nil }
