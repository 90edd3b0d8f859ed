package disk_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, s dog.Store) store.Engine {
	e, err := hook.OpenStore(s, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return e
}

func set(t *testing.T, e store.Engine, key, value string) uint64 {
	b := e.Begin()
	b.Set([]byte(key), []byte(value))
	n, err := b.Commit()
	require.NoError(t, err)
	return n
}

func TestAt_KeepsData(t *testing.T) {
	s := disk.At(t.TempDir())
	e := open(t, s)
	set(t, e, "k", "v")
	_, err := hook.OpenStore(s, nil)
	require.ErrorIs(t, err, store.ErrLocked)
	require.NoError(t, e.Close())

	e = open(t, s)
	v, found, err := e.Get([]byte("k"))
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "v", string(v))
	require.NoError(t, e.Close())
}

func TestMemory_IsEmptyAfterClose(t *testing.T) {
	s := disk.Memory()
	e, other := open(t, s), open(t, s)
	set(t, e, "k", "v")
	_, found, err := other.Get([]byte("k"))
	require.NoError(t, err)
	require.False(t, found, "each runtime has its own")
	require.NoError(t, e.Close())
	require.NoError(t, other.Close())
	e = open(t, s)
	_, found, err = e.Get([]byte("k"))
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, e.Close())
}

// In a bubble of synctest time is virtual, and the store leaves no goroutine
// behind.
func TestMemory_WorksInASynctestBubble(t *testing.T) {
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			e := open(t, disk.Memory())
			start := time.Now()
			outcome := make(chan error)
			e.OnDurable(set(t, e, "k", "v"), func(err error) { outcome <- err })
			require.NoError(t, <-outcome)
			n := set(t, e, "k", "w")
			time.Sleep(time.Hour)
			require.Equal(t, n, e.Durable())
			for range 50_000 {
				set(t, e, "k", "a value that fills tables")
			}
			require.Less(t, time.Since(start), 2*time.Hour)
			require.NoError(t, e.Close())
		})
	}
}

func TestStore_HasSQLiteDatabases(t *testing.T) {
	e := open(t, disk.With(disk.Options{Dir: t.TempDir(), OpenDatabases: 2}))
	limits := store.SQLLimits{
		Steps: 1e6, Statement: 1e5, Parameters: 100, Columns: 100, Pages: 1000, Value: 1e6, Time: time.Minute,
		Memory: 128 << 20,
	}
	db, err := e.OpenSQL(pages{}, limits)
	require.NoError(t, err)
	rows, err := db.Run("SELECT 40 + 2", nil, func() error { return nil })
	require.NoError(t, err)
	require.True(t, rows.Next())
	require.Equal(t, int64(42), rows.Value(0))
	require.NoError(t, rows.Close())
	require.NoError(t, db.Close())
	require.Implements(t, (*store.Files)(nil), e)
	require.NoError(t, e.Close())
}

// pages are those of an object that has stored nothing.
type pages map[uint32][]byte

func (p pages) ReadPage(n uint32, buf []byte) (bool, error) {
	data, found := p[n]
	copy(buf, data)
	return found, nil
}

func (p pages) WritePage(n uint32, data []byte) error {
	p[n] = append([]byte(nil), data...)
	return nil
}

func (p pages) Count() (uint32, error) { return uint32(len(p)), nil }

func (p pages) SetCount(uint32) error { return nil }
