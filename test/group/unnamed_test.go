package group_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestGroup_WithoutANameIsReachedByItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 2, &fixture.Hooks{})
		lobby := h.Lobbies.New()
		require.Empty(t, lobby.Name())
		require.NotEqual(t, lobby.ID(), h.Lobbies.New().ID())
		room, err := lobby.Identify(t.Context(), "ada")
		require.NoError(t, err)
		ada := dogtest.Serve(t, room).Dial("/ws")
		other := h.Enter("bob") // in the group main

		same, err := h.Lobbies.Parse(lobby.ID().String())
		require.NoError(t, err)
		require.NoError(t, same.Broadcast(t.Context(), "hello"))
		require.Equal(t, []string{"hello"}, fixture.Texts(ada))
		require.Empty(t, fixture.Texts(other))

		_, err = h.Lobbies.Parse(room.ID().String())
		require.ErrorIs(t, err, dog.ErrForeignID, "the ID of a replica is none of a group")
		_, err = h.Lobbies.Parse("main")
		require.ErrorIs(t, err, dog.ErrForeignID)
	})
}

func TestGossip_ReplyHasTheIDOfItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewHookedLobbies(
			t, fixture.LobbyLimit(1),
			&fixture.Hooks{Gossip: func(_ context.Context, r *fixture.Room, _ dog.Message) (any, error) {
				return r.Name(), nil
			}},
			func(_ context.Context, uid string) (string, error) {
				if uid == "nobody" {
					return "", nil
				}
				return "room of " + uid, nil
			},
		)
		for _, uid := range []string{"ada", "bob", "nobody"} {
			_, err := h.Identify(t.Context(), uid)
			require.NoError(t, err)
		}
		replies, err := h.Group.Gossip(t.Context(), "who?")
		require.NoError(t, err)
		var names []string
		for _, reply := range replies {
			var name string
			require.NoError(t, reply.Decode(&name))
			require.Equal(t, name, reply.Name)
			names = append(names, reply.Name)
		}
		require.ElementsMatch(t, []string{"room of ada", "room of bob", ""}, names)
	})
}
