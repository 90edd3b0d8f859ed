package sqlite

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// stalled blocks the next calls of SQLite in the authorizer until bitten is
// closed.
func stalled(t *testing.T, d *database, bitten <-chan struct{}) {
	check := d.conn.guard.check
	require.NoError(t, d.conn.db.SetAuthorizer(func(
		action sqlite3.AuthorizerActionCode, name, detail, schema, inner string,
	) sqlite3.AuthorizerReturnCode {
		<-bitten
		return check(action, name, detail, schema, inner)
	}))
}

// Between the moment in which the watchdog bites and that in which the memory
// is inaccessible the call may return, whatever call it is.
func TestWatchdog_CallThatReturnsMeanwhileIsAnError(t *testing.T) {
	needsWatchdog(t)
	for name, query := range map[string]string{
		"that succeeds": "SELECT 1, 2",
		"that fails":    "SELECT absent FROM t",
		"that writes":   "INSERT INTO t VALUES (2)",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := newSQL(t)
				run(t, s, "CREATE TABLE t (a)")
				require.NoError(t, s.Commit())
				run(t, s, "INSERT INTO t VALUES (1)")
				d := s.(*database)
				bitten, returned := make(chan struct{}), make(chan struct{})
				d.conn.meter.dog.seal = func(memory []byte) error {
					close(bitten)
					<-returned
					return seal(memory)
				}
				stalled(t, d, bitten)
				_, err := try(s, query)
				close(returned)
				require.ErrorIs(t, err, store.ErrLimit)
				require.ErrorContains(t, err, "takes too long")
				require.ErrorIs(t, s.Commit(), store.ErrLimit)
				require.NoError(t, s.Rollback())
				require.Empty(t, run(t, s, "SELECT a FROM t"))
			})
		})
	}
}

func TestWatchdog_RetriesUntilTheMemoryIsInaccessible(t *testing.T) {
	needsWatchdog(t)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := New(1, slog.New(slog.NewTextHandler(&log, nil)))
		s := openSQL(t, p, newPages())
		run(t, s, "SELECT 1")
		d := s.(*database)
		bitten := make(chan struct{})
		tried := 0
		d.conn.meter.dog.seal = func(memory []byte) error {
			if tried++; tried < 4 {
				return errors.New("no room for another range")
			}
			close(bitten)
			return nil
		}
		stalled(t, d, bitten)
		began := time.Now()
		_, err := try(s, "SELECT 1, 2")
		require.ErrorIs(t, err, store.ErrLimit)
		require.Equal(t, 4, tried)
		require.Equal(t, testLimits.Time+4*grace, time.Since(began))
		require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("no room for another range")))
		require.Equal(t, [][]any{{int64(1)}}, run(t, s, "SELECT 1"))
		require.NoError(t, s.Close())
		require.NoError(t, p.Close())
	})
}
