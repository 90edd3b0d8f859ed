package socket_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSocket_OnCloseFollowsGoexitOfOnError(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		options, _ := fixture.LogToBuffer()
		closes := 0
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Error: func(context.Context, fixture.Owner, *dog.Socket, error) error { runtime.Goexit(); return nil },
			Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error { closes++; return nil },
		})
		v.Enter("ada").Vanish()
		synctest.Wait()
		time.Sleep(time.Minute)
		require.Equal(t, 1, closes)
		require.NoError(t, v.Runtime.Shutdown(context.Background()))
	})
}

func TestSocket_OnCloseFollowsAPanicOfOnError(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		options, _ := fixture.LogToBuffer()
		closes := 0
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Error: func(context.Context, fixture.Owner, *dog.Socket, error) error { panic("a bug") },
			Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error { closes++; return nil },
		})
		v.Enter("ada").Vanish()
		synctest.Wait()
		time.Sleep(time.Minute)
		require.Equal(t, 1, closes)
	})
}
