package dog_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/stretchr/testify/require"
)

// hooks are the handlers of a test's lobby and room; a nil one does nothing, or what its comment says.
type hooks struct {
	start   func(ctx context.Context, r *room) error
	receive func(r *room, w http.ResponseWriter, req *http.Request) // nil: /ws connects, other paths are echoed
	open    func(ctx context.Context, r *room, s *dog.Socket) error
	message func(ctx context.Context, r *room, s *dog.Socket, m dog.Message) error
	close   func(ctx context.Context, r *room, s *dog.Socket, code int, reason string) error
	gossip  func(ctx context.Context, r *room, m dog.Message) (any, error)

	rollback bool // Object.RollbackOnError
}

// lobby is a plain group.
type lobby struct {
	dog.Group
	on *hooks
}

// room is a replica with the hooks of its test.
type room struct {
	dog.Replica
	on   *hooks
	held atomic.Int32 // how many handlers have the turn now: see turn
}

// turn checks that nobody else has the turn; the returned function gives it up again.
func (r *room) turn(t testing.TB) func() {
	t.Helper()
	require.EqualValues(t, 1, r.held.Add(1), "two handlers have the turn")
	return func() { r.held.Add(-1) }
}

func (r *room) OnStart(ctx context.Context) error {
	if r.on.start == nil {
		return nil
	}
	return r.on.start(ctx, r)
}

func (r *room) Receive(w http.ResponseWriter, req *http.Request) error {
	switch {
	case r.on.receive != nil:
		r.on.receive(r, w, req)
	case req.URL.Path == "/ws":
		_, err := r.Connect(w, req, nil)
		return err
	default:
		_, _ = w.Write([]byte(req.URL.Path))
	}
	return nil
}

func (r *room) OnOpen(ctx context.Context, s *dog.Socket) error {
	if r.on.open == nil {
		return nil
	}
	return r.on.open(ctx, r, s)
}

func (r *room) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	if r.on.message == nil {
		return nil
	}
	return r.on.message(ctx, r, s, m)
}

func (r *room) OnClose(ctx context.Context, s *dog.Socket, code int, reason string) error {
	if r.on.close == nil {
		return nil
	}
	return r.on.close(ctx, r, s, code, reason)
}

func (r *room) OnGossip(ctx context.Context, m dog.Message) (any, error) {
	if r.on.gossip == nil {
		return nil, nil
	}
	return r.on.gossip(ctx, r, m)
}

// house is a runtime with one group of rooms and a server that identifies by the query's u, default "anon".
type house struct {
	rt      *dog.Runtime
	lobbies *dog.Groups[lobby, room]
	group   dog.GroupStub[lobby, room]
	srv     *dogtest.Server
}

// newHouse builds a house whose replicas have limit places.
func newHouse(t testing.TB, limit int, on *hooks) *house {
	t.Helper()
	return newHouseWith(t, dog.Options{}, dog.GroupOptions[lobby]{Limit: limit}, on)
}

// newHouseWith builds a house with options of the runtime and of its group.
func newHouseWith(t testing.TB, options dog.Options, group dog.GroupOptions[lobby], on *hooks) *house {
	t.Helper()
	h := &house{rt: dogtest.New(t, options)}
	rooms, err := dog.RegisterReplica(h.rt, "room", &dog.ReplicaOptions[room]{
		New: func() *room { return &room{on: on} }, RollbackOnError: on.rollback,
	})
	require.NoError(t, err)
	group.New = func() *lobby { return &lobby{on: on} }
	h.lobbies, err = dog.RegisterGroup(h.rt, "lobby", rooms, &group)
	require.NoError(t, err)
	h.group = h.lobbies.Named("main")
	h.srv = dogtest.Serve(t, h)
	return h
}

func (h *house) identify(ctx context.Context, uid string) (dog.Stub[room], error) {
	return h.group.Identify(ctx, uid)
}

func (h *house) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	uid := "anon"
	if req.URL.Query().Has("u") {
		uid = req.URL.Query().Get("u")
	}
	stub, err := h.identify(req.Context(), uid)
	if err != nil {
		dog.WriteError(w, err)
		return
	}
	stub.ServeHTTP(w, req)
}

// join connects a uid.
func (h *house) join(uid string) *dogtest.Client {
	return h.srv.Dial("/ws?u=" + uid)
}

// enter connects a uid and waits until everything has come to rest, so that it has joined and its OnOpen has run.
func (h *house) enter(uid string) *dogtest.Client {
	c := h.join(uid)
	synctest.Wait()
	return c
}

// replicaOf returns the replica to which a uid would go now, the zero ID when it would get an error.
func (h *house) replicaOf(uid string) dog.ID {
	stub, err := h.identify(context.Background(), uid)
	if err != nil {
		return dog.ID{}
	}
	stub.Release()
	return stub.ID()
}

// loads returns the load of each replica.
func (h *house) loads() []int {
	var loads []int
	for r := range h.group.Replicas() {
		loads = append(loads, r.Load)
	}
	return loads
}

// replicaIDs returns the IDs of the group's replicas, in the order in which they were made.
func (h *house) replicaIDs() []dog.ID {
	var ids []dog.ID
	for r := range h.group.Replicas() {
		ids = append(ids, r.ID)
	}
	return ids
}

// newGatedHouse is a house on a store whose durability is in the test's hands.
// What has been committed so far is durable.
func newGatedHouse(t *testing.T, on *hooks) (*house, *storetest.Engine) {
	t.Helper()
	engine := storetest.New()
	h := newHouseWith(t, dog.Options{Store: asStore(engine)}, dog.GroupOptions[lobby]{Limit: 2}, on)
	engine.Flush()
	t.Cleanup(engine.Prompt) // before the runtime stops, which waits for what is held
	return h, engine
}

func (l *lobby) Greet(_ context.Context, who string) (string, error) {
	return l.Name() + " greets " + who, nil
}

func (r *room) Greet(_ context.Context, who string) (string, error) {
	return "a room greets " + who, nil
}

// relay does what a client asks for: "broadcast TEXT", "all TEXT" (the sender included), "others TEXT" (without the sender's other
// devices), "emit TEXT", "whisper ID TEXT". An error is the answer.
func relay(ctx context.Context, r *room, s *dog.Socket, m dog.Message) error {
	verb, text, _ := strings.Cut(m.String(), " ")
	var err error
	switch verb {
	case "broadcast":
		err = s.Broadcast(text)
	case "all":
		err = r.Broadcast(text)
	case "others":
		err = s.Broadcast(text, dog.ExceptUID(s.UID()))
	case "emit":
		err = s.Emit(text)
	case "whisper":
		target, text, _ := strings.Cut(text, " ")
		_, err = s.Whisper(ctx, target, text)
	}
	if err != nil {
		return s.Send(err.Error())
	}
	return nil
}

// uidOf returns the uid of one of a replica's sockets, which tells replicas with a limit of 1 apart.
func uidOf(r *room) string {
	for s := range r.Sockets() {
		return s.UID()
	}
	return ""
}

// echo answers each message with itself.
func echo(_ context.Context, _ *room, s *dog.Socket, m dog.Message) error { return s.Send(m) }
