package dog_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// requireEmpty waits for everything to come to rest and checks that no place, no socket and no byte is left behind.
func requireEmpty(t *testing.T, rt *dog.Runtime) {
	t.Helper()
	synctest.Wait()
	stats := rt.Stats()
	require.Zero(t, stats.Sockets)
	require.Zero(t, stats.QueuedBytes)
	for _, g := range stats.Groups {
		for _, r := range g.Replicas {
			require.Zero(t, r.Load)
			require.Zero(t, r.Reserved)
		}
	}
}

// elapse lets time pass and then waits for everything to come to rest.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// ask makes a request and returns its answer and the answer's body.
func ask(t *testing.T, srv *dogtest.Server, method, path string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, dogtest.URL+path, nil)
	require.NoError(t, err)
	req.Header = header.Clone()
	answer, err := srv.Client().Do(req)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(body)
}

// frame returns a WebSocket frame as clients send it, final and with a mask of zeros. The payload has at most 125 bytes.
func frame(op byte, payload string) []byte {
	return append([]byte{0x80 | op, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// den is a runtime with one group over replicas that have an OnError.
type den struct {
	rt    *dog.Runtime
	srv   *dogtest.Server
	group dog.GroupStub[lobby, tenant]

	got    []string          // messages that reached OnMessage. owned by the turn, like the others
	errors []*dog.CloseError // what OnError was told
	closes []int             // codes that OnClose was told
	ends   []string          // which of the two ran, in order
}

// tenant is a replica of a den.
type tenant struct {
	dog.Replica
	in *den
}

func (r *tenant) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := r.Connect(w, req, nil)
	return err
}

func (r *tenant) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	r.in.got = append(r.in.got, m.String())
	return nil
}

func (r *tenant) OnError(_ context.Context, _ *dog.Socket, cause error) error {
	var end *dog.CloseError
	if !errors.As(cause, &end) {
		return errors.New("not a CloseError")
	}
	r.in.errors = append(r.in.errors, end)
	r.in.ends = append(r.in.ends, "error")
	return nil
}

func (r *tenant) OnClose(_ context.Context, _ *dog.Socket, code int, _ string) error {
	r.in.closes = append(r.in.closes, code)
	r.in.ends = append(r.in.ends, "close")
	return nil
}

func newDen(t *testing.T, options dog.Options) *den {
	t.Helper()
	d := &den{rt: dogtest.New(t, options)}
	tenants, err := dog.RegisterReplica(d.rt, "tenant", &dog.ReplicaOptions[tenant]{New: func() *tenant { return &tenant{in: d} }})
	require.NoError(t, err)
	lobbies, err := dog.RegisterGroup(d.rt, "lobby", tenants, &dog.GroupOptions[lobby]{Limit: 10})
	require.NoError(t, err)
	d.group = lobbies.Named("main")
	d.srv = dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		stub, err := d.group.Identify(req.Context(), "ada")
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, req)
	}))
	return d
}
