package history_test

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

// Positions that no server has given are refused, before anything is started or
// kept for them.
func TestHostile_MalformedPositionsAreRefused(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		positions := []string{
			"1e19", "-1", "0", "9223372036854775808", "k3f7q2ab7c2d", "k3f7q2ab7c2d-", "k3f7q2ab7c2d--1",
			"k3f7q2ab7c2d-a01", "k3f7q2ab7c2d-t99999999999999999999", "k3f7q2ab7c2d-a1e1", "K3F7Q2AB7C2D-a1",
			"k3f7q2ab7c2d-a1 ", "\x00", "k3f7q2ab7c2d-a1\n", strings.Repeat("9", 1<<20),
			"k3f7q2ab7c2d-a" + strings.Repeat("1", 1<<20), strings.Repeat("k", 1<<20) + "-a1",
		}
		for _, position := range positions {
			req := fixture.NewUpgrade("/?u=eve&after=" + url.QueryEscape(position))
			req.Header.Set("Sec-WebSocket-Protocol", "dog.v1")
			w := httptest.NewRecorder()
			v.Serve(w, req)
			require.Equal(t, 400, w.Code, "%.40q", position)
			require.Less(t, w.Body.Len(), 200, "%.40q", position)

			if position == "-1" { // all that are kept
				continue
			}
			w = httptest.NewRecorder()
			v.History("eve").ServeHTTP(w, fixture.NewRequest("/?offset="+url.QueryEscape(position)))
			require.Equal(t, 400, w.Code, "%.40q", position)
			require.Less(t, w.Body.Len(), 200, "%.40q", position)
		}
		synctest.Wait()
		for _, load := range v.Loads() {
			require.Zero(t, load)
		}
	})
}

// Positions of another history, or far ahead, are a gap, and nothing is kept of
// them, however often they are asked for.
func TestHostile_UnknownPositionsAreAGapAndLeaveNothing(t *testing.T) {
	fixture.TakesLong(t)
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Count: 10}}
	over(t, on, unlogged, func(t *testing.T, v *fixture.Owners) {
		for _, text := range numbered(1, 30) {
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		epoch := dial(t, v.Server, "ada", "").pos[:12]
		foreign := func(i int) string {
			return fmt.Sprintf("aaaaaaaaaa%c%c-t18446744073709551615", 'a'+i/26, 'a'+i%26)
		}
		far, next := epoch+"-t18446744073709551615", epoch+"-b31"
		read := func(position string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			v.History("eve").ServeHTTP(w, fixture.NewRequest("/?offset="+url.QueryEscape(position)))
			require.Equal(t, 410, w.Code)
			return w
		}
		for position, gap := range map[string]string{foreign(0): "epoch", far: "ahead", next: "ahead"} {
			c := dial(t, v.Server, "eve", after(position))
			require.Equal(t, gap, c.hello.Gap, position)
			synctest.Wait()
			require.Equal(t, numbered(21, 30), c.messages(), position)
			c.Vanish()
			require.Contains(t, read(position).Body.String(), `"why":"`+gap+`"`)
		}
		wave := func() {
			for i := range 300 {
				for _, position := range []string{foreign(i), far, next} {
					c := connectDeaf(t, v, fmt.Sprintf("/?u=eve-%d%s", i, after(position)), true)
					synctest.Wait()
					require.NoError(t, c.Close())
					read(position)
				}
			}
			time.Sleep(time.Minute) // the deadlines of the connections keep them as long
			synctest.Wait()
		}
		wave()
		goroutines := runtime.NumGoroutine()
		requireNoneLeft(t, 3*300*leftEach, wave)
		requireGoroutines(t, goroutines)
		require.Equal(t, 1, v.Runtime.Stats().Sockets, "ada's")
	})
}

// Clients that come with a new session each time leave nothing, long before
// sessions are forgotten.
func TestHostile_SessionsWithoutEndLeaveNothing(t *testing.T) {
	fixture.TakesLong(t)
	on := counting()
	on.History = dog.HistoryOptions{Age: 24 * time.Hour}
	over(t, on, unlogged, func(t *testing.T, v *fixture.Owners) {
		const many = 1000
		sessions := 0
		wave := func() {
			for range many {
				sessions++
				c := connectDeaf(t, v, fmt.Sprintf("/?u=eve&session=%016d", sessions), true)
				synctest.Wait()
				require.NoError(t, c.Close())
			}
			time.Sleep(time.Minute) // the deadlines of the connections keep them as long
			synctest.Wait()
		}
		wave()
		goroutines := runtime.NumGoroutine()
		requireNoneLeft(t, many*leftEach/2, wave) // what is known of a session
		requireGoroutines(t, goroutines)
	})
}

// Sessions whose messages were stored leave the store some time after they are
// forgotten, although somebody is always there.
func TestHostile_SessionsWithoutEndLeaveTheStore(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		engine := store.NewMemory()
		on := counting()
		on.History = dog.HistoryOptions{Age: time.Minute}
		v := fixture.NewOwners(t, kind, dog.Options{Store: fixture.OpenedStore(engine)}, on)
		dial(t, v.Server, "ada", "&session=ada-is-always-here")
		sessions := 0
		stored := func() (n int) {
			for range 200 {
				sessions++
				c := dial(t, v.Server, "eve", fmt.Sprintf("&session=%016d", sessions))
				c.Send("m1\nhello")
				require.Equal(t, "1", c.ack())
				c.Vanish()
				fixture.Elapse(10 * time.Second)
			}
			for _, err := range engine.Scan(nil, nil, false) {
				require.NoError(t, err)
				n++
			}
			return n
		}
		before := stored()
		stored()
		require.InDelta(t, before, stored(), 64)
	})
}
