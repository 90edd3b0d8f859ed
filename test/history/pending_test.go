package history_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

// A message that waits for its first handler, on another replica, is not
// forgotten if that handler panics.
func TestOnce_PendingMessageOfAHandlerThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		handle := func(ctx context.Context, _ fixture.Owner, _ *dog.Socket, _ dog.Message) error {
			if n++; n > 1 {
				return nil
			}
			_ = dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
			panic("as asked")
		}
		on := &fixture.OwnerHooks{MaxSockets: 1, Message: handle}
		v := fixture.NewOwners(t, "a replica", dog.Options{Store: disk.Memory()}, on)
		first := dial(t, v.Server, "ada", session)
		second := dial(t, v.Server, "eve", session)
		require.Len(t, v.Loads(), 2)
		first.Send("m1\na")
		synctest.Wait()
		second.Send("m1\na")
		time.Sleep(time.Minute)
		code, _ := second.Closed()
		require.Equal(t, 1013, code)
		third := dial(t, v.Server, "eve", session)
		require.Zero(t, third.hello.In)
		third.Send("m1\na")
		require.Equal(t, "1", third.ack())
		require.Equal(t, 2, n)
	})
}
