package dogview_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/dogview"
	"github.com/godurable/dog/outbox"
)

// Note is an object that stores things.
type Note struct {
	dog.Object
	starts *atomic.Int32 // of all notes
	broken *atomic.Bool  // alarms fail
	rings  *atomic.Int32 // alarms that did not fail
}

func (n *Note) OnStart(context.Context) error {
	n.starts.Add(1)
	return nil
}

func (n *Note) OnAlarm(context.Context, dog.Alarm) error {
	if n.broken.Load() {
		return errors.New("the bell is broken")
	}
	n.rings.Add(1)
	return nil
}

func (n *Note) Do(_ context.Context, f func(n *Note) error) error { return f(n) }

// Hang keeps the turn until the object is reset.
func (n *Note) Hang(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Crowd is a group, and Seat its replicas.
type (
	Crowd struct{ dog.Group }
	Seat  struct{ dog.Replica }
)

func (s *Seat) Keep(context.Context) error { return s.Storage().Put("k", nil) }

// Choir is a group that names its replicas.
type Choir struct{ dog.Group }

func (c *Choir) Clusterize(context.Context, string) (string, error) { return "left", nil }

func (c *Crowd) Identify(r *http.Request) (string, error) { return r.FormValue("u"), nil }

// world is a runtime with a view, and its types.
type world struct {
	t      *testing.T
	rt     *dog.Runtime
	server *dogtest.Server
	notes  *dog.Namespace[Note]
	crowds *dog.Groups[Crowd, Seat]
	seats  *dog.Replicas[Seat]

	starts, rings atomic.Int32
	broken        atomic.Bool
	rights        atomic.Int32 // of everybody
	log           bytes.Buffer
}

// newWorld returns a world in which everybody has all rights.
func newWorld(t *testing.T, options dogview.Options) *world {
	t.Helper()
	w := &world{t: t, rt: dogtest.New(t, dog.Options{Store: dogtest.NewDisk(t)})}
	w.rights.Store(int32(dogview.All))
	if options.Rights == nil {
		options.Rights = func(*http.Request) dogview.Rights { return dogview.Rights(w.rights.Load()) }
	}
	options.Logger = slog.New(slog.NewTextHandler(&w.log, nil))
	var err error
	w.notes, err = dog.RegisterObject(w.rt, "note", &dog.ObjectOptions[Note]{
		New: func() *Note { return &Note{starts: &w.starts, broken: &w.broken, rings: &w.rings} },
	})
	require.NoError(t, err)
	w.seats, err = dog.RegisterReplica[Seat](w.rt, "seat", nil)
	require.NoError(t, err)
	w.crowds, err = dog.RegisterGroup(w.rt, "crowd", w.seats, &dog.GroupOptions[Crowd]{Limit: 2})
	require.NoError(t, err)
	view, err := dogview.New(w.rt, options)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/dog/", http.StripPrefix("/dog", view))
	mux.Handle("/crowd/{name}", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.crowds.Named(r.PathValue("name")).ServeHTTP(rw, r)
	}))
	w.server = dogtest.Serve(t, mux)
	return w
}

// do runs f in a turn of a note.
func (w *world) do(name string, f func(n *Note) error) {
	w.t.Helper()
	require.NoError(w.t, dog.CallErr(w.t.Context(), w.notes.Named(name), (*Note).Do, f))
}

// evict waits until no note is in memory.
func (w *world) evict() {
	w.t.Helper()
	time.Sleep(2 * time.Minute)
	for o := range w.notes.Objects() {
		require.Fail(w.t, "in memory: "+o.Name)
	}
}

// request makes a request to the view, changed by change.
func (w *world) request(method, path, body string, change func(*http.Request)) (status int, answer string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "/dog"+path, strings.NewReader(body))
	require.NoError(w.t, err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(r)
	}
	return w.server.Do(r)
}

// get asks the view, which must answer.
func get[T any](w *world, route string, query ...string) (answer T) {
	w.t.Helper()
	values := make(url.Values)
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	status, body := w.request(http.MethodGet, "/api/"+route+"?"+values.Encode(), "", nil)
	require.Equal(w.t, http.StatusOK, status, body)
	require.NoError(w.t, json.Unmarshal([]byte(body), &answer), body)
	return answer
}

// refused asks the view, which must not answer, and returns why.
func (w *world) refused(status int, route string, query ...string) string {
	w.t.Helper()
	values := make(url.Values)
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	got, body := w.request(http.MethodGet, "/api/"+route+"?"+values.Encode(), "", nil)
	require.Equal(w.t, status, got, body)
	return body
}

// post gives an order.
func (w *world) post(route string, order map[string]string) (status int, answer string) {
	w.t.Helper()
	body, err := json.Marshal(order)
	require.NoError(w.t, err)
	return w.request(http.MethodPost, "/api/"+route, string(body), nil)
}

// page is a page of a list.
type page[T any] struct {
	Items   []T
	Next    string
	Columns []string
	Waiting int
	Dead    int
}

// shown is a value.
type shown struct {
	Text, Kind string
	Bytes      int
	Cut        bool
}

// commands returns a reader of commands that are not stored.
func commands(waiting ...outbox.Command) func(context.Context, dog.ObjectInfo) (w, dead []outbox.Command, err error) {
	return func(context.Context, dog.ObjectInfo) (w, dead []outbox.Command, err error) { return waiting, nil, nil }
}
