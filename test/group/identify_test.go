package group_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// How Identify chooses a replica, and who holds places for how long.

func TestIdentify_UIDWithASocketGetsItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{LingerFor: -1}, dog.GroupOptions[fixture.Lobby]{Limit: 3}, &fixture.Hooks{},
		)
		h.Enter("ada")
		ada := h.ReplicaOf("ada")
		h.Enter("bob")
		cyd := h.Enter("cyd")
		h.Enter("dan")
		cyd.Close(1000, "")
		synctest.Wait()
		require.Equal(t, []int{2, 1}, h.Loads())
		require.Equal(t, ada, h.ReplicaOf("ada"), "though another has less load")
		require.NotEqual(t, ada, h.ReplicaOf("eve"))
		require.Equal(t, ada, h.ReplicaOf("bob"))
	})
}

// lingering returns rooms in which ada was on the first replica, which has
// more load than the second.
func lingering(t *testing.T, linger time.Duration) (h *fixture.Rooms, replica dog.ID) {
	h = fixture.NewRoomsWith(
		t, dog.Options{LingerFor: linger, RetireAfter: time.Hour}, dog.GroupOptions[fixture.Lobby]{Limit: 3},
		&fixture.Hooks{},
	)
	ada := h.Enter("ada")
	replica = h.ReplicaOf("ada")
	for _, id := range []string{"bob", "cyd", "dan"} {
		h.Enter(id)
	}
	ada.Close(1000, "")
	synctest.Wait()
	require.Equal(t, []int{2, 1}, h.Loads())
	return h, replica
}

func TestIdentify_ReconnectingUIDGetsItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, replica := lingering(t, 20*time.Second)
		time.Sleep(19 * time.Second)
		require.Equal(t, replica, h.ReplicaOf("ada"))
		h.Enter("ada")
		require.Equal(t, []int{3, 1}, h.Loads())
	})
}

func TestIdentify_LateUIDIsANewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const linger = 20*time.Second + time.Millisecond // to the point, whatever the pace of the runtime's clock
		h, replica := lingering(t, linger)
		time.Sleep(linger)
		require.NotEqual(t, replica, h.ReplicaOf("ada"))
	})
}

func TestIdentify_UIDDoesNotLingerWhenLingerIsNegative(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, replica := lingering(t, -1)
		require.NotEqual(t, replica, h.ReplicaOf("ada"))
	})
}

func TestIdentify_UIDOfAFullReplicaGetsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, replica := lingering(t, 20*time.Second)
		for _, id := range []string{"eve", "fay", "gus"} {
			h.Enter(id)
		}
		require.Equal(t, []int{3, 3}, h.Loads())
		require.NotEqual(t, replica, h.ReplicaOf("ada"))
	})
}

func TestIdentify_UIDOnSeveralReplicasGetsTheLeastLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 2, &fixture.Hooks{})
		first := h.Enter("ada")
		h.Enter("ada")
		h.Enter("ada")
		require.Equal(t, []int{2, 1}, h.Loads())
		second := h.ReplicaOf("ada")
		h.Enter("ada")
		require.Equal(t, []int{2, 2}, h.Loads())
		first.Close(1000, "")
		synctest.Wait()
		require.NotEqual(t, second, h.ReplicaOf("ada"))
		h.Enter("bob")
		require.Equal(t, []int{2, 2}, h.Loads())
		h.Enter("ada")
		require.Equal(t, []int{2, 2, 1}, h.Loads())
	})
}

func TestIdentify_ReservationHoldsItsPlaceUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{ReserveFor: 4 * time.Second}, dog.GroupOptions[fixture.Lobby]{Limit: 1, MaxReplicas: 1},
			&fixture.Hooks{},
		)
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		time.Sleep(4*time.Second - 1)
		_, err = h.Identify(t.Context(), "bob")
		require.ErrorIs(t, err, dog.ErrGroupFull)
		status, _ := dogtest.Serve(t, stub).Get("/")
		require.Equal(t, http.StatusOK, status, "it is good to the last moment")
		require.Equal(t, []int{0}, h.Loads())
	})
}

