package dogview

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// While somebody cannot finish a snapshot, the others are counted, wait for a
// while, and may leave.
func TestLive_SnapshotThatHangsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		view, err := New(dogtest.New(t, dog.Options{}), Options{
			Rights: func(*http.Request) Rights { return All },
		})
		require.NoError(t, err)
		ask := func(ctx context.Context, path string) (status int) {
			w := httptest.NewRecorder()
			view.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
			return w.Code
		}
		view.live.making <- struct{}{}
		ctx, leave := context.WithCancel(t.Context())
		for range maxWatchers {
			go ask(ctx, "/api/live")
		}
		synctest.Wait()
		start := time.Now()
		require.Equal(t, http.StatusServiceUnavailable, ask(t.Context(), "/api/live"), "there are 16")
		leave()
		synctest.Wait()
		require.Zero(t, time.Since(start))
		require.Equal(t, http.StatusGatewayTimeout, ask(t.Context(), "/api/live"), "there is room again")
		require.Equal(t, http.StatusGatewayTimeout, ask(t.Context(), "/api/overview"))
		require.Equal(t, 2*patience, time.Since(start))
		<-view.live.making
		require.Equal(t, http.StatusOK, ask(t.Context(), "/api/overview"))
	})
}

// The page needs a list, also where nothing is registered.
func TestLive_TypesAreAList(t *testing.T) {
	view, err := New(dogtest.New(t, dog.Options{}), Options{})
	require.NoError(t, err)
	body, err := view.now(t.Context())
	require.NoError(t, err)
	require.Contains(t, string(body), `"Types":[]`)
}
