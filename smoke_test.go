package dog_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

func TestPeopleInSeveralReplicasChat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 2, &hooks{
			open: func(ctx context.Context, r *room, s *dog.Socket) error {
				return r.Broadcast("join " + s.UID())
			},
			message: func(ctx context.Context, _ *room, s *dog.Socket, m dog.Message) error {
				return s.Broadcast(s.UID() + ": " + m.String())
			},
			close: func(ctx context.Context, _ *room, s *dog.Socket, _ int, reason string) error {
				return s.Broadcast("exit " + s.UID() + " " + reason)
			},
		})
		status, body := h.srv.Get("/hello?u=ada")
		require.Equal(t, 200, status)
		require.Equal(t, "/hello", body)
		ada, bob, cyd := h.enter("ada"), h.enter("bob"), h.enter("cyd")
		require.Equal(t, []string{"join ada", "join bob", "join cyd"}, texts(ada))
		require.Equal(t, []string{"join bob", "join cyd"}, texts(bob))
		require.Equal(t, []int{2, 1}, h.loads())
		cyd.Send("hi")
		cyd.Close(1000, "bye")
		require.Equal(t, []string{"cyd: hi", "exit cyd bye"}, texts(ada))
		require.Equal(t, []string{"join cyd"}, texts(cyd))
		require.Equal(t, []int{2, 0}, h.loads())
	})
}
