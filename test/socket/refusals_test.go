package socket_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// leaf is an object that takes sockets and nothing else.
type leaf struct{ dog.Object }

func (*leaf) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error { return s.Broadcast(m) }

// A client that is refused comes back, so the log has each reason once a
// minute, as a warning that names the cure.
func TestRefusals_AreLoggedOnceAMinuteWithTheCure(t *testing.T) {
	for name, refused := range map[string]struct {
		path, origin string
		status       int
		logged       string
	}{
		"another origin": {path: "/p?u=ada", origin: "https://elsewhere.example", status: http.StatusForbidden,
			logged: "SocketOptions.OriginPatterns"},
		"a bad uid":       {path: "/p?u=%00", status: http.StatusBadRequest, logged: "Stub.WithUID"},
		"too many":        {path: "/full?u=ada", status: http.StatusServiceUnavailable, logged: "MaxSockets"},
		"a plain request": {path: "/p?plain", status: http.StatusUpgradeRequired, logged: "Receive"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				rt := dogtest.New(
					t,
					dog.Options{
						Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn})),
					},
				)
				leaves, err := dog.RegisterObject(rt, "leaf", &dog.ObjectOptions[leaf]{MaxSockets: 1})
				require.NoError(t, err)
				srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					leaves.Named(r.URL.Path).WithUID(r.FormValue("u")).ServeHTTP(w, r)
				}))
				srv.Dial("/full")
				ask := func() {
					if _, plain := strings.CutSuffix(refused.path, "?plain"); plain {
						status, _ := srv.Get(refused.path)
						require.Equal(t, refused.status, status)
						return
					}
					header := http.Header{}
					if refused.origin != "" {
						header.Set("Origin", refused.origin)
					}
					_, answer, err := srv.TryDial(refused.path, dogtest.DialOptions{Header: header})
					require.Error(t, err)
					require.Equal(t, refused.status, answer.StatusCode)
				}
				warnings := func() int { return strings.Count(logged.String(), "level=WARN") }

				ask()
				ask()
				require.Equal(t, 1, warnings(), logged.String())
				require.Contains(t, logged.String(), refused.logged)
				time.Sleep(time.Minute)
				ask()
				require.Equal(t, 2, warnings(), logged.String())
			})
		})
	}
}
