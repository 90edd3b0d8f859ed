package history_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

// A message is handled again after a reset, also while its first handler hangs,
// which has no effect on the message when it returns.
func TestOnce_MessageWhoseHandlerHangsAfterAResetIsHandledAgain(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		var tries atomic.Int32
		hang := make(chan struct{})
		on := counting()
		handle := on.Message
		on.Message = func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			if m.String() == "hang" && tries.Add(1) == 1 {
				<-hang
				return nil
			}
			return handle(ctx, o, s, m)
		}
		v := fixture.NewOwners(t, kind, dog.Options{Store: disk.Memory()}, on)
		ada := dial(t, v.Server, "ada", session)
		ada.Send("m1\nhang")
		synctest.Wait()
		require.NoError(t, v.Abort(errors.New("as asked")))
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)

		ada = dial(t, v.Server, "ada", session)
		ada.Send("m1\nhang")
		require.Equal(t, "1", ada.ack())
		close(hang)
		synctest.Wait()
		ada.Send("m2\na")
		require.Equal(t, "2", ada.ack())
		require.Equal(t, "2", ada.handled())
		require.EqualValues(t, 2, tries.Load())
	})
}

// The error of an earlier reset of the object, which a handler gets from a
// socket of that time, does not say that the handler itself has been reset.
func TestOnce_ErrorOfAnEarlierResetDoesNotUndoAMessage(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		var early *dog.Socket
		var stale error
		on := counting()
		handle := on.Message
		on.Message = func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			if early == nil {
				early = s
			}
			switch m.String() {
			case "reset":
				o.Abort(errors.New("as asked"))
				return nil
			case "stale":
				stale = early.Broadcast("of before")
				return errors.Join(handle(ctx, o, s, m), stale)
			}
			return handle(ctx, o, s, m)
		}
		v := fixture.NewOwners(t, kind, dog.Options{Store: disk.Memory()}, on)
		for range 2 { // since the first socket closes in the second life
			ada := dial(t, v.Server, "ada", "")
			ada.Send("m\nreset")
			code, _ := ada.Closed()
			require.Equal(t, 1011, code)
			synctest.Wait()
		}
		ada := dial(t, v.Server, "ada", session)
		ada.Send("m1\nstale")
		require.Equal(t, "1", ada.ack())
		require.ErrorIs(t, stale, dog.ErrReset)
		ada.Send("m2\na")
		require.Equal(t, "2", ada.ack())
		require.Equal(t, "2", ada.handled())
	})
}