func TestIdentify_IgnoresExpiredReservations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{ReserveFor: 4 * time.Second}, dog.GroupOptions[fixture.Lobby]{Limit: 1, MaxReplicas: 1},
			&fixture.Hooks{},
		)
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		time.Sleep(4 * time.Second)
		bob := h.Enter("bob")
		srv := dogtest.Serve(t, stub)
		status, _ := srv.Get("/")
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Equal(t, []int{1}, h.Loads(), "only bob has a place")

		bob.Close(1000, "")
		synctest.Wait()
		status, _ = srv.Get("/")
		require.Equal(t, http.StatusOK, status, "a request takes a place where there is one")
		require.Equal(t, []int{0}, h.Loads())
	})
}

func TestIdentify_ReleaseFreesAnUnusedPlaceOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 3, &fixture.Hooks{})
		unused, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		used, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		dogtest.Serve(t, used).Dial("/ws")
		require.Equal(t, []int{2}, h.Loads())
		for range 2 {
			unused.Release()
			used.Release()
			require.Equal(t, []int{1}, h.Loads(), "the socket keeps its place")
		}
		status, _ := dogtest.Serve(t, unused).Get("/")
		require.Equal(t, http.StatusOK, status, "the stub itself stays good")
	})
}

// slowly answers /slow when the channel is closed, connects /ws, and answers
// the rest at once.
func slowly(done <-chan struct{}) func(*fixture.Room, http.ResponseWriter, *http.Request) {
	return func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/ws":
			r.Connect(w, req, nil)
		case "/slow":
			_ = dog.Await(req.Context(), func() error { <-done; return nil })
		}
	}
}

func TestIdentify_RequestHoldsItsPlaceUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		h := fixture.NewRooms(t, 2, &fixture.Hooks{Receive: slowly(done)})
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		srv := dogtest.Serve(t, stub)
		first, second := fixture.GetInBackground(srv, "/slow"), fixture.GetInBackground(srv, "/slow")
		synctest.Wait()
		require.Equal(t, []int{2}, h.Loads())
		third, _ := srv.Get("/")
		require.Equal(t, http.StatusServiceUnavailable, third)
		close(done)
		require.Equal(t, http.StatusOK, <-first)
		require.Equal(t, http.StatusOK, <-second)
		require.Equal(t, []int{0}, h.Loads())
	})
}

func TestIdentify_AbandonedRequestReleasesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) { <-done }},
		)
		first := fixture.GetInBackground(h.Server, "/?u=ada") // keeps the turn
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, dogtest.URL+"/?u=ada", nil)
		require.NoError(t, err)
		time.AfterFunc(time.Second, leave)
		_, err = h.Server.Client().Do(req)
		require.ErrorIs(t, err, context.Canceled)
		synctest.Wait()
		require.Equal(t, []int{1}, h.Loads())
		close(done)
		require.Equal(t, http.StatusOK, <-first)
	})
}

func TestIdentify_FailsInAFullGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRoomsWith(
			t, dog.Options{}, dog.GroupOptions[fixture.Lobby]{Limit: 1, MaxReplicas: 2}, &fixture.Hooks{},
		)
		ada := h.Enter("ada")
		h.Enter("bob")
		_, err := h.Identify(t.Context(), "cyd")
		require.ErrorIs(t, err, dog.ErrGroupFull)
		answer, err := h.Server.Client().Get(dogtest.URL + "/?u=ada")
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		require.NotEmpty(t, answer.Header.Get("Retry-After"))

		ada.Close(1000, "")
		synctest.Wait()
		h.Enter("cyd")
		require.Equal(t, []int{1, 1}, h.Loads())
	})
}

func TestIdentify_FailsWithAnEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		_, err := h.Identify(ctx, "ada")
		require.ErrorIs(t, err, cause)
		require.Empty(t, h.Loads())
	})
}
