package turn_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestTurn_ConnectAfterReceiveHasReturnedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late *dog.Socket
		var refused error
		starts := 0
		h := fixture.NewRooms(t, 5, &fixture.Hooks{
			Start: func(context.Context, *fixture.Room) error { starts++; return nil },
			Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				require.NoError(t, dog.Go(req.Context(), func(ctx context.Context) error {
					time.Sleep(time.Second) // until the client has its response
					late, refused = r.Connect(w, req, nil)
					return nil
				}))
			},
		})
		status, _ := h.Server.Get("/ws?u=ada")
		require.Equal(t, 200, status)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Nil(t, late)
		require.ErrorContains(t, refused, "Connect: Receive has returned already")
		require.Equal(t, 1, starts, "the room was not reset")
		require.Equal(t, []int{0}, h.Loads())
	})
}

// Between joining and the answer of the handshake lies a second.
func TestTurn_ConnectedClientMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &dog.Trace{SocketOpened: func(*dog.Socket) { time.Sleep(time.Second) }}
		h := fixture.NewRoomsWith(
			t, dog.Options{Trace: slow}, dog.GroupOptions[fixture.Lobby]{Limit: 5}, &fixture.Hooks{},
		)
		ada := h.Join("ada")
		require.NoError(t, h.Group.Broadcast(t.Context(), "hello"))
		require.Equal(t, []string{"hello"}, fixture.Texts(ada))
	})
}
