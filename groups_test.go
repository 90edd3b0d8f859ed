package dog_test

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
)

// How Identify chooses a replica, and who holds places for how long.

func TestAUIDWithASocketGoesWhereThatIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, dog.Options{LingerFor: -1}, dog.GroupOptions[lobby]{Limit: 3}, &hooks{})
		h.enter("ada")
		ada := h.replicaOf("ada")
		h.enter("bob")
		cyd := h.enter("cyd")
		h.enter("dan")
		cyd.Close(1000, "")
		synctest.Wait()
		require.Equal(t, []int{2, 1}, h.loads())
		require.Equal(t, ada, h.replicaOf("ada"), "though another has less load")
		require.NotEqual(t, ada, h.replicaOf("eve"))
		require.Equal(t, ada, h.replicaOf("bob"))
	})
}

// lingering returns a house in which ada was on the first replica, which has more load than the second.
func lingering(t *testing.T, linger time.Duration) (h *house, replica dog.ID) {
	h = newHouseWith(t, dog.Options{LingerFor: linger, RetireAfter: time.Hour}, dog.GroupOptions[lobby]{Limit: 3}, &hooks{})
	ada := h.enter("ada")
	replica = h.replicaOf("ada")
	for _, id := range []string{"bob", "cyd", "dan"} {
		h.enter(id)
	}
	ada.Close(1000, "")
	synctest.Wait()
	require.Equal(t, []int{2, 1}, h.loads())
	return h, replica
}

func TestAUIDThatReconnectsInTimeFindsItsReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, replica := lingering(t, 20*time.Second)
		time.Sleep(19 * time.Second)
		require.Equal(t, replica, h.replicaOf("ada"))
		h.enter("ada")
		require.Equal(t, []int{3, 1}, h.loads())
	})
}

func TestAUIDThatComesTooLateIsANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const linger = 20*time.Second + time.Millisecond // to the point, whatever the pace of the runtime's clock
		h, replica := lingering(t, linger)
		time.Sleep(linger)
		require.NotEqual(t, replica, h.replicaOf("ada"))
	})
}

func TestAUIDDoesNotLingerWhenLingerIsNegative(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, replica := lingering(t, -1)
		require.NotEqual(t, replica, h.replicaOf("ada"))
	})
}

func TestAUIDWhoseReplicaIsFullGoesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, replica := lingering(t, 20*time.Second)
		for _, id := range []string{"eve", "fay", "gus"} {
			h.enter(id)
		}
		require.Equal(t, []int{3, 3}, h.loads())
		require.NotEqual(t, replica, h.replicaOf("ada"))
	})
}

func TestAUIDOnSeveralReplicasGoesToTheLeastLoadedOfThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 2, &hooks{})
		first := h.enter("ada")
		h.enter("ada")
		h.enter("ada")
		require.Equal(t, []int{2, 1}, h.loads())
		second := h.replicaOf("ada")
		h.enter("ada")
		require.Equal(t, []int{2, 2}, h.loads())
		first.Close(1000, "")
		synctest.Wait()
		require.NotEqual(t, second, h.replicaOf("ada"))
		h.enter("bob")
		require.Equal(t, []int{2, 2}, h.loads())
		h.enter("ada")
		require.Equal(t, []int{2, 2, 1}, h.loads())
	})
}

func TestAReservationHoldsItsPlaceUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, dog.Options{ReserveFor: 4 * time.Second}, dog.GroupOptions[lobby]{Limit: 1, MaxReplicas: 1}, &hooks{})
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		time.Sleep(4*time.Second - 1)
		_, err = h.identify(t.Context(), "bob")
		require.ErrorIs(t, err, dog.ErrGroupFull)
		status, _ := dogtest.Serve(t, stub).Get("/")
		require.Equal(t, http.StatusOK, status, "it is good to the last moment")
		require.Equal(t, []int{0}, h.loads())
	})
}

func TestAnExpiredReservationIsAsGoodAsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, dog.Options{ReserveFor: 4 * time.Second}, dog.GroupOptions[lobby]{Limit: 1, MaxReplicas: 1}, &hooks{})
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		time.Sleep(4 * time.Second)
		bob := h.enter("bob")
		srv := dogtest.Serve(t, stub)
		status, _ := srv.Get("/")
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Equal(t, []int{1}, h.loads(), "only bob has a place")

		bob.Close(1000, "")
		synctest.Wait()
		status, _ = srv.Get("/")
		require.Equal(t, http.StatusOK, status, "a request takes a place where there is one")
		require.Equal(t, []int{0}, h.loads())
	})
}

func TestReleaseGivesAnUnusedPlaceBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 3, &hooks{})
		unused, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		used, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		dogtest.Serve(t, used).Dial("/ws")
		require.Equal(t, []int{2}, h.loads())
		for range 2 {
			unused.Release()
			used.Release()
			require.Equal(t, []int{1}, h.loads(), "the socket keeps its place")
		}
		status, _ := dogtest.Serve(t, unused).Get("/")
		require.Equal(t, http.StatusOK, status, "the stub itself stays good")
	})
}

// slowly answers /slow when the channel is closed, connects /ws, and answers the rest at once.
func slowly(done <-chan struct{}) func(*room, http.ResponseWriter, *http.Request) {
	return func(r *room, w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/ws":
			r.Connect(w, req, nil)
		case "/slow":
			_ = dog.Await(req.Context(), func() error { <-done; return nil })
		}
	}
}

func TestARequestHoldsItsPlaceUntilItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		h := newHouse(t, 2, &hooks{receive: slowly(done)})
		stub, err := h.identify(t.Context(), "ada")
		require.NoError(t, err)
		srv := dogtest.Serve(t, stub)
		first, second := background(srv, "/slow"), background(srv, "/slow")
		synctest.Wait()
		require.Equal(t, []int{2}, h.loads())
		third, _ := srv.Get("/")
		require.Equal(t, http.StatusServiceUnavailable, third)
		close(done)
		require.Equal(t, http.StatusOK, <-first)
		require.Equal(t, http.StatusOK, <-second)
		require.Equal(t, []int{0}, h.loads())
	})
}

func TestARequestWhoseClientLeavesWhileItWaitsGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		h := newHouse(t, 2, &hooks{receive: func(r *room, w http.ResponseWriter, req *http.Request) { <-done }})
		first := background(h.srv, "/?u=ada") // keeps the turn
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, dogtest.URL+"/?u=ada", nil)
		require.NoError(t, err)
		time.AfterFunc(time.Second, leave)
		_, err = h.srv.Client().Do(req)
		require.ErrorIs(t, err, context.Canceled)
		synctest.Wait()
		require.Equal(t, []int{1}, h.loads())
		close(done)
		require.Equal(t, http.StatusOK, <-first)
	})
}

func TestAFullGroupSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouseWith(t, dog.Options{}, dog.GroupOptions[lobby]{Limit: 1, MaxReplicas: 2}, &hooks{})
		ada := h.enter("ada")
		h.enter("bob")
		_, err := h.identify(t.Context(), "cyd")
		require.ErrorIs(t, err, dog.ErrGroupFull)
		answer, err := h.srv.Client().Get(dogtest.URL + "/?u=ada")
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		require.NotEmpty(t, answer.Header.Get("Retry-After"))

		ada.Close(1000, "")
		synctest.Wait()
		h.enter("cyd")
		require.Equal(t, []int{1, 1}, h.loads())
	})
}

func TestAnEndedContextIdentifiesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, &hooks{})
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		_, err := h.identify(ctx, "ada")
		require.ErrorIs(t, err, cause)
		require.Empty(t, h.loads())
	})
}
