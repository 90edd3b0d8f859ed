package life_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestObject_StoredReplicaThatOnlyReadsIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{LingerFor: -1, RetireAfter: time.Minute}, dog.GroupOptions[fixture.Lobby]{Limit: 2},
			&fixture.Hooks{
				Message: func(_ context.Context, r *fixture.Room, _ *dog.Socket, _ dog.Message) error {
					return fixture.Put(r)
				},
			},
		)
		ada := h.Enter("ada")
		ada.Send("store")
		synctest.Wait()
		stored := h.ReplicaIDs()[0]
		bob := h.Enter("bob")
		h.Enter("eve") // on another replica: she keeps the group in memory
		ada.Close(1000, "")
		bob.Close(1000, "")
		time.Sleep(2 * time.Minute)
		require.NotContains(t, h.ReplicaIDs(), stored)

		for range 3 {
			fay, guy := h.Enter("fay"), h.Enter("guy") // one more than fits beside eve
			require.Contains(t, h.ReplicaIDs(), stored)
			fay.Close(1000, "")
			guy.Close(1000, "")
			time.Sleep(2 * time.Minute)
			require.NotContains(t, h.ReplicaIDs(), stored)
		}
	})
}

func TestObject_StoredReplicaWithoutRoomIsFoundLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		engine.Prompt()
		options := dog.Options{Store: fixture.StoreOf(engine), LingerFor: -1, RetireAfter: time.Minute}
		storing := &fixture.Hooks{
			Message: func(_ context.Context, r *fixture.Room, _ *dog.Socket, _ dog.Message) error {
				return fixture.Put(r)
			},
		}
		h := fixture.NewRoomsWith(t, options, dog.GroupOptions[fixture.Lobby]{Limit: 1}, storing)
		h.Enter("ada").Send("store")
		h.Enter("bob").Send("store")
		synctest.Wait()
		stored := h.ReplicaIDs()
		require.Len(t, stored, 2)
		require.NoError(t, h.Runtime.Shutdown(context.Background()))

		h = fixture.NewRoomsWith(
			t, options, dog.GroupOptions[fixture.Lobby]{Limit: 1, MaxReplicas: 1}, &fixture.Hooks{},
		)
		seen := make(map[dog.ID]bool)
		// any of them is taken up, one perhaps seven times as often
		for round := 0; len(seen) < 2 && round < 1000; round++ {
			ada := h.Enter("ada")
			seen[h.ReplicaIDs()[0]] = true
			_, err := h.Identify(t.Context(), "bob")
			require.ErrorIs(t, err, dog.ErrGroupFull)
			ada.Close(1000, "")
			time.Sleep(90 * time.Second) // for the replica to retire, but not the group
		}
		require.Len(t, seen, 2)
		require.Contains(t, seen, stored[0])
		require.Contains(t, seen, stored[1])
	})
}

func TestObject_UnnamedReplicaReusesStorageOfAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		engine.Prompt()
		h := fixture.NewRoomsWith(
			t, dog.Options{Store: fixture.StoreOf(engine)}, dog.GroupOptions[fixture.Lobby]{Limit: 1},
			&fixture.Hooks{
				Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
					if m.String() == "store" {
						return r.Storage().Put("key", []byte(s.UID()))
					}
					value, _, err := r.Storage().Get("key")
					return errors.Join(err, s.Send("stored by "+string(value)))
				},
			},
		)
		ada, bob := h.Enter("ada"), h.Enter("bob")
		ada.Send("store")
		ada.Send("read")
		bob.Send("read")
		require.Equal(t, []string{"stored by ada"}, fixture.Texts(ada))
		require.Equal(
			t, []string{"stored by "}, fixture.Texts(bob), "a replica that is in memory is taken up by nobody",
		)
		ada.Close(1000, "")
		bob.Close(1000, "")
		time.Sleep(10 * time.Minute)
		require.Empty(t, slices.Collect(h.Lobbies.Objects()), "the group is gone from memory, too")

		eve, fay := h.Enter("eve"), h.Enter("fay")
		eve.Send("read")
		fay.Send("read")
		require.ElementsMatch(
			t, []string{"stored by ada", "stored by "}, append(fixture.Texts(eve), fixture.Texts(fay)...),
		)
	})
}
