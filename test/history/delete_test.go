package history_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// Who waits for messages over HTTP learns of the deletion when it happens.
func TestDelete_IsReportedToReadersThatWait(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		if v.Objects == nil {
			return // the history is that of the group, which Delete leaves alone
		}
		srv := serveHistory(t, v, nil)
		require.NoError(t, v.Broadcast(t.Context(), "secret"))
		first, _ := get(t, srv, "/?offset=now")
		began := time.Now()
		status := make(chan int)
		go func() {
			response, _ := get(t, srv, "/?live=long-poll&offset="+next(first))
			status <- response.StatusCode
		}()
		synctest.Wait()
		require.NoError(t, v.Delete(t.Context()))
		require.Equal(t, http.StatusGone, <-status)
		require.Zero(t, time.Since(began))
	})
}

func TestDelete_EndsTheHistory(t *testing.T) {
	for _, kind := range kinds[:1] {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, on := dogtest.NewDisk(t), &fixture.OwnerHooks{History: dog.HistoryOptions{Age: time.Hour}}
				start := func() *fixture.Owners { return fixture.NewOwners(t, kind, dog.Options{Store: d}, on) }
				v := start()
				ada := dial(t, v.Server, "ada", "")
				require.NoError(t, v.Broadcast(t.Context(), "secret"))
				require.Equal(t, "secret", ada.message())
				require.NoError(t, v.Delete(t.Context()))
				eve := dial(t, v.Server, "eve", "&after=")
				synctest.Wait()
				require.Empty(t, eve.messages())
				ada = dial(t, v.Server, "ada", after(ada.pos))
				require.Equal(t, "epoch", ada.hello.Gap)
				restart(t, v)
				v = start()
				eve = dial(t, v.Server, "eve", "&after=")
				synctest.Wait()
				require.Empty(t, eve.messages())
				restart(t, v)
			})
		})
	}
}
