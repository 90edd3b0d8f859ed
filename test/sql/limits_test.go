package sql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSQL_ForbiddenStatementsAreRefused(t *testing.T) {
	withTable(t, func(_ context.Context, s *dog.Storage) {
		for _, query := range []string{
			"ATTACH 'x' AS x", "DETACH main", "VACUUM", "VACUUM INTO 'x'",
			"BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "ROLLBACK", "SAVEPOINT x", "RELEASE x", "ROLLBACK TO x",
			"SELECT load_extension('x')", "PRAGMA foreign_keys = OFF", "PRAGMA journal_mode = WAL",
			"PRAGMA writable_schema = ON",
			"CREATE TEMP TABLE x (a)", "CREATE TABLE temp.t (a)", "CREATE VIEW temp.t AS SELECT 1",
			"CREATE TRIGGER temp.x AFTER INSERT ON t BEGIN SELECT 1; END",
			"CREATE VIRTUAL TABLE x USING rtree(a, b, c)",
			"CREATE TABLE _dog_x (a)", "CREATE TABLE _DOG_X (a)",
			"INSERT INTO t VALUES (1, 2); COMMIT",
		} {
			undone := s.Transaction(func() error {
				_, err := s.SQL().Exec(query)
				require.ErrorIs(t, err, dog.ErrSQLRefused, query)
				return err
			})
			require.ErrorIs(t, undone, dog.ErrSQLRefused)
		}
		require.Empty(t, sqlList[int](t, s, "SELECT a FROM t"))
		require.Equal(t, []int{1}, sqlList[int](t, s, "PRAGMA foreign_keys"))
	})
}

func TestSQL_WorksUpToItsLimits(t *testing.T) {
	withTable(t, func(_ context.Context, s *dog.Storage) {
		list := func(n int) string { return strings.TrimSuffix(strings.Repeat("1,", n), ",") }
		args := make([]any, 100)
		for i := range args {
			args[i] = i
		}
		columns := make([]string, 101)
		for i := range columns {
			columns[i] = fmt.Sprintf("c%d", i)
		}
		statement := "SELECT 1"
		statement += strings.Repeat(" ", 100_000-len(statement))
		exec := func(query string, args ...any) error {
			_, err := s.SQL().Exec(query, args...)
			return err
		}
		require.NoError(t, exec("SELECT "+strings.TrimSuffix(strings.Repeat("?,", 100), ","), args...))
		require.ErrorIs(t, exec("SELECT ?101", sql.Named("101", 1)), dog.ErrSQLLimit)
		require.NoError(t, exec(statement))
		require.ErrorIs(t, exec(statement+" "), dog.ErrSQLLimit)
		require.NoError(t, exec("SELECT "+list(100)))
		require.ErrorIs(t, exec("SELECT "+list(101)), dog.ErrSQLLimit)
		require.NoError(t, exec("CREATE TABLE wide ("+strings.Join(columns[:100], ",")+")"))
		require.ErrorIs(t, exec("CREATE TABLE wider ("+strings.Join(columns, ",")+")"), dog.ErrSQLLimit)
		require.NoError(t, exec("SELECT length(?)", make([]byte, 2<<20)))
		require.ErrorIs(t, exec("SELECT length(?)", make([]byte, 2<<20+1)), dog.ErrSQLLimit)
	})
}

// smallStore is a store with a hundredth of the room and the patience that dog
// asks for, so that tests need not take all of it.
type smallStore struct{ inner dog.Store }

func (n smallStore) OpenEngine(log *slog.Logger) (store.Engine, error) {
	e, err := hook.OpenStore(n.inner, log)
	return smallEngine{e}, err
}

// documented are the limits in the comment of dog.SQL.
var documented = store.SQLLimits{
	Steps: 100_000_000, Time: 2 * time.Second, Pattern: 50, Statement: 100_000, Parameters: 100, Columns: 100,
	Value: 2 << 20, Pages: 10 << 20, Memory: 128 << 20,
}

type smallEngine struct{ store.Engine }

func (e smallEngine) OpenSQL(pages store.Pages, limits store.SQLLimits) (store.SQL, error) {
	if limits != documented {
		return nil, fmt.Errorf("other limits than are documented: %+v", limits)
	}
	limits.Steps, limits.Pages = limits.Steps/100, 100
	return e.Engine.OpenSQL(pages, limits)
}

func TestSQL_EndlessQueryIsEnded(t *testing.T) {
	const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
	_, cells := newTables(t, fixture.StoreOf(smallStore{disk.Memory()}), countable)
	stub := cells.Named("x")
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error {
		storeBoth(t, s, 1)
		_, err := s.SQL().Exec(endless + "SELECT count(*) FROM n")
		require.ErrorIs(t, err, dog.ErrSQLLimit)
		requireBoth(t, s, 1)
		return nil
	}), "what only reads spoils nothing")
	require.ErrorIs(t, fixture.Commit(t, stub, func(s *dog.Storage) error {
		require.NoError(t, s.Put("2", nil))
		_, err := s.SQL().Exec(endless + "UPDATE t SET b = (SELECT count(*) FROM n)")
		require.ErrorIs(t, err, dog.ErrSQLLimit)
		return nil // the handler does not care, but SQLite has given the transaction up
	}), dog.ErrSQLLimit)
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { requireBoth(t, s, 1); return nil }))
}

