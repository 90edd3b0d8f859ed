package tx_test

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// owner is a life of an object whose turn is held while running is nil.
type owner struct {
	sync.Mutex
	engine  store.Engine
	running error
	over    error
	wrote   int
	commits []store.Commit
	failed  []error
	resets  []error
}

func (o *owner) Running() error { return o.running }
func (o *owner) Open() *store.Object {
	return store.NewObject(o.engine, store.Identity{Namespace: 1, Base: store.Base{1}})
}
func (o *owner) OpenSQL(pages store.Pages) (store.SQL, error) {
	return o.engine.OpenSQL(pages, store.SQLLimits{})
}
func (o *owner) Writable() error          { return o.engine.Writable() }
func (o *owner) Lock() error              { o.Mutex.Lock(); return o.over }
func (o *owner) Wrote()                   { o.wrote++ }
func (o *owner) Committed(c store.Commit) { o.commits = append(o.commits, c) }
func (o *owner) Failed(cause error)       { o.failed = append(o.failed, cause) }
func (o *owner) Reset(cause error) error  { o.resets = append(o.resets, cause); return cause }
func (o *owner) Log() *slog.Logger        { return slog.New(slog.DiscardHandler) }

func newTx() (*tx.Tx, *owner) {
	o := &owner{engine: store.NewMemory()}
	return &tx.Tx{Owner: o}, o
}

func put(t *testing.T, x *tx.Tx, key, value string) {
	require.NoError(t, x.Write())
	x.Data().Put(store.Keys, key, []byte(value))
	x.Leave()
}

func get(t *testing.T, x *tx.Tx, key string) string {
	require.NoError(t, x.Enter())
	defer x.Leave()
	value, _, err := x.Data().Get(store.Keys, key)
	require.NoError(t, err)
	return string(value)
}

var errTest = errors.New("test")

func TestTx_NotifiesItsOwnerOncePerTransaction(t *testing.T) {
	x, o := newTx()
	require.False(t, x.Used())
	require.NoError(t, x.Enter())
	x.Leave()
	require.NoError(t, x.Commit(), "nothing has changed")
	require.Zero(t, o.wrote)
	put(t, x, "a", "1")
	put(t, x, "b", "2")
	require.Equal(t, 1, o.wrote)
	require.NoError(t, x.Commit())
	require.Len(t, o.commits, 1)
	fresh := &tx.Tx{Owner: o}
	require.Equal(t, "2", get(t, fresh, "b"))
}

func TestTx_UndoesATransaction(t *testing.T) {
	x, o := newTx()
	put(t, x, "a", "1")
	require.NoError(t, x.Commit())
	require.Nil(t, x.Fate())
	put(t, x, "a", "2")
	undone := x.Fate()
	require.NoError(t, x.Rollback(errTest))
	require.True(t, *undone)
	require.Equal(t, []error{errTest}, o.failed)
	require.Equal(t, "1", get(t, x, "a"))
}

func TestTx_StoresNothingForAnEndedOwner(t *testing.T) {
	x, o := newTx()
	put(t, x, "a", "1")
	o.over = errTest
	require.ErrorIs(t, x.Commit(), errTest)
	require.Len(t, o.resets, 1)
	require.Empty(t, o.commits)
	require.ErrorIs(t, x.Write(), errTest)
	require.Empty(t, get(t, x, "a"))
}

func TestTx_NeedsATurn(t *testing.T) {
	x, o := newTx()
	o.running = turn.ErrOutside
	require.ErrorIs(t, x.Enter(), turn.ErrOutside)
	o.running = nil
	require.NoError(t, x.Enter())
	require.ErrorIs(t, x.Enter(), turn.ErrOutside, "a second goroutine uses it")
	x.Leave()
}

func TestReadOnly_FailsEachChange(t *testing.T) {
	x, o := newTx()
	put(t, x, "a", "1")
	require.NoError(t, x.Commit())
	require.ErrorIs(t, x.ReadOnly(func() error {
		require.Equal(t, "1", get(t, x, "a"))
		require.ErrorIs(t, x.Write(), tx.ErrReadOnly)
		require.ErrorIs(t, x.Change(), tx.ErrReadOnly)
		require.ErrorIs(t, x.Touch(), tx.ErrReadOnly)
		return errTest
	}), errTest)
	require.NoError(t, x.Commit())
	require.Len(t, o.commits, 1)
	require.NoError(t, x.Write(), "it is over")
	x.Leave()
}

func TestNest_UndoesTheChangesOfItsFunction(t *testing.T) {
	x, _ := newTx()
	put(t, x, "a", "1")
	require.ErrorIs(t, x.Nest(func() error {
		put(t, x, "a", "2")
		require.ErrorIs(t, x.Pause(), tx.ErrNested)
		require.NoError(t, x.Nest(func() error { put(t, x, "b", "3"); return nil }))
		return errTest
	}), errTest)
	require.Equal(t, "1", get(t, x, "a"))
	require.Empty(t, get(t, x, "b"))
	require.Panics(t, func() { _ = x.Nest(func() error { put(t, x, "a", "4"); panic("no") }) })
	require.Equal(t, "1", get(t, x, "a"))
	require.NoError(t, x.Pause())
}

func TestRetryAlarm_GivesUpAfterSevenRuns(t *testing.T) {
	x, _ := newTx()
	now := time.Unix(1000, 0)
	require.NoError(t, x.Write())
	require.NoError(t, x.Data().SetAlarm(store.Alarm{Name: "a", At: now.UnixNano(), Serial: 1}))
	x.Leave()
	for run := 1; ; run++ {
		alarm, due, err := x.FirstAlarm(now)
		require.NoError(t, err)
		require.True(t, due)
		alarm, noted, err := x.RetryAlarm(alarm, errTest, now)
		require.NoError(t, err)
		require.True(t, noted)
		require.Equal(t, "test", alarm.Err)
		require.Equal(t, run, alarm.Runs)
		if alarm.Failed {
			require.Equal(t, 7, run)
			break
		}
		wait := time.Unix(0, alarm.At).Sub(now)
		require.GreaterOrEqual(t, wait, 2*time.Second<<(run-1))
		require.LessOrEqual(t, wait, 5*time.Second<<(run-1)/2)
		_, due, err = x.FirstAlarm(now)
		require.NoError(t, err)
		require.False(t, due)
		now = time.Unix(0, alarm.At)
	}
}

func TestEndAlarm_KeepsAnAlarmThatWasSetAgain(t *testing.T) {
	x, _ := newTx()
	ran := store.Alarm{Name: "a", At: 1, Serial: 1}
	again := ran
	again.Serial = 2
	require.NoError(t, x.Write())
	require.NoError(t, x.Data().SetAlarm(again))
	x.Leave()
	require.NoError(t, x.EndAlarm(ran))
	_, found, err := x.AlarmDue(store.NameAt{Name: "a", At: 1})
	require.NoError(t, err)
	require.True(t, found)
	require.NoError(t, x.EndAlarm(again))
	_, found, err = x.AlarmDue(store.NameAt{Name: "a", At: 1})
	require.NoError(t, err)
	require.False(t, found)
}
