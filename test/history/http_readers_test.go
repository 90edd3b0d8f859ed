package history_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// Readers take no place of a socket, however many they are. Each is bound in
// time.
func TestHistory_HTTPReadersTakeNoPlace(t *testing.T) {
	on := &fixture.OwnerHooks{History: kept, MaxSockets: 1}
	over(t, on, dog.Options{LingerFor: -1}, func(t *testing.T, v *fixture.Owners) {
		ended := make(chan time.Duration, 200)
		began := time.Now()
		srv := serveHistory(t, v, func() { ended <- time.Since(began) })
		for range 100 {
			events := follow(t, srv, "/?offset=now&live=sse")
			events.control()
			go func() {
				for more := true; more; { // takes the comments
					_, more = events.event()
				}
			}()
			fixture.GetInBackground(srv, "/?offset=now&live=long-poll")
		}
		ada := v.Enter("ada")
		ada.Close(1000, "")
		synctest.Wait()
		v.Enter("eve")
		require.Empty(t, ended)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Len(t, ended, 200)
		times := make(map[time.Duration]int)
		for range 200 {
			times[<-ended]++
		}
		require.Equal(t, map[time.Duration]int{25 * time.Second: 100, time.Minute: 100}, times)
	})
}
