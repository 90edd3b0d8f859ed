package history_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// readGroup is a group of readReplicas.
type readGroup struct{ dog.Group }

// Do runs a function in the turn.
func (h *readGroup) Do(_ context.Context, f func(*readGroup) error) error { return f(h) }

// readReplica serves the history of its group to clients without a WebSocket.
type readReplica struct{ dog.Replica }

// Do runs a function in the turn.
func (b *readReplica) Do(_ context.Context, f func(*readReplica) error) error { return f(b) }

// Receive connects a WebSocket or serves the history.
func (b *readReplica) Receive(w http.ResponseWriter, req *http.Request) error {
	if dog.IsUpgrade(req) {
		_, err := b.Connect(w, req, nil)
		return err
	}
	b.History().WithUID(dog.UID(req.Context())).ServeHTTP(w, req)
	return nil
}

type readOwner struct {
	groups *dog.Groups[readGroup, readReplica]
	server *dogtest.Server
}

// newReadGroup returns a runtime with a readGroup named main, and its server.
func newReadGroup(t *testing.T, options dog.Options) *readOwner {
	t.Helper()
	rt := dogtest.New(t, options)
	readReplicas, err := dog.RegisterReplica[readReplica](rt, "readReplica", nil)
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(
		rt, "readGroup", readReplicas, &dog.GroupOptions[readGroup]{Limit: 10, History: kept},
	)
	require.NoError(t, err)
	return &readOwner{groups, dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, err := groups.Named("main").Identify(r.Context(), r.FormValue("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		to.ServeHTTP(w, r)
	}))}
}

// serveHistory returns a server of the history of owners, for the uid u of the
// query. ended, which may be nil, is called when a request has ended.
func serveHistory(t *testing.T, v *fixture.Owners, ended func()) *dogtest.Server {
	t.Helper()
	return dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ended != nil {
			defer ended()
		}
		v.History(r.URL.Query().Get("u")).ServeHTTP(w, r)
	}))
}

// request makes a request. Its body, if it is complete, has been read.
func request(t *testing.T, srv *dogtest.Server, method, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, dogtest.URL+path, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := srv.Client().Do(r)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response, string(body)
}

func get(t *testing.T, srv *dogtest.Server, path string, header ...string) (*http.Response, string) {
	t.Helper()
	return request(t, srv, http.MethodGet, path, header...)
}

// next returns the offset for the next request.
func next(r *http.Response) string { return r.Header.Get("Stream-Next-Offset") }

// event is a server-sent event, or a comment or a time to wait, of which only
// the line is set.
type event struct{ name, data, id, line string }

// source reads events.
type source struct {
	t     *testing.T
	lines *bufio.Scanner
	close func()
}

// control is the data of a control event.
type control struct {
	Next     string `json:"streamNextOffset"`
	Cursor   string `json:"streamCursor"`
	UpToDate bool   `json:"upToDate"`
}

// follow opens a response of events.
func follow(t *testing.T, srv *dogtest.Server, path string, header ...string) *source {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, dogtest.URL+path, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := srv.Client().Do(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	s := &source{t: t, lines: bufio.NewScanner(response.Body)}
	s.lines.Buffer(nil, 1<<20)
	s.close = func() { cancel(); _ = response.Body.Close() }
	t.Cleanup(s.close)
	return s
}

// event returns the next event, or false at the end of the response.
func (s *source) event() (e event, ok bool) {
	var data []string
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ":")
		switch {
		case s.lines.Text() == "":
			e.data = strings.Join(data, "\n")
			return e, true
		case name == "event":
			e.name = strings.TrimPrefix(value, " ")
		case name == "id":
			e.id = strings.TrimPrefix(value, " ")
		case name == "data":
			data = append(data, strings.TrimPrefix(value, " "))
		default:
			e.line = s.lines.Text()
		}
	}
	return event{}, false
}

// named returns the next event with a name, without what comes before it.
func (s *source) named(name string) event {
	s.t.Helper()
	for {
		e, ok := s.event()
		require.True(s.t, ok, "the response has ended")
		if e.name == name {
			return e
		}
		require.Empty(s.t, e.name)
	}
}

// control returns the next event, which must be a control event.
func (s *source) control() (c control) {
	s.t.Helper()
	e := s.named("control")
	require.NoError(s.t, json.Unmarshal([]byte(e.data), &c))
	require.Equal(s.t, c.Next, e.id)
	return c
}
