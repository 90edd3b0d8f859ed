package observe_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestStats_ShowHistories(t *testing.T) {
	for kind, typ := range map[string]string{"an object": "owners", "a replica": "groups"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
					History: dog.HistoryOptions{Count: 1000, Bytes: 64 << 20, Age: time.Minute},
				})
				stats := func() dog.HistoryStats {
					synctest.Wait()
					all := v.Runtime.Stats().Histories
					require.Len(t, all, 1)
					return all[typ]
				}
				require.Zero(t, stats())

				v1 := []string{"dog.v1"}
				ada := v.Server.DialWith("/?u=ada&session=adas-tab", dogtest.DialOptions{Subprotocols: v1})
				slow := v.Server.DialWith("/?u=bob", dogtest.DialOptions{Subprotocols: v1, OnDemand: true})
				require.NoError(t, v.Broadcast(t.Context(), "12345"))
				require.Equal(t, dog.HistoryStats{Messages: 1, Bytes: 2 + len("ma1\n") + 5, Sessions: 1}, stats())

				fill := func() {
					for range 1000 {
						require.NoError(t, v.Broadcast(t.Context(), strings.Repeat("x", 4000)))
					}
				}
				fill()
				s := stats()
				require.Equal(t, 1000, s.Messages)
				require.Equal(t, 1, s.Behind)
				require.Zero(t, s.Gaps)

				fill() // what bob has yet to get is gone
				for m := slow.Receive(); m.Data[0] != 'g'; m = slow.Receive() {
				}
				for range 1000 {
					slow.Receive()
				}
				require.Zero(t, stats().Behind)
				require.EqualValues(t, 1, stats().Gaps)

				v.Server.DialWith("/?u=eve&after=k3f7q2ab7c2d-a1", dogtest.DialOptions{Subprotocols: v1})
				v.Server.DialWith("/?u=new", dogtest.DialOptions{Subprotocols: v1})
				require.EqualValues(t, 2, stats().Gaps, "those of hello count, but for newcomers")

				ada.Send("m1\nhandled")
				synctest.Wait()
				ada.Vanish()
				require.Equal(t, 1, stats().Sessions, "it is remembered")
			})
		})
	}
}

// A type that keeps nothing has no entry.
func TestStats_HaveNoHistoryWithoutOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := fixture.NewOwners(t, "an object", dog.Options{}, &fixture.OwnerHooks{})
		v.Enter("ada")
		require.Empty(t, v.Runtime.Stats().Histories)
		v.Server.DialWith("/?u=bob&session=bobs-tab", dogtest.DialOptions{Subprotocols: []string{"dog.v1"}})
		require.Equal(t, map[string]dog.HistoryStats{"owners": {Sessions: 1}}, v.Runtime.Stats().Histories)
	})
}