func TestSQL_StatementWithoutRoomIsUndone(t *testing.T) {
	_, cells := newTables(t, fixture.StoreOf(smallStore{disk.Memory()}), countable)
	stub := cells.Named("x")
	const large = `WITH RECURSIVE n(i) AS (VALUES (100) UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
		INSERT INTO t (a) SELECT i FROM n`
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error {
		storeBoth(t, s, 1)
		_, err := s.SQL().Exec(large)
		require.ErrorIs(t, err, dog.ErrSQLLimit)
		requireBoth(t, s, 1)
		storeBoth(t, s, 2)
		return nil
	}))
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { requireBoth(t, s, 1, 2); return nil }))
}

// badCommit is a replica that stores what SQL finds out at the commit to be
// wrong.
type badCommit struct {
	dog.Replica
	ran *int
}

func (v *badCommit) Receive(w http.ResponseWriter, req *http.Request) error {
	if req.URL.Path == "/ws" {
		_, err := v.Connect(w, req, nil)
		return err
	}
	if v.breach() == nil {
		_, _ = io.WriteString(w, "kept")
	}
	return nil
}

func (v *badCommit) OnMessage(ctx context.Context, s *dog.Socket, _ dog.Message) error {
	if err := v.breach(); err != nil {
		return err
	}
	return errors.Join(
		s.Send("sent"), v.Emit("emitted"), v.Broadcast("broadcast"),
		dog.Go(ctx, func(context.Context) error { *v.ran++; return nil }),
	)
}

func (v *badCommit) breach() error {
	err := v.Storage().Put("key", nil)
	_, failed := v.Storage().SQL().Exec("INSERT INTO t VALUES (1, 99)")
	return errors.Join(err, failed)
}

// Keys returns how many keys there are.
func (v *badCommit) Keys(context.Context) (n int, err error) {
	for _, err := range v.Storage().List(dog.ListOptions{}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

func TestSQL_CommitRefusedByAConstraintSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		var resets []error
		rt := dogtest.New(
			t,
			dog.Options{Store: disk.Memory(), Trace: &dog.Trace{ObjectStopped: func(_ dog.ObjectInfo, cause error) {
				if cause != nil {
					resets = append(resets, cause)
				}
			}}},
		)
		badCommits, err := dog.RegisterReplica(
			rt, "badCommit",
			&dog.ReplicaOptions[badCommit]{
				New: func() *badCommit { return &badCommit{ran: &ran} },
				Schema: dog.Schema{
					"CREATE TABLE t (a INTEGER PRIMARY KEY, b REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
				},
			},
		)
		require.NoError(t, err)
		lobbies, err := dog.RegisterGroup(rt, "lobby", badCommits, &dog.GroupOptions[fixture.Lobby]{Limit: 9})
		require.NoError(t, err)
		srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			stub, err := lobbies.Named("l").Identify(req.Context(), req.URL.Query().Get("u"))
			if err != nil {
				dog.WriteError(w, err)
				return
			}
			stub.ServeHTTP(w, req)
		}))
		ada, bob := srv.Dial("/ws?u=ada"), srv.Dial("/ws?u=bob")
		ada.Send("anything")
		synctest.Wait()
		for _, c := range []*dogtest.Client{ada, bob} {
			require.Empty(t, c.Received())
			code, _ := c.Closed()
			require.Equal(t, 1011, code)
		}
		require.Zero(t, ran)
		require.Len(t, resets, 1)
		require.ErrorIs(t, resets[0], dog.ErrConstraint)

		answer, err := srv.Client().Get(dogtest.URL + "/?u=ada")
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, errors.Join(err, answer.Body.Close()))
		require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
		require.NotContains(t, string(body), "kept")
		synctest.Wait() // for the hook
		require.Len(t, resets, 2)

		stub, err := lobbies.Named("l").Identify(t.Context(), "eve")
		require.NoError(t, err)
		n, err := dog.Call0(t.Context(), stub, (*badCommit).Keys)
		require.NoError(t, err)
		require.Zero(t, n, "keys are undone with the rows")
	})
}

func TestSQL_AbortEndsOpenRows(t *testing.T) {
	rt, cells := newTables(t, disk.Memory(), countable)
	stub := cells.Named("x")
	running := make(chan *fixture.Object, 1)
	aborted := make(chan struct{})
	go func() {
		defer close(aborted)
		(<-running).Abort(errNo)
	}()
	err := dog.CallErr(t.Context(), stub, (*fixture.Object).With, func(c *fixture.Object) error {
		for row, err := range c.Storage().SQL().Query("SELECT 1") {
			if err != nil {
				return err
			}
			running <- c
			for row.Value(0) != nil {
				runtime.Gosched()
			}
		}
		return nil
	})
	require.ErrorIs(t, err, dog.ErrReset)
	require.ErrorIs(t, err, errNo)
	<-aborted
	require.NoError(t, fixture.Commit(t, stub, func(s *dog.Storage) error { storeBoth(t, s, 1); return nil }))
	require.NoError(t, rt.Shutdown(t.Context()))
}
