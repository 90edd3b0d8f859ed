package socket_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// club is a group whose gateway knows its clients by the parameter u.
type club struct{ dog.Group }

func (c *club) Identify(r *http.Request) (string, error) {
	if r.FormValue("u") == "" {
		return "", &dog.StatusError{Status: http.StatusUnauthorized}
	}
	return r.FormValue("u"), nil
}

// requireRefused checks the answers to requests for a socket where there is no
// room for one. A request of which no socket can come gets its own answer.
func requireRefused(t *testing.T, h http.Handler, path string, noRoom int) {
	t.Helper()
	for name, c := range map[string]struct {
		change func(r *http.Request)
		status int
	}{
		"another method": {func(r *http.Request) { r.Method = http.MethodPost }, http.StatusMethodNotAllowed},
		"no upgrade":     {func(r *http.Request) { r.Header.Del("Upgrade") }, http.StatusUpgradeRequired},
		"another version": {
			func(r *http.Request) { r.Header.Set("Sec-Websocket-Version", "8") }, http.StatusBadRequest,
		},
		"another origin": {func(r *http.Request) { r.Header.Set("Origin", "https://evil.test") }, http.StatusForbidden},
		"nothing":        {func(*http.Request) {}, noRoom},
	} {
		r, w := fixture.NewUpgrade(path), httptest.NewRecorder()
		c.change(r)
		h.ServeHTTP(w, r)
		require.Equal(t, c.status, w.Code, "%s is wrong with the request", name)
		require.Equal(t, http.StatusText(c.status)+"\n", w.Body.String(), name)
		require.Equal(t, c.status == http.StatusServiceUnavailable, w.Header().Get("Retry-After") != "", name)
	}
}

func TestRefusals_ComeBeforeThoseOfAFullOwner(t *testing.T) {
	on := &fixture.OwnerHooks{}
	for name, serve := range map[string]func(t *testing.T, rt *dog.Runtime) http.Handler{
		"a full object": func(t *testing.T, rt *dog.Runtime) http.Handler {
			objects, err := dog.RegisterObject(rt, "object", &dog.ObjectOptions[fixture.SocketObject]{
				New: func() *fixture.SocketObject { return &fixture.SocketObject{On: on} }, MaxSockets: 1,
			})
			require.NoError(t, err)
			dogtest.Serve(t, objects.Named("a")).Dial("/")
			return objects.Named("a")
		},
		"a full object with Receive": func(t *testing.T, rt *dog.Runtime) http.Handler {
			objects, err := dog.RegisterObject(rt, "object", &dog.ObjectOptions[fixture.ReceivingObject]{
				New: func() *fixture.ReceivingObject {
					return &fixture.ReceivingObject{SocketObject: fixture.SocketObject{On: on}}
				},
				MaxSockets: 1,
			})
			require.NoError(t, err)
			dogtest.Serve(t, objects.Named("a")).Dial("/")
			return objects.Named("a")
		},
		"a locked replica": func(t *testing.T, rt *dog.Runtime) http.Handler {
			replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
			require.NoError(t, err)
			groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[dog.Group]{Limit: 10})
			require.NoError(t, err)
			group := groups.Named("a")
			stub, err := group.Identify(t.Context(), "ada")
			require.NoError(t, err)
			stub.Release()
			require.NoError(t, group.SetLocked(t.Context(), stub.ID(), true))
			return stub
		},
		"a replica that is gone": func(t *testing.T, rt *dog.Runtime) http.Handler {
			replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
			require.NoError(t, err)
			groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[dog.Group]{Limit: 10})
			require.NoError(t, err)
			stub, err := groups.Named("a").Identify(t.Context(), "ada")
			require.NoError(t, err)
			later, err := replicas.ByID(stub.ID())
			require.NoError(t, err)
			return later
		},
		"a full group": func(t *testing.T, rt *dog.Runtime) http.Handler {
			replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
			require.NoError(t, err)
			clubs, err := dog.RegisterGroup(rt, "club", replicas, &dog.GroupOptions[club]{Limit: 1, MaxReplicas: 1})
			require.NoError(t, err)
			dogtest.Serve(t, clubs.Named("a")).Dial("/?u=bob")
			return clubs.Named("a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options, _ := fixture.LogToBuffer()
				h := serve(t, dogtest.New(t, options))
				requireRefused(t, h, "/?u=ada", http.StatusServiceUnavailable)
			})
		})
	}
}

func TestRefusals_ComeBeforeThoseOfAnInvalidUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, _ := fixture.LogToBuffer()
		rt := dogtest.New(t, options)
		leaves, err := dog.RegisterObject[onlyListens](rt, "listens", nil)
		require.NoError(t, err)
		requireRefused(t, leaves.Named("a").WithUID("\x00"), "/", http.StatusBadRequest)
		requireRefused(t, leaves.Named(""), "/", http.StatusBadRequest)
		replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
		require.NoError(t, err)
		clubs, err := dog.RegisterGroup(rt, "club", replicas, &dog.GroupOptions[club]{Limit: 1})
		require.NoError(t, err)
		requireRefused(t, clubs.Named("a"), "/?u=%00", http.StatusBadRequest)
	})
}

// A gateway identifies the client before anything else is checked.
func TestRefusals_ComeAfterThoseOfAGateway(t *testing.T) {
	options, _ := fixture.LogToBuffer()
	rt := dogtest.New(t, options)
	replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
	require.NoError(t, err)
	clubs, err := dog.RegisterGroup(rt, "club", replicas, &dog.GroupOptions[club]{Limit: 1})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	clubs.Named("a").ServeHTTP(w, fixture.NewRequest("/"))
	require.Equal(t, http.StatusUnauthorized, w.Code)
}

// Whatever a client sends to a type that only connects, it starts an object or
// takes a place only if a socket can come of it.
func TestRefusals_StartNothingAndKeepNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, _ := fixture.LogToBuffer()
		rt := dogtest.New(t, options)
		started := 0
		on := &fixture.OwnerHooks{Start: func(context.Context, fixture.Owner) error { started++; return nil }}
		objects, err := dog.RegisterObject(rt, "object", &dog.ObjectOptions[fixture.SocketObject]{
			New: func() *fixture.SocketObject { return &fixture.SocketObject{On: on} },
		})
		require.NoError(t, err)
		replicas, err := dog.RegisterReplica(rt, "replica", &dog.ReplicaOptions[fixture.SocketReplica]{
			New: func() *fixture.SocketReplica { return &fixture.SocketReplica{On: on} },
		})
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[dog.Group]{Limit: 1})
		require.NoError(t, err)

		w := httptest.NewRecorder()
		objects.Named("a").ServeHTTP(w, fixture.NewRequest("/"))
		require.Equal(t, http.StatusUpgradeRequired, w.Code)
		for range objects.Objects() {
			require.Fail(t, "it is in memory")
		}

		stub, err := groups.Named("a").Identify(t.Context(), "ada")
		require.NoError(t, err)
		w = httptest.NewRecorder()
		stub.ServeHTTP(w, fixture.NewRequest("/"))
		require.Equal(t, http.StatusUpgradeRequired, w.Code)
		for r := range groups.Named("a").Replicas() {
			require.Zero(t, r.Load)
			require.Zero(t, r.Reserved)
		}
		require.Zero(t, started)
	})
}
