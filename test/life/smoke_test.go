package life_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSmoke_ChatAcrossReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 2, &fixture.Hooks{
			Open: func(ctx context.Context, r *fixture.Room, s *dog.Socket) error {
				return r.Broadcast("join " + s.UID())
			},
			Message: func(ctx context.Context, _ *fixture.Room, s *dog.Socket, m dog.Message) error {
				return s.Broadcast(s.UID() + ": " + m.String())
			},
			Close: func(ctx context.Context, _ *fixture.Room, s *dog.Socket, _ int, reason string) error {
				return s.Broadcast("exit " + s.UID() + " " + reason)
			},
		})
		status, body := h.Server.Get("/hello?u=ada")
		require.Equal(t, 200, status)
		require.Equal(t, "/hello", body)
		ada, bob, cyd := h.Enter("ada"), h.Enter("bob"), h.Enter("cyd")
		require.Equal(t, []string{"join ada", "join bob", "join cyd"}, fixture.Texts(ada))
		require.Equal(t, []string{"join bob", "join cyd"}, fixture.Texts(bob))
		require.Equal(t, []int{2, 1}, h.Loads())
		cyd.Send("hi")
		cyd.Close(1000, "bye")
		require.Equal(t, []string{"cyd: hi", "exit cyd bye"}, fixture.Texts(ada))
		require.Equal(t, []string{"join cyd"}, fixture.Texts(cyd))
		require.Equal(t, []int{2, 0}, h.Loads())
	})
}
