package sql_test

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

// modest is a store where reading takes time, and SQL has a hundredth of the
// steps and a thirty-second of the memory that dog asks for.
type modest struct {
	inner dog.Store
	read  time.Duration // each read
}

func (m modest) OpenEngine(log *slog.Logger) (store.Engine, error) {
	e, err := hook.OpenStore(m.inner, log)
	return modestEngine{e, m.read}, err
}

type modestEngine struct {
	store.Engine
	read time.Duration
}

func (e modestEngine) Get(key []byte) ([]byte, bool, error) {
	time.Sleep(e.read)
	return e.Engine.Get(key)
}

func (e modestEngine) OpenSQL(pages store.Pages, limits store.SQLLimits) (store.SQL, error) {
	limits.Steps, limits.Memory = limits.Steps/100, limits.Memory/32
	return e.Engine.OpenSQL(pages, limits)
}

// The limits are for what clients send: not for what the developer does with
// what they have stored.
func TestSchema_StepMayTakeAsLongAsAStart(t *testing.T) {
	first := dog.Schema{
		"CREATE TABLE t (a, b); INSERT INTO t SELECT value, zeroblob(900) FROM generate_series(1, 3000)",
	}
	const (
		count   = "SELECT count(*) FROM generate_series(1, 1000000)"
		read    = "UPDATE t SET a = 1 WHERE b = 1"
		rebuild = "CREATE TABLE n (a, b NOT NULL); INSERT INTO n SELECT a, b FROM t; DROP TABLE t; ALTER TABLE n " +
			"RENAME TO t"
	)
	for name, c := range map[string]struct {
		step    string
		read    time.Duration // each page, of 3000
		timeout time.Duration // Options.StartTimeout
		fails   bool
	}{
		"steps of the machine":     {step: count},
		"memory":                   {step: rebuild},
		"memory to sort":           {step: "CREATE INDEX i ON t (b, a)"},
		"without foreign keys":     {step: "PRAGMA foreign_keys = OFF; " + rebuild + ";" + count},
		"time":                     {step: read, read: 5 * time.Millisecond},
		"time that is set":         {step: read, read: 15 * time.Millisecond, timeout: time.Minute},
		"any time":                 {step: read, read: time.Second, timeout: -1},
		"too long":                 {step: read, read: 15 * time.Millisecond, fails: true},
		"too long for what is set": {step: read, read: time.Millisecond, timeout: 2 * time.Second, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := dogtest.NewDisk(t)
				require.NoError(t, newRelease(t, d, first, withoutUse))
				rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(modest{d, c.read}), StartTimeout: c.timeout})
				cells, err := dog.RegisterObject(
					rt, "cell", &dog.ObjectOptions[fixture.Object]{Schema: append(first, c.step)},
				)
				require.NoError(t, err)
				err = fixture.Commit(t, cells.Named("x"), func(*dog.Storage) error { return nil })
				if c.fails {
					wrong, ok := errors.AsType[*dog.SchemaError](err)
					require.True(t, ok, err)
					require.Equal(t, 1, wrong.Step)
					require.ErrorIs(t, err, dog.ErrSQLLimit)
					require.ErrorContains(t, err, "Options.StartTimeout")
					return
				}
				require.NoError(t, err)
				for _, query := range []string{count, read, "CREATE TABLE large AS SELECT * FROM t"} {
					if query == read && c.read == 0 {
						continue
					}
					_ = fixture.Commit(t, cells.Named("x"), func(s *dog.Storage) error {
						_, err := s.SQL().Exec(query)
						require.ErrorIs(t, err, dog.ErrSQLLimit, "the limits are back")
						return nil
					})
				}
			})
		})
	}
}
