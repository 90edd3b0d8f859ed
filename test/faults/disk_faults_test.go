package faults_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

var errScratch = errors.New("a scratch")

// trial is a ledger on a disk that fails.
type trial struct {
	t      *testing.T
	srv    *dogtest.Server
	ledger dog.Stub[ledger]
	resets []error // their causes
}

// newTrial opens the disk. The error is that of the disk, in whatever happened
// to notice it.
func newTrial(t *testing.T, disk *dogtest.Disk) (*trial, error) {
	tr := &trial{t: t}
	stopped := func(_ dog.ObjectInfo, cause error) {
		if cause != nil {
			tr.resets = append(tr.resets, cause)
		}
	}
	options := dog.Options{
		Store: disk, Logger: slog.New(slog.DiscardHandler), CheckTurns: true, Trace: &dog.Trace{ObjectStopped: stopped},
	}
	rt, err := dog.New(options)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { require.NoError(t, rt.Shutdown(context.Background())) })
	ledgers, _, err := newLedgers(rt)
	if err != nil {
		return nil, err
	}
	tr.ledger = ledgers.Named("ada")
	tr.srv = dogtest.Serve(t, tr.ledger)
	return tr, nil
}

// turn asks for a turn and returns its number, or false when it is refused.
func (tr *trial) turn() (n int, ok bool) {
	tr.t.Helper()
	answer, err := tr.srv.Client().Post(dogtest.URL, "", nil)
	require.NoError(tr.t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(tr.t, errors.Join(err, answer.Body.Close()))
	if answer.StatusCode != http.StatusOK {
		require.Equal(tr.t, http.StatusServiceUnavailable, answer.StatusCode)
		require.NotEmpty(tr.t, answer.Header.Get("Retry-After"))
		require.Equal(tr.t, http.StatusText(answer.StatusCode)+"\n", string(body))
		return 0, false
	}
	n, err = strconv.Atoi(string(body))
	require.NoError(tr.t, err)
	return n, true
}

// stored returns how many turns the ledger has.
func (tr *trial) stored() (n int) {
	tr.t.Helper()
	out := dogtest.Run(tr.t, tr.ledger, func(_ context.Context, l *ledger) (err error) {
		n, err = turnsOf(l.Storage())
		return err
	})
	require.NoError(tr.t, out.Err)
	return n
}

// Whichever change of the disk fails, no lost turn is acknowledged. Reading
// continues and shows what is durable, as does the next runtime.
func TestDisk_FaultAtAnyWriteLosesNothingAcknowledged(t *testing.T) {
	const turns = 4
	acknowledged, resets := 0, 0
	for n := 1; acknowledged < turns; n++ {
		synctest.Test(t, func(t *testing.T) {
			disk := dogtest.NewDisk(t)
			disk.Fail(n, errScratch)
			acknowledged = 0
			tr, err := newTrial(t, disk)
			if err != nil {
				require.ErrorIs(t, err, errScratch)
			} else {
				for ok := true; ok && acknowledged < turns; {
					var turn int
					if turn, ok = tr.turn(); ok {
						acknowledged++
						require.Equal(t, acknowledged, turn)
					}
				}
				synctest.Wait()
				if acknowledged > 0 { // else even the object's schema is lost, and it cannot start
					require.Equal(t, acknowledged, tr.stored(), "fault at change %d, in the same runtime", n)
				}
				for _, cause := range tr.resets {
					require.ErrorIs(t, cause, errScratch)
					require.ErrorIs(t, cause, dog.ErrStoreFailed)
				}
				resets += len(tr.resets)
			}
			disk.Crash()
			tr, err = newTrial(t, disk)
			require.NoError(t, err)
			require.Equal(t, acknowledged, tr.stored(), "fault at change %d, in the next runtime", n)
		})
	}
	require.NotZero(t, resets, "a turn that is lost resets its object")
}

func TestDisk_FullDiskStopsOnlyWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		tr, err := newTrial(t, disk)
		require.NoError(t, err)
		tr.turn()
		disk.Fill()
		time.Sleep(2 * time.Second) // the store has noticed
		synctest.Wait()
		_, ok := tr.turn()
		require.False(t, ok)
		require.Equal(t, 1, tr.stored(), "reading goes on")
		out := dogtest.Run(t, tr.ledger, func(_ context.Context, l *ledger) error {
			s := l.Storage()
			require.ErrorIs(t, s.Put("key", nil), dog.ErrStoreFull)
			_, err := s.Delete("first")
			require.ErrorIs(t, err, dog.ErrStoreFull)
			require.ErrorIs(t, s.DeleteAll(), dog.ErrStoreFull)
			_, err = s.SQL().Exec(`DELETE FROM turns`)
			require.ErrorIs(t, err, dog.ErrStoreFull)
			require.ErrorIs(t, s.Alarms().Set(time.Now()), dog.ErrStoreFull)
			return nil
		})
		require.NoError(t, out.Err)
		require.Empty(t, tr.resets, "nothing was lost")

		disk.Free()
		time.Sleep(2 * time.Second)
		n, ok := tr.turn()
		require.True(t, ok)
		require.Equal(t, 2, n)
		require.Equal(t, 2, tr.stored())
	})
}

// The disk fills up in the middle of a turn: the store lets it begin and
// refuses to commit it.
func TestDisk_FillingUpDuringATurnUndoesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		tr, err := newTrial(t, disk)
		require.NoError(t, err)
		tr.turn()
		out := dogtest.Run(t, tr.ledger, func(ctx context.Context, l *ledger) error {
			return dog.BlockConcurrencyWhile(ctx, func(context.Context) error {
				if _, err := takeTurn(l.Storage()); err != nil {
					return err
				}
				disk.Fill()
				time.Sleep(2 * time.Second)
				synctest.Wait()
				return nil
			})
		})
		require.ErrorIs(t, out.Err, dog.ErrReset)
		require.ErrorIs(t, out.Err, dog.ErrStoreFull)
		require.Equal(t, 1, tr.stored())
		disk.Free()
		time.Sleep(2 * time.Second)
		n, ok := tr.turn()
		require.True(t, ok)
		require.Equal(t, 2, n)
	})
}
