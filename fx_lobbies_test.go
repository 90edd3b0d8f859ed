package dog_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/stretchr/testify/require"
)

// hall is a group with names for its replicas, a start and a page of its own.
type hall struct {
	dog.Group
	in *halls
}

func (l *hall) OnStart(ctx context.Context) error {
	if l.in.start == nil {
		return nil
	}
	return l.in.start(ctx, l)
}

func (l *hall) Clusterize(ctx context.Context, uid string) (string, error) {
	if l.in.clusterize == nil {
		return "", nil
	}
	return l.in.clusterize(ctx, uid)
}

func (l *hall) Receive(w http.ResponseWriter, req *http.Request) error {
	l.in.receive(l, w, req)
	return nil
}

// Wake does nothing: a call of it starts the group.
func (l *hall) Wake(context.Context) error { return nil }

// halls is a runtime with one group of the type hall.
type halls struct {
	rt    *dog.Runtime
	group dog.GroupStub[hall, room]

	start      func(ctx context.Context, l *hall) error                // nil: nothing
	clusterize func(ctx context.Context, uid string) (string, error)   // nil: no names
	receive    func(l *hall, w http.ResponseWriter, req *http.Request) // of the group
}

func newHalls(t testing.TB, group dog.GroupOptions[hall], on *hooks, clusterize func(context.Context, string) (string, error)) *halls {
	t.Helper()
	return newHallsWith(t, dog.Options{}, group, on, clusterize)
}

// newHallsWith is newHalls with options of the runtime.
func newHallsWith(
	t testing.TB, options dog.Options, group dog.GroupOptions[hall], on *hooks,
	clusterize func(context.Context, string) (string, error),
) *halls {
	t.Helper()
	h := &halls{rt: dogtest.New(t, options), clusterize: clusterize}
	rooms, err := dog.RegisterReplica(h.rt, "room", &dog.ReplicaOptions[room]{New: func() *room { return &room{on: on} }})
	require.NoError(t, err)
	group.New = func() *hall { return &hall{in: h} }
	groups, err := dog.RegisterGroup(h.rt, "hall", rooms, &group)
	require.NoError(t, err)
	h.group = groups.Named("main")
	return h
}

func (h *halls) identify(ctx context.Context, uid string) (dog.Stub[room], error) {
	return h.group.Identify(ctx, uid)
}

func (h *halls) loads() []int {
	var loads []int
	for r := range h.group.Replicas() {
		loads = append(loads, r.Load)
	}
	return loads
}

// limit returns the options of a hall with this limit.
func limit(n int) dog.GroupOptions[hall] { return dog.GroupOptions[hall]{Limit: n} }
