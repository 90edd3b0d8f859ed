package socket_test

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// A client that is refused comes back, so the log has each reason once a
// minute, as a warning that names the cure, if the program has one.
func TestRefusals_AreLoggedOnceAMinuteWithTheRemedy(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, refused := range map[string]struct {
		path        string // "": /?u=ada
		change      func(r *http.Request)
		begin       func(t *testing.T, v *fixture.Owners)
		status      int
		logged      string // "": nothing
		objectsOnly bool   // the program gets the error of a replica, from Identify
	}{
		"another origin": {
			change: header("Origin", "https://elsewhere.example"), status: http.StatusForbidden,
			logged: "SocketOptions.OriginPatterns",
		},
		"a bad uid": {
			path: "/?u=%00", status: http.StatusBadRequest, logged: "Stub.WithUID", objectsOnly: true,
		},
		"a bad name of an object": {
			path: "/?u=ada&o=%00", status: http.StatusBadRequest, logged: "Check names that clients choose",
			objectsOnly: true,
		},
		"too many": {
			path: "/?u=ada&o=full", status: http.StatusServiceUnavailable, logged: "MaxSockets", objectsOnly: true,
		},
		"a plain request": {
			change: func(r *http.Request) { r.Header.Del("Upgrade") }, status: http.StatusUpgradeRequired,
			logged: "Receive",
		},
		"another method": {
			change: func(r *http.Request) { r.Method = http.MethodPost }, status: http.StatusMethodNotAllowed,
			logged: "Receive",
		},
		"overload": {begin: overload, status: http.StatusServiceUnavailable, logged: "raise MaxWaiting"},
		// Nothing that the program could change.
		"a bad key":     {change: header("Sec-WebSocket-Key", "short"), status: http.StatusBadRequest},
		"a bad version": {change: header("Sec-WebSocket-Version", "12"), status: http.StatusBadRequest},
		"shutdown": {
			begin: func(t *testing.T, v *fixture.Owners) {
				require.NoError(t, v.Runtime.Shutdown(context.Background()))
			},
			status: http.StatusServiceUnavailable,
		},
	} {
		for _, kind := range []string{"an object", "a replica"} {
			if refused.objectsOnly && fixture.IsReplica(kind) {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var logged bytes.Buffer
					until := make(chan struct{})
					v := fixture.NewOwners(t, kind, dog.Options{
						MaxWaiting: 1,
						Logger:     slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn})),
					}, &fixture.OwnerHooks{
						MaxSockets: 3,
						Message: func(context.Context, fixture.Owner, *dog.Socket, dog.Message) error {
							<-until
							return nil
						},
					})
					t.Cleanup(func() { close(until) })
					for range 3 {
						v.Server.Dial("/?u=bob&o=full")
						synctest.Wait() // one event may wait, and this client brings some
					}
					if refused.begin != nil {
						refused.begin(t, v)
					}
					ask := func() {
						r := fixture.NewUpgrade(cmp.Or(refused.path, "/?u=ada"))
						if refused.change != nil {
							refused.change(r)
						}
						w := httptest.NewRecorder()
						v.Serve(w, r)
						require.Equal(t, refused.status, w.Code)
					}
					warnings := func() int { return strings.Count(logged.String(), "level=WARN") }

					ask()
					ask()
					if refused.logged == "" {
						require.Empty(t, logged.String())
						return
					}
					require.Equal(t, 1, warnings(), logged.String())
					require.Contains(t, logged.String(), refused.logged)
					first := logged.Len()
					named := refused.logged != "Receive" // the error only names the header that is missing
					require.Equal(t, named, strings.Contains(logged.String(), "error="), logged.String())
					time.Sleep(time.Minute - 1)
					ask()
					require.Equal(t, 1, warnings(), logged.String())
					time.Sleep(time.Nanosecond)
					ask()
					ask()
					require.Equal(t, 2, warnings(), logged.String())
					require.Contains(t, logged.String()[first:], refused.logged)
				})
			})
		}
	}
}

// overload lets one event keep the turn, and another wait for it.
func overload(t *testing.T, v *fixture.Owners) {
	v.Enter("bob").Send("a message")
	synctest.Wait()
	go v.Serve(httptest.NewRecorder(), fixture.NewUpgrade("/?u=eve"))
	synctest.Wait()
}
