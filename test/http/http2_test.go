package http_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// A refuser is a gateway that lets nobody in.
type refuser struct{ dog.Group }

func (*refuser) Identify(*http.Request) (string, error) {
	return "", &dog.StatusError{Status: http.StatusUnauthorized}
}

// refusing are handlers that refuse requests, with the status that they have
// for each method: HTTP/2 has no upgrades, so nobody gets further.
func refusing(t *testing.T) map[string]struct {
	http.Handler
	get, other int
} {
	t.Helper()
	connect := func(d *target, w http.ResponseWriter, r *http.Request) { _, _ = d.Connect(w, r, nil) }
	var targets *dog.Namespace[target]
	rt, targets := newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
		switch d.Name() {
		case "front":
			targets.Named("back").ServeHTTP(w, r)
		case "asks":
			relayTo(targets.Named("back"), w, r)
		case "wrong options":
			_, _ = d.Connect(w, r, &dog.SocketOptions{QueueBytes: -1})
		case "error":
			dog.WriteError(w, dog.ErrGroupFull)
		default:
			connect(d, w, r)
		}
	})
	sockets, err := dog.RegisterObject(rt, "sockets", &dog.ObjectOptions[fixture.SocketObject]{
		New: func() *fixture.SocketObject { return &fixture.SocketObject{On: &fixture.OwnerHooks{}} },
	})
	require.NoError(t, err)
	rooms, err := dog.RegisterReplica(rt, "room", &dog.ReplicaOptions[fixture.Room]{
		New: func() *fixture.Room { return &fixture.Room{On: &fixture.Hooks{}} },
	})
	require.NoError(t, err)
	refusers, err := dog.RegisterGroup(rt, "refuser", rooms, &dog.GroupOptions[refuser]{Limit: 1})
	require.NoError(t, err)
	openGateway := newOpenGateway(t, func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
		_, _ = r.Connect(w, req, nil)
	})
	closed, shut := newTargets(t, dog.Options{}, connect)
	require.NoError(t, closed.Shutdown(t.Context()))
	type handler = struct {
		http.Handler
		get, other int
	}
	return map[string]handler{
		"a type that only connects": {sockets.Named("ada"), 426, 405},
		"Connect":                   {targets.Named("ada"), 426, 405},
		"Connect by another object": {targets.Named("front"), 426, 405},
		"Connect by RoundTrip":      {targets.Named("asks"), 426, 405},
		"Connect behind a gateway":  {openGateway, 426, 405},
		"wrong options":             {targets.Named("wrong options"), 500, 500},
		"an error":                  {targets.Named("error"), 503, 503},
		"a gateway that refuses":    {refusers.Named("main"), 401, 401},
		"an invalid name":           {targets.Named("\xff"), 400, 400},
		"an invalid uid":            {targets.Named("ada").WithUID("\xff"), 400, 400},
		"a runtime that is over":    {shut.Named("ada"), 503, 503},
	}
}

// connectionHeaders are of the connection, which HTTP/2 has no headers for (RFC
// 9113, section 8.2.2).
var connectionHeaders = []string{"Connection", "Upgrade", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding"}

func TestHTTP_RefusalsAreWellFormedOverHTTP2(t *testing.T) {
	for name, h := range refusing(t) {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(h)
			srv.EnableHTTP2 = true
			srv.StartTLS()
			t.Cleanup(srv.Close)
			for method, want := range map[string]int{
				http.MethodGet: h.get, http.MethodPost: h.other, http.MethodHead: h.other, http.MethodOptions: h.other,
			} {
				r, err := http.NewRequestWithContext(t.Context(), method, srv.URL, nil)
				require.NoError(t, err)
				response, err := srv.Client().Do(r)
				require.NoError(t, err, method)
				_, err = io.Copy(io.Discard, response.Body)
				require.NoError(t, err, method)
				require.NoError(t, response.Body.Close())
				require.Equal(t, 2, response.ProtoMajor)
				require.Equal(t, want, response.StatusCode, method)
				for _, key := range connectionHeaders {
					require.NotContains(t, response.Header, key, method)
				}

				recorded := httptest.NewRecorder() // as the handler sets them: a server may drop some
				r = httptest.NewRequest(method, "/", nil)
				r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
				h.ServeHTTP(recorded, r)
				require.Equal(t, want, recorded.Code, method)
				for _, key := range connectionHeaders {
					require.NotContains(t, recorded.Header(), key, method)
				}
			}
		})
	}
}
