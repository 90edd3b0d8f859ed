package socket_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// A client that is refused comes back, so the log has each reason once a
// minute, as a warning that names the cure.
func TestRefusals_AreLoggedOnceAMinuteWithTheRemedy(t *testing.T) {
	for name, refused := range map[string]struct {
		path, origin string
		plain        bool // asks for no WebSocket
		status       int
		logged       string
		objectsOnly  bool // the program gets the error of a replica, from Identify
	}{
		"another origin": {path: "/?u=ada", origin: "https://elsewhere.example", status: http.StatusForbidden,
			logged: "SocketOptions.OriginPatterns"},
		"a bad uid": {path: "/?u=%00", status: http.StatusBadRequest, logged: "Stub.WithUID", objectsOnly: true},
		"too many": {path: "/?u=ada&o=full", status: http.StatusServiceUnavailable, logged: "MaxSockets",
			objectsOnly: true},
		"a plain request": {path: "/?u=ada", plain: true, status: http.StatusUpgradeRequired, logged: "Receive"},
	} {
		for _, kind := range []string{"an object", "a replica"} {
			if refused.objectsOnly && fixture.IsReplica(kind) {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var logged bytes.Buffer
					v := fixture.NewOwners(t, kind, dog.Options{
						Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn})),
					}, &fixture.OwnerHooks{MaxSockets: 1})
					v.Server.Dial("/?u=bob&o=full")
					ask := func() {
						if refused.plain {
							status, _ := v.Server.Get(refused.path)
							require.Equal(t, refused.status, status)
							return
						}
						header := http.Header{}
						if refused.origin != "" {
							header.Set("Origin", refused.origin)
						}
						_, answer, err := v.Server.TryDial(refused.path, dogtest.DialOptions{Header: header})
						require.Error(t, err)
						require.Equal(t, refused.status, answer.StatusCode)
					}
					warnings := func() int { return strings.Count(logged.String(), "level=WARN") }

					ask()
					ask()
					require.Equal(t, 1, warnings(), logged.String())
					require.Contains(t, logged.String(), refused.logged)
					require.Equal(t, !refused.plain, strings.Contains(logged.String(), "error="), logged.String())
					time.Sleep(time.Minute)
					ask()
					require.Equal(t, 2, warnings(), logged.String())
				})
			})
		}
	}
}
