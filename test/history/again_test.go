package history_test

import (
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// metered is a ResponseWriter that counts the bytes that are written.
type metered struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w metered) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w metered) Write(p []byte) (int, error) {
	w.n.Add(int64(len(p)))
	return w.ResponseWriter.Write(p)
}

// askForEverything asks in one of four ways for all messages, and reads a part
// of the answer.
func askForEverything(t *testing.T, v *fixture.Owners, srv *dogtest.Server, way int) io.ReadCloser {
	t.Helper()
	var answer io.ReadCloser
	if way%4 == 3 {
		answer = connectDeaf(t, v, "/?u=eve&after=", true)
	} else {
		live := []string{"", "&live=long-poll", "&live=sse"}[way%4]
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, dogtest.URL+"/?u=eve&offset=-1"+live, nil)
		require.NoError(t, err)
		response, err := srv.Client().Do(r)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode)
		answer = response.Body
	}
	_, err := io.ReadFull(answer, make([]byte, 1500))
	require.NoError(t, err)
	return answer
}

// Clients that ask for everything again and again, and leave in the middle of
// it, get no more than a part prepared, and leave nothing.
func TestHostile_EverythingAgainAndAgain(t *testing.T) {
	fixture.TakesLong(t)
	const (
		requests = 1000 // in a wave
		atOnce   = 100
		most     = 128 << 10 // for each: a part of 64 KiB and what carries it, of a history of 1 MiB
	)
	on := &fixture.OwnerHooks{MaxSockets: atOnce, History: dog.HistoryOptions{Bytes: 1 << 20, Age: time.Hour}}
	over(t, on, unlogged, func(t *testing.T, v *fixture.Owners) {
		var written, open atomic.Int64
		srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			open.Add(1)
			defer open.Add(-1)
			v.History(r.FormValue("u")).ServeHTTP(metered{w, &written}, r)
		}))
		for _, text := range padded(1, 1100) { // until the history is full
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		wave := func() {
			for range requests / atOnce {
				written.Store(0)
				before := heapNow()
				var all []io.ReadCloser
				for way := range atOnce {
					all = append(all, askForEverything(t, v, srv, way))
				}
				synctest.Wait()
				require.EqualValues(t, atOnce*3/4, open.Load(), "all are in the middle")
				require.Equal(t, atOnce/4, v.Runtime.Stats().Sockets)
				behind := 0
				for _, history := range v.Runtime.Stats().Histories {
					behind += history.Behind
				}
				require.Equal(t, atOnce/4, behind)
				require.Less(t, heapNow()-before, int64(atOnce*most))
				for _, answer := range all {
					require.NoError(t, answer.Close())
				}
				synctest.Wait()
				require.Zero(t, open.Load())
				require.Zero(t, v.Runtime.Stats().Sockets)
				require.Less(t, written.Load(), int64(atOnce*most))
			}
			time.Sleep(time.Minute) // the deadlines of the connections keep them as long
			synctest.Wait()
		}
		wave()
		goroutines := runtime.NumGoroutine()
		requireNoneLeft(t, requests*leftEach, wave)
		requireGoroutines(t, goroutines)
		require.Zero(t, v.Runtime.Stats().QueuedBytes)

		time.Sleep(2 * time.Hour) // the messages expire
		synctest.Wait()
		for o := range v.Runtime.Objects() {
			require.Equal(t, dog.KindReplica, o.Kind, "no reader keeps %s in memory", o.Kind)
		}
	})
}
