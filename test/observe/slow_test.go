package observe_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSlowSockets_AreThoseWithTheMostToSend(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{})
		v.Enter("ada")
		onDemand := dogtest.DialOptions{OnDemand: true}
		slow := v.Server.DialWith("/?u=bob", onDemand)
		require.Empty(t, v.Runtime.SlowSockets(10))
		require.NoError(t, v.Broadcast(t.Context(), strings.Repeat("x", 50_000)))
		synctest.Wait()
		v.Server.DialWith("/?u=eve", onDemand)
		require.NoError(t, v.Broadcast(t.Context(), strings.Repeat("y", 50_000)))
		synctest.Wait()

		all := v.Runtime.SlowSockets(10)
		require.Len(t, all, 2)
		require.Equal(t, "bob", all[0].UID)
		require.Equal(t, "eve", all[1].UID)
		require.Greater(t, all[0].QueuedBytes, all[1].QueuedBytes)
		require.Positive(t, all[1].QueuedBytes)
		require.Equal(t, "owners", all[0].Object.Namespace)
		require.NotEqual(t, all[0].ID, all[1].ID)
		require.False(t, all[0].Behind)
		require.Equal(t, all[:1], v.Runtime.SlowSockets(1))
		require.Empty(t, v.Runtime.SlowSockets(0))

		slow.Receive()
		slow.Receive()
		synctest.Wait()
		require.Len(t, v.Runtime.SlowSockets(10), 1)
	})
}

func TestSlowSockets_MayBeBehindTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := fixture.NewOwners(t, "an object", dog.Options{}, &fixture.OwnerHooks{
			History: dog.HistoryOptions{Count: 1000},
		})
		v.Server.DialWith("/?u=bob", dogtest.DialOptions{Subprotocols: []string{"dog.v1"}, OnDemand: true})
		for range 1000 {
			require.NoError(t, v.Broadcast(t.Context(), strings.Repeat("x", 4000)))
		}
		all := v.Runtime.SlowSockets(10)
		require.Len(t, all, 1)
		require.True(t, all[0].Behind)
	})
}
